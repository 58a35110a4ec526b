"""The settings of Lightning's trainer: their types and valid values, without importing Lightning."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import Annotated, Any, Literal, get_args

from snnlab.errors import ConfigError, UnknownSettingError, did_you_mean, join_names
from snnlab.spec.interval import Count, NonNegative, at_least
from snnlab.spec.signatures import check_settings

Number = int | float
# Lightning's strategies whose training is equivalent to that of one process.
Strategy = Literal["auto", "ddp", "ddp_find_unused_parameters_false", "ddp_find_unused_parameters_true"]


@dataclass(frozen=True)
class TrainerSettings:
    """The settings of `trainer`: those of Lightning's Trainer except the ones that snnlab sets itself."""

    accelerator: Literal["auto", "cpu", "gpu", "cuda", "mps"] = "auto"
    strategy: Strategy = "auto"
    devices: int | str | Sequence[int] = "auto"
    num_nodes: Count = 1
    precision: int | str | None = None
    fast_dev_run: Annotated[int | bool, at_least(0)] = False
    max_epochs: int | None = None
    min_epochs: Annotated[int | None, at_least(0)] = None
    max_steps: int = -1
    min_steps: Annotated[int | None, at_least(0)] = None
    max_time: str | Mapping[str, Any] | None = None
    limit_train_batches: Number | None = None
    limit_val_batches: Number | None = None
    limit_test_batches: Number | None = None
    val_check_interval: Number | str | Mapping[str, Any] | None = None
    check_val_every_n_epoch: Annotated[int | None, at_least(1)] = 1
    num_sanity_val_steps: Annotated[int | None, at_least(-1)] = None
    log_every_n_steps: Annotated[int | None, at_least(1)] = None
    enable_progress_bar: bool | None = None
    enable_model_summary: bool | None = None
    accumulate_grad_batches: Count = 1
    gradient_clip_val: Annotated[float | None, at_least(0)] = None
    gradient_clip_algorithm: Literal["norm", "value"] | None = None
    deterministic: bool | Literal["warn"] | None = None
    benchmark: bool | None = None
    inference_mode: bool = True
    use_distributed_sampler: bool = True
    profiler: Literal["simple", "advanced", "pytorch"] | Mapping[str, Any] | None = None
    detect_anomaly: bool = False
    sync_batchnorm: bool = False
    reload_dataloaders_every_n_epochs: NonNegative = 0
    enable_autolog_hparams: bool = True
    model_registry: str | None = None


# Lightning's settings that snnlab sets itself or by another setting.
ELSEWHERE = {
    "logger": "loggers are chosen with logger=NAME",
    "callbacks": "callbacks are chosen with callbacks=NAME",
    "default_root_dir": "output_dir=FOLDER is the folder of runs",
    "plugins": "your own modules are named in plugins=[...]; Lightning's follow from precision and devices",
    "enable_checkpointing": "every run keeps the checkpoints of its last and its chosen epoch",
    "barebones": "a run is recorded, which needs loggers and checkpoints",
    "overfit_batches": "debug=overfit fits one batch",
    "limit_predict_batches": "a training does not predict",
}
_SYNONYMS = {"epochs": "max_epochs", "num_epochs": "max_epochs", "steps": "max_steps", "gpus": "devices"}
# Settings where -1 means no limit, and other values below 1 mean that nothing is trained.
_UNLIMITED = ("max_epochs", "max_steps")
_TIME = re.compile(r"(?P<days>\d+):(?P<hours>\d\d):(?P<minutes>\d\d):(?P<seconds>\d\d)")
_PRECISIONS = ("32-true", "64-true", "bf16-mixed", "16-mixed")
_ALIASES = {"32": "32-true", "64": "64-true", "16": "16-mixed", "bf16": "bf16-mixed"}


def check_trainer(node: Mapping[str, Any], *, test: bool, given_weights: bool = False) -> None:
    """Check the settings of the trainer.

    Args:
        node: The settings.
        test: Whether the run is tested.
        given_weights: Whether a file or a run gives the initial weights, which can be tested without training.
    """
    settings = {key: value for key, value in node.items() if key != "_target_"}
    known = {one.name for one in fields(TrainerSettings)}
    for key in map(str, settings):
        if key in ELSEWHERE:
            raise ConfigError(f"trainer.{key}", "is not set here", ELSEWHERE[key])
        if key not in known and (hint := _unknown_hint(key, known)):
            raise UnknownSettingError("trainer", key, hint)
    if isinstance(settings.get("strategy"), Mapping):
        names = join_names(get_args(Strategy))
        raise ConfigError("trainer.strategy", f"is a name here, one of {names}", "snnlab starts its processes itself")
    check_settings(TrainerSettings, settings, "trainer", "Trainer")
    if given_weights and settings.get("max_epochs") == 0:
        del settings["max_epochs"]
    for key, problem in _invalid_settings(settings, test):
        raise ConfigError(f"trainer.{key}", problem)


