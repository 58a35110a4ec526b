"""Checks that the settings of an experiment fit together: loss, data, network, monitored metrics, batches."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from snnlab.config.schema import Experiment
from snnlab.data.ablation import Ablation
from snnlab.data.data_settings import DataSettings
from snnlab.data.splits import Split
from snnlab.errors import ConfigError, did_you_mean, error_context
from snnlab.memory import MEMORY_OVERHEAD, available_memory
from snnlab.nn import BuiltNetwork
from snnlab.nn.learning import LearningRule
from snnlab.nn.losses import Loss, LossContext, RegularizedLoss, bind_records, check_supported_targets
from snnlab.nn.memory_estimate import estimate_memory
from snnlab.session.build_optimizer import make_optimizer
from snnlab.target_kinds import kind_of

if TYPE_CHECKING:
    from snnlab.data.data_module import EventDataModule  # imports Lightning

# Callbacks of Lightning that need a logger.
_FOR_LOGGERS = ("LearningRateMonitor", "DeviceStatsMonitor")
_PLATEAU = "ReduceLROnPlateau"


def check_targets(experiment: Experiment, data: DataSettings, loss: Loss, built: BuiltNetwork) -> None:
    """Check loss, selection and control against the targets, and bind the loss to the network."""
    check_supported_targets(loss, str(experiment.loss.get("type")), data.targets)
    if isinstance(loss, RegularizedLoss):
        loss.check_terms(data.targets)
    if data.targets in ("value", "series") and experiment.selection == "best_val_accuracy":
        raise ConfigError("selection", "best_val_accuracy: values have no accuracy", "set selection: lowest_val_loss")
    _check_control(experiment, data)
    with error_context("loss"):
        loss.bind(LossContext(built, data.frame_shape, data.step_ms, data.steps, data.num_classes))
    bind_records(loss, built)


def check_memory(experiment: Experiment, data: DataSettings, built: BuiltNetwork, rule: LearningRule) -> None:
    """Check that the tensors of a training step fit into the memory of this machine's CPU."""
    steps, batch, left = rule.steps_in_memory(data.steps), data.batch_size, available_memory()
    outputs = 4.0 * steps * batch * sum(math.prod(shape) for shape in built.shapes.values())  # bytes
    if left is None or 10 * outputs < left:  # the exact estimate takes seconds
        return
    make = make_optimizer(experiment)
    try:
        found = estimate_memory(built, data.frame_shape, steps, batch, make, experiment.tbptt_steps)
    except (RuntimeError, ValueError):  # not known
        return
    if found.peak <= left:
        return
    fixed = found.weights_and_optimizer
    fits = int(batch * (left / MEMORY_OVERHEAD - fixed) / (found.peak - fixed))
    needed, free = (f"{size / 1e9:.1f} GB" for size in (MEMORY_OVERHEAD * found.peak, left))
    raise ConfigError(
        "data.batch_size",
        f"a training step of {batch} recordings of {steps:,} steps needs about {needed}; {free} are free",
        f"{fits} fits; or set checkpoint_segments=10" if fits > 0 else "set fewer steps: data.num_bins",
    )


def _check_control(experiment: Experiment, data: DataSettings) -> None:
    kind = experiment.control
    if kind is None:
        return
    if data.targets != "class":
        raise ConfigError("control", f"{kind} is for classes, and data.targets is {data.targets}", "set control: null")
    Ablation(kind, experiment.seed, data.duration_us).frame_builder(data.frame_builder())


def check_labelled(targets: np.ndarray, data: DataSettings, split: Split) -> None:
    """Check that each part of the split has labelled steps in its windows, for targets over time.

    Args:
        targets: The targets of the store.
        data: The data settings, for the windows.
    """
    if kind_of(targets) != "steps":
        return
    seen = targets if data.stride_us is not None else targets[targets[:, 1] < data.duration_us]
    for name, part in (("training", split.train), ("validation", split.val), ("test", split.test)):
        if part.size and not np.isin(part, seen[:, 0]).any():
            raise ConfigError(
                "data.labels",
                f"no {name} recording has a label within its {data.duration_ms:g} ms",
                "set data.duration_ms or data.stride_ms so that windows reach the labels",
            )


def check_monitors(experiment: Experiment, data: DataSettings, built: BuiltNetwork, loss: Loss) -> None:
    """Check that all metrics that callbacks and the schedule monitor are logged.

    Args:
        data: The data settings, for the targets and the length of a step.
        built: The network, for the metrics of its layers.
        loss: The loss, for the metrics of its terms.
    """
    _require_no_validation(experiment)
    known = logged_metrics(data, built, loss)
    user_defined = any(
        not _target_of(node).startswith("lightning.") for node in _nodes_by_name(experiment.callbacks).values()
    )
    for place, metric, interval_unit in _monitored_metrics(experiment):
        is_value_metric = data.targets in ("value", "series") and metric.rpartition("/")[0] in known
        if metric not in known and not is_value_metric and not user_defined:  # a user's callback may log more
            hint = did_you_mean(metric, known)
            raise ConfigError(place, f"no metric '{metric}' is logged", hint, () if hint else known)
        if interval_unit == "step" and metric.startswith("val/"):
            raise ConfigError(place, f"{metric} is logged once per epoch", "set scheduler.interval=epoch")
    if not _nodes_by_name(experiment.logger):
        for name, node in _nodes_by_name(experiment.callbacks).items():
            if _target_of(node).rpartition(".")[2] in _FOR_LOGGERS:
                raise ConfigError(
                    f"callbacks.{name}", "needs a logger, and there is none", "choose one, such as logger=csv"
                )


