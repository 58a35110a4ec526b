"""Whether the parts of an experiment go together: goal, data, network, figures that are waited for, batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from snnlab.config.schema import Experiment
from snnlab.data.control import Controlled
from snnlab.data.data_settings import DataSettings
from snnlab.data.splits import Split
from snnlab.errors import ConfigError, did_you_mean, located
from snnlab.nn import BuiltNetwork
from snnlab.nn.losses import Loss, Task, WeightedParts, check_takes
from snnlab.target_kinds import kind_of

if TYPE_CHECKING:
    from snnlab.data.data_module import EventDataModule  # which brings Lightning

# Callbacks of Lightning's that only tell loggers.
_FOR_LOGGERS = ("LearningRateMonitor", "DeviceStatsMonitor")
_PLATEAU = "ReduceLROnPlateau"


def check_goal(experiment: Experiment, data: DataSettings, loss: Loss, built: BuiltNetwork) -> None:
    """Check loss, selection and control against the targets, and the loss against the network, which it then knows.

    Raises:
        ConfigError: if one of them is for others, or the loss needs what the network or the data do not give.
    """
    check_takes(loss, str(experiment.loss.get("type")), data.targets)
    if isinstance(loss, WeightedParts):
        loss.check_parts(data.targets)
    if data.targets == "value" and experiment.selection == "best_val_accuracy":
        raise ConfigError("selection", "best_val_accuracy: values have no accuracy", "set selection: lowest_val_loss")
    _check_control(experiment, data)
    with located("loss"):
        loss.bind(Task(built, data.frame_shape, data.step_ms, data.steps, data.num_classes))


def _check_control(experiment: Experiment, data: DataSettings) -> None:
    kind = experiment.control
    if kind is None:
        return
    if data.targets != "class":
        raise ConfigError("control", f"{kind} is for classes, and data.targets is {data.targets}", "set control: null")
    Controlled(kind, experiment.seed, data.duration_us).framing(data.framing())


def check_labelled(targets: np.ndarray, data: DataSettings, split: Split) -> None:
    """Check that of targets over time, some are in the windows of each part of the split.

    Args:
        targets: The store's.
        data: Where the windows are.

    Raises:
        ConfigError: naming the part of which no step has a target: its loss would be of nothing.
    """
    if kind_of(targets) != "steps":
        return
    seen = targets if data.stride_us is not None else targets[targets[:, 1] < data.duration_us]
    for name, part in (("training", split.train), ("validation", split.val), ("test", split.test)):
        if part.size and not np.isin(part, seen[:, 0]).any():
            raise ConfigError(
                "data.labels",
                f"nothing is labelled in the {data.duration_ms:g} ms of any {name} recording",
                "set data.duration_ms or data.stride_ms so that windows reach the labels",
            )


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