def precision_of(value: Any) -> str:
    """Return a precision by Lightning's full name."""
    name = _ALIASES.get(str(value), str(value))
    if name in ("16-true", "bf16-true") or name.startswith("transformer-engine"):
        # Inputs below the rounding error of a membrane never add up to a spike.
        raise ConfigError(
            "trainer.precision",
            f"'{name}' would keep membranes in so few bits that they lose small inputs",
            "use bf16-mixed or 16-mixed, which keep them in 32 bits, 32-true or 64-true",
        )
    if name not in _PRECISIONS:
        raise ConfigError("trainer.precision", f"expected one of {join_names(_PRECISIONS)}, got {value!r}")
    return name


def _unknown_hint(key: str, known: set[str]) -> str:
    """Return the hint for an unknown setting without a similar known one; empty if there is one."""
    if key in _SYNONYMS:
        return f"Did you mean '{_SYNONYMS[key]}'?"
    return "" if did_you_mean(key, known) else "it takes those of Lightning's Trainer"


def _invalid_settings(settings: Mapping[str, Any], test: bool) -> Iterator[tuple[str, str]]:
    """Yield the settings with invalid values, and the messages."""
    values = {key: value for key, value in settings.items() if value is not None}
    for key, value in values.items():
        if isinstance(value, float) and not math.isfinite(value):
            yield key, f"expected a finite number, got {value}"
        elif key in _UNLIMITED and value < 1 and value != -1:
            yield key, f"must be >= 1, or -1 for no limit, got {value}" + ("; 0 trains nothing" * (value == 0))
        elif key.startswith("limit_"):
            yield from _limit_problems(key, value, test)
    yield from _device_problems(values.get("devices"))
    yield from _duration_limits(values)
    yield from _validation_problems(settings)
    if "precision" in values:
        precision_of(values["precision"])
    if "gradient_clip_algorithm" in values and not values.get("gradient_clip_val"):
        yield "gradient_clip_algorithm", "does nothing without gradient_clip_val"


def _limit_problems(key: str, value: Number, test: bool) -> Iterator[tuple[str, str]]:
    if value < 0 or (isinstance(value, float) and value > 1):
        yield key, f"must be a number of batches, or a fraction of them between 0.0 and 1.0, got {value}"
    elif value == 0 and key == "limit_train_batches":
        yield key, "0 trains nothing"
    elif value == 0 and key == "limit_test_batches" and test:
        yield key, "0 tests nothing; set test=false"


def _device_problems(value: Any) -> Iterator[tuple[str, str]]:
    number = int(value) if isinstance(value, str) and re.fullmatch(r"-?\d+", value) else value
    if isinstance(number, int) and number < 1 and number != -1:
        yield "devices", f"must be >= 1, or -1 for all, got {value}"
    elif isinstance(value, Sequence) and not value:
        yield "devices", "is empty; name a number of devices, or which, as in [0, 1]"


def _duration_limits(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for unit in ("epochs", "steps"):
        least, most = values.get(f"min_{unit}"), values.get(f"max_{unit}", -1)
        if least is not None and 0 < most < least:
            yield f"min_{unit}", f"must be <= trainer.max_{unit} ({most}), got {least}"
    if "max_time" in values:
        duration = _duration(values["max_time"])
        if duration is None:
            yield "max_time", f"expected DAYS:HOURS:MINUTES:SECONDS, such as 00:01:30:00, got {values['max_time']!r}"
        elif duration <= timedelta(0):
            yield "max_time", "0 trains nothing"


def _duration(value: Any) -> timedelta | None:
    """Return a time parsed as Lightning does; None if it cannot be parsed."""
    if isinstance(value, str):
        match = _TIME.fullmatch(value)
        value = {unit: int(number) for unit, number in match.groupdict().items()} if match else None
    try:
        return None if value is None else timedelta(**value)
    except (TypeError, OverflowError):
        return None


def _validation_problems(settings: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    interval = settings.get("val_check_interval")
    if isinstance(interval, int | float):
        if interval <= 0 or (isinstance(interval, float) and interval > 1):
            yield "val_check_interval", f"must be a number of batches, or a fraction of an epoch <= 1.0, got {interval}"
        if settings.get("check_val_every_n_epoch", 1) is None and isinstance(interval, float):
            yield "val_check_interval", "without check_val_every_n_epoch it is a number of batches"
    elif interval is not None and _duration(interval) is None:
        yield "val_check_interval", f"expected a number, or DAYS:HOURS:MINUTES:SECONDS, got {interval!r}"
