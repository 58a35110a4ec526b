"""From a checked experiment to what changes how its network learns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from snnlab.config.schema import Experiment
from snnlab.errors import ConfigError
from snnlab.nn.layers.norm import PerStepBatchNorm
from snnlab.settings import check_settings

if TYPE_CHECKING:
    import lightning as L

    from snnlab.training.module import Options


def options(experiment: Experiment, network: nn.Module) -> Options:
    """Return what changes how a network learns.

    Raises:
        ConfigError: for a mistake in it.
    """
    from snnlab.training.module import Options

    averaging(experiment)  # a mistake in it is said now, and not after the data were read
    return Options(_window(experiment, network), freeze(experiment, network))


def freeze(experiment: Experiment, network: nn.Module) -> list[nn.Module]:
    """Freeze what is asked for, and return the layers that stay in evaluation.

    Raises:
        ConfigError: if a word means nothing, or nothing is left to train.
    """
    from snnlab.training.optimization import freezing

    try:
        return freezing.freeze(network, experiment.freeze)
    except ConfigError as error:
        raise error.within("freeze") from error


def annealing(experiment: Experiment, network: nn.Module) -> list[L.Callback]:
    """Return the callback that changes the surrogates' widths, if it is asked for.

    Raises:
        ConfigError: for a mistake in its settings.
    """
    node = experiment.surrogate_annealing
    if node is None:
        return []
    from snnlab.training.optimization.annealing import SurrogateAnnealing

    check_settings(SurrogateAnnealing, node, "surrogate_annealing", "surrogate_annealing", given=("network",))
    try:
        return [SurrogateAnnealing(network, **node)]
    except ValueError as error:
        raise ConfigError(f"surrogate_annealing: {error}") from error


def averaging(experiment: Experiment) -> list[L.Callback]:
    """Return the callback that averages the weights, if it is asked for.

    Raises:
        ConfigError: for a mistake in its settings.
    """
    from snnlab.training.optimization.average import AVERAGES, Averaging

    if experiment.average is None:
        return []
    settings = dict(experiment.average)
    return [Averaging(AVERAGES.build(settings.pop("type", None), settings, "average"))]


def _window(experiment: Experiment, network: nn.Module) -> int | None:
    steps = experiment.tbptt_steps
    if steps is not None and steps < 1:
        raise ConfigError(f"tbptt_steps: must be 1 or more, or null, got {steps}")
    if steps is not None and any(isinstance(module, PerStepBatchNorm) for module in network.modules()):
        raise ConfigError("tbptt_steps: a batch_norm with per_step needs all steps at once; set tbptt_steps: null")
    return steps
