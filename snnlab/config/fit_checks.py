"""What a training waits for, and how many batches it has: checked before it begins, with Lightning's own rules."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from snnlab.config.schema import Experiment
from snnlab.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from snnlab.data.module import EventDataModule
    from snnlab.data.settings import DataSettings
    from snnlab.nn import BuiltNetwork
    from snnlab.training.losses import Loss

# Callbacks of Lightning's that only tell loggers.
_FOR_LOGGERS = ("LearningRateMonitor", "DeviceStatsMonitor")
_PLATEAU = "ReduceLROnPlateau"


def check_monitors(experiment: Experiment, data: DataSettings, built: BuiltNetwork, loss: Loss) -> None:
    """Check that all figures that callbacks and the schedule wait for are logged.

    Args:
        data: What the targets are, and whether steps have a length.
        built: The network, whose layers have figures of their own.
        loss: Its parts have too.

    Raises:
        ConfigError: naming the first that waits for a figure that nothing logs, or needs a logger where there is none.
    """
    _require_no_validation(experiment)
    known = logged(data, built, loss)
    foreign = any(not _target(node).startswith("lightning.") for node in _nodes(experiment.callbacks).values())
    for place, figure, at in _monitors(experiment):
        of_value = data.targets == "value" and figure.rpartition("/")[0] in known
        if figure not in known and not of_value and not foreign:  # a callback of the user's own may log more
            hint = did_you_mean(figure, known)
            raise ConfigError(place, f"nothing logs '{figure}'", hint, () if hint else known)
        if at == "step" and figure.startswith("val/"):
            raise ConfigError(place, f"{figure} is known once an epoch", "set scheduler.interval=epoch")
    if not _nodes(experiment.logger):
        for name, node in _nodes(experiment.callbacks).items():
            if _target(node).rpartition(".")[2] in _FOR_LOGGERS:
                raise ConfigError(
                    f"callbacks.{name}", "tells loggers, and there is none", "choose one, such as logger=csv"
                )


def logged(data: DataSettings, built: BuiltNetwork, loss: Loss) -> list[str]:
    """Return the names of the figures that a training logs each epoch.

    Args:
        data: What the targets are, and whether steps have a length.
    """
    names = ["loss", *(f"loss/{name}" for name in loss.names)]
    names += ["mae", "rmse", "r2"] if data.targets == "value" else ["accuracy"]
    of_layers = ["spikes_per_step", "silent", *([] if data.step_ms is None else ["rate_hz"])]
    names += [f"{name}/{layer}" for layer in built.spiking for name in of_layers]
    names += ["spikes_per_sample"] if built.spiking else []
    return [*(f"{stage}/{name}" for stage in ("val", "train") for name in names), "lr"]


def check_batches(experiment: Experiment, data: EventDataModule, world: int) -> None:
    """Check limits that are parts of batches, and when it is validated, against the number of batches.

    Args:
        world: How many processes share them.

    Raises:
        ConfigError: naming a limit that leaves no batch, or a figure that is waited for though nothing is validated.
    """
    trainer = experiment.trainer
    numbers = data.batches(world)
    for stage, number in numbers.items():
        limit = trainer.get(f"limit_{stage}_batches")
        if isinstance(limit, float) and 0 < limit * number < 1:
            raise ConfigError(
                f"trainer.limit_{stage}_batches", f"{limit:g} of {number} batches is less than one", "set 1 or more"
            )
    trained, interval = (
        _limited(numbers["train"], trainer.get("limit_train_batches")),
        trainer.get("val_check_interval"),
    )
    each = trainer.get("check_val_every_n_epoch", 1) is not None
    if isinstance(interval, int) and each and numbers["val"] and interval > trained:
        raise ConfigError(
            "trainer.val_check_interval",
            f"{interval} is more than the {trained} batches of an epoch",
            "set so many or fewer, or trainer.check_val_every_n_epoch=null to count on over epochs",
        )
    validated = bool(_limited(numbers["val"], trainer.get("limit_val_batches")))
    _require_validation(experiment, numbers["val"] if validated else 0)


def _require_validation(experiment: Experiment, batches: int) -> None:
    """Raise if something waits for validation figures, and there are none, or none when it looks.

    Args:
        batches: Of a validation.
    """
    trainer = experiment.trainer
    each, epochs = trainer.get("check_val_every_n_epoch", 1) or 1, trainer.get("max_epochs")
    never = not batches or (isinstance(epochs, int) and 0 < epochs < each)
    for place, figure, _ in _monitors(experiment):
        if figure.startswith("val/") and never:
            raise ConfigError(place, f"waits for {figure}, and nothing is validated")
        if figure.startswith("val/") and each > 1 and place.startswith("scheduler."):
            raise ConfigError(
                place, f"waits for {figure} at each epoch", f"leave out trainer.check_val_every_n_epoch={each}"
            )


def _require_no_validation(experiment: Experiment) -> None:
    """Raise if something waits for validation figures that a training on all recordings has not."""
    for place, figure, _ in _monitors(experiment) if experiment.fit_on == "train_and_val" else ():
        if figure.startswith("val/"):
            raise ConfigError(
                place,
                f"waits for {figure}, and with fit_on: train_and_val nothing is validated",
                "set trainer.max_epochs and a schedule that does without",
            )


def _limited(number: int, limit: Any) -> int:
    if limit is None:
        return number
    return min(number, limit) if isinstance(limit, int) else int(number * limit)


def _monitors(experiment: Experiment) -> Iterator[tuple[str, str, str]]:
    """Yield where a figure is waited for, which, and whether at each epoch or step."""
    for name, node in _nodes(experiment.callbacks).items():
        if isinstance(node.get("monitor"), str):
            yield f"callbacks.{name}.monitor", node["monitor"], "epoch"
    scheduler = experiment.scheduler or {}
    if _target(scheduler).endswith(_PLATEAU):
        figure, at = scheduler.get("monitor", "val/loss"), scheduler.get("interval", "epoch")
        yield "scheduler.monitor", str(figure), str(at)
    elif "monitor" in scheduler:
        raise ConfigError("scheduler.monitor", f"only {_PLATEAU} waits for a figure")


def _nodes(group: Mapping[str, Any] | None) -> dict[str, Mapping[str, Any]]:
    return {str(name): node for name, node in (group or {}).items() if isinstance(node, Mapping)}


def _target(node: Mapping[str, Any]) -> str:
    return str(node.get("_target_"))
