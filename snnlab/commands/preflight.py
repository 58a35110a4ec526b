"""Everything of an experiment but its data, built so that a mistake is found: what is quickly told comes first."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from snnlab.config.plugins import import_plugins

if TYPE_CHECKING:
    from snnlab.config.assemble_optimizer import Optimization
    from snnlab.config.schema import Experiment
    from snnlab.data.settings import DataSettings
    from snnlab.nn import BuiltNetwork
    from snnlab.training.losses import Loss


class Parts(NamedTuple):
    """What was built."""

    settings: DataSettings
    built: BuiltNetwork
    loss: Loss
    optimizer: Optimization


def build_parts(experiment: Experiment, *, here: bool, alone: bool = False) -> Parts:
    """Build what an experiment says but data and trainer; Lightning is not imported.

    Args:
        here: Whether it is to be trained on this machine.
        alone: Whether loss and data need not go together.

    Raises:
        ConfigError: for the first mistake found.
    """
    from snnlab.config.assemble_optimizer import make_optimizer

    import_plugins(experiment)
    make_optimizer(experiment)  # names and types of its settings, before anything else is imported

    from snnlab.config import assemble
    from snnlab.config.fit_checks import check_monitors
    from snnlab.config.goal import check_goal

    if here:
        assemble.set_threads(experiment.threads)
        assemble.check_precision(experiment)
    settings = assemble.data_settings(experiment)
    built = assemble.network(experiment, settings)
    loss = assemble.loss(experiment)
    if not alone:
        check_goal(experiment, settings, loss, built)
        check_monitors(experiment, settings, built, loss)
    return Parts(settings, built, loss, assemble.optimizer(experiment, built))


def preflight(experiment: Experiment, folder: Path, *, here: bool, alone: bool = False) -> None:
    """Build everything but the data, and the trainer as far as that needs no device.

    Args:
        folder: Its run's.
        here: Whether it is to be trained on this machine.
        alone: Whether loss and data need not go together.

    Raises:
        ConfigError: for the first mistake found.
    """
    from snnlab.config import assemble
    from snnlab.console import quiet_lightning

    with experiment.located_errors(), quiet_lightning():
        build_parts(experiment, here=here, alone=alone)
        assemble.check_loggers(experiment)  # built, some of them would make files, or ask their server
        assemble.trainer_maker(replace(experiment, logger=None), folder, [])
