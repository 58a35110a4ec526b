"""Whether what a network is trained for goes with what the data say of a recording."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from snnlab.config.schema import Experiment
from snnlab.data.settings import DataSettings
from snnlab.data.splits import Split
from snnlab.errors import ConfigError, located
from snnlab.events.targets import kind_of

if TYPE_CHECKING:
    from snnlab.nn import BuiltNetwork
    from snnlab.training.losses import Loss


def check_goal(experiment: Experiment, data: DataSettings, loss: Loss, built: BuiltNetwork) -> None:
    """Check loss, selection and control against the targets, and the loss against the network, which it then knows.

    Raises:
        ConfigError: if one of them is for others, or the loss needs what the network or the data do not give.
    """
    from snnlab.training.losses import Task, WeightedParts, check_takes

    check_takes(loss, str(experiment.loss.get("type")), data.targets)
    if isinstance(loss, WeightedParts):
        loss.check_parts(data.targets)
    if data.targets == "value" and experiment.selection == "best_val_accuracy":
        raise ConfigError("selection", "best_val_accuracy: values have no accuracy", "set selection: lowest_val_loss")
    _check_control(experiment, data)
    with located("loss"):
        loss.bind(Task(built, data.frame_shape, data.step_ms, data.steps, data.num_classes))


def _check_control(experiment: Experiment, data: DataSettings) -> None:
    from snnlab.data.control import Controlled

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
