"""Whether what a network is trained for goes with what the data say of a recording."""

from __future__ import annotations

from typing import TYPE_CHECKING

from snnlab.config.schema import Experiment
from snnlab.data.settings import DataSettings
from snnlab.errors import ConfigError

if TYPE_CHECKING:
    from snnlab.training.losses import Loss


def check_goal(experiment: Experiment, data: DataSettings, loss: Loss) -> None:
    """Check loss and selection against the targets.

    Raises:
        ConfigError: if one of them is for others.
    """
    from snnlab.training.losses import check_takes

    check_takes(loss, str(experiment.loss.get("type")), data.targets)
    if data.targets == "value" and experiment.selection == "best_val_accuracy":
        raise ConfigError("selection: best_val_accuracy: values have no accuracy; set selection: lowest_val_loss")