def logged_metrics(data: DataSettings, built: BuiltNetwork, loss: Loss) -> list[str]:
    """Return the names of the metrics that a training logs each epoch.

    Args:
        data: The data settings, for the targets and the length of a step.
    """
    names = ["loss", *(f"loss/{name}" for name in loss.names)]
    names += ["mae", "rmse", "r2"] if data.targets in ("value", "series") else ["accuracy"]
    layer_metrics = ["spikes_per_step", "silent", *([] if data.step_ms is None else ["rate_hz"])]
    names += [f"{name}/{layer}" for layer in built.spiking for name in layer_metrics]
    names += ["spikes_per_sample"] if built.spiking else []
    return [*(f"{stage}/{name}" for stage in ("val", "train") for name in names), "lr"]


def check_batches(experiment: Experiment, data: EventDataModule, world_size: int) -> None:
    """Check the limits of batches and the validation interval against the number of batches.

    Args:
        world_size: The world size.
    """
    trainer = experiment.trainer
    numbers = data.batches(world_size)
    for stage, number in numbers.items():
        limit = trainer.get(f"limit_{stage}_batches")
        if isinstance(limit, float) and 0 < limit * number < 1:
            raise ConfigError(
                f"trainer.limit_{stage}_batches", f"{limit:g} of {number} batches is less than one", "set 1 or more"
            )
    trained, interval = (
        _limited_batches(numbers["train"], trainer.get("limit_train_batches")),
        trainer.get("val_check_interval"),
    )
    each = trainer.get("check_val_every_n_epoch", 1) is not None
    if isinstance(interval, int) and each and numbers["val"] and interval > trained:
        raise ConfigError(
            "trainer.val_check_interval",
            f"{interval} is more than the {trained} batches of an epoch",
            "set at most that, or trainer.check_val_every_n_epoch=null to count across epochs",
        )
    validated = bool(_limited_batches(numbers["val"], trainer.get("limit_val_batches")))
    _require_validation(experiment, numbers["val"] if validated else 0)


def _require_validation(experiment: Experiment, batches: int) -> None:
    """Raise if a validation metric is monitored that does not exist, or not at each epoch.

    Args:
        batches: Number of validation batches.
    """
    trainer = experiment.trainer
    each, epochs = trainer.get("check_val_every_n_epoch", 1) or 1, trainer.get("max_epochs")
    never = not batches or (isinstance(epochs, int) and 0 < epochs < each)
    for place, metric, _ in _monitored_metrics(experiment):
        if metric.startswith("val/") and never:
            raise ConfigError(place, f"monitors {metric}, and there is no validation")
        if metric.startswith("val/") and each > 1 and place.startswith("scheduler."):
            raise ConfigError(
                place, f"monitors {metric} at each epoch", f"remove trainer.check_val_every_n_epoch={each}"
            )


def _require_no_validation(experiment: Experiment) -> None:
    """Raise if a validation metric is monitored in a training on all recordings."""
    for place, metric, _ in _monitored_metrics(experiment) if experiment.fit_on == "train_and_val" else ():
        if metric.startswith("val/"):
            raise ConfigError(
                place,
                f"monitors {metric}, and with fit_on: train_and_val there is no validation",
                "set trainer.max_epochs and a schedule that monitors nothing",
            )


def _limited_batches(number: int, limit: Any) -> int:
    if limit is None:
        return number
    return min(number, limit) if isinstance(limit, int) else int(number * limit)


def _monitored_metrics(experiment: Experiment) -> Iterator[tuple[str, str, str]]:
    """Yield the place, the name and the interval (epoch or step) of each monitored metric."""
    for name, node in _nodes_by_name(experiment.callbacks).items():
        if isinstance(node.get("monitor"), str):
            yield f"callbacks.{name}.monitor", node["monitor"], "epoch"
    scheduler = experiment.scheduler or {}
    if _target_of(scheduler).endswith(_PLATEAU):
        metric, interval_unit = scheduler.get("monitor", "val/loss"), scheduler.get("interval", "epoch")
        yield "scheduler.monitor", str(metric), str(interval_unit)
    elif "monitor" in scheduler:
        raise ConfigError("scheduler.monitor", f"only {_PLATEAU} monitors a metric")


def _nodes_by_name(group: Mapping[str, Any] | None) -> dict[str, Mapping[str, Any]]:
    return {str(name): node for name, node in (group or {}).items() if isinstance(node, Mapping)}


def _target_of(node: Mapping[str, Any]) -> str:
    return str(node.get("_target_"))
