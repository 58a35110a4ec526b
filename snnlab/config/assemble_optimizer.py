"""From a checked experiment to how its weights change: optimizer, its groups, schedule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import nn
from torch.optim import Optimizer

from snnlab.config.schema import Experiment
from snnlab.config.targets import check_numbers, find_target, partial_target
from snnlab.errors import ConfigError
from snnlab.settings import takes, type_problem

if TYPE_CHECKING:
    from snnlab.nn import BuiltNetwork
    from snnlab.training.optimization.groups import Group
    from snnlab.training.optimization.schedules import MakeOptimizer, Schedule

    Optimization = tuple[MakeOptimizer, Schedule | None]

_OWN = ("groups", "weight_decay_of")
# What torch would refuse only once it has built an optimizer, if at all.
_NOT_NEGATIVE = ("lr", "weight_decay", "eps")


def optimizer(experiment: Experiment, built: BuiltNetwork) -> Optimization:
    """Return how optimizer and schedule are made; both were tried once, so that a wrong value is found here."""
    from snnlab.config.assemble_schedule import schedule

    make = make_optimizer(experiment)
    parameters = list(built.network.parameters())
    if not parameters:
        raise ConfigError("model.layers: no layer has parameters, so there is nothing to train")
    return make, schedule(experiment, make(built.network))


def make_optimizer(experiment: Experiment) -> MakeOptimizer:
    """Return how the optimizer is made.

    Raises:
        ConfigError: for a wrong setting of it or of a group; making it raises it for a group that means nothing.
    """
    from snnlab.training.optimization.groups import DECAY, GroupedOptimizer

    node = {key: value for key, value in experiment.optimizer.items() if key not in _OWN}
    modules = ("torch.optim", *experiment.plugins)
    make = partial_target(node, [Optimizer], modules, "optimizer", given=("params",))
    check_numbers(node, "optimizer", _NOT_NEGATIVE.__contains__)
    decays = experiment.optimizer.get("weight_decay_of")
    if problem := type_problem(decays, list[str] | None):
        raise ConfigError(f"optimizer.weight_decay_of: {problem}")
    groups = [_group(key, own, node, modules) for key, own in _groups(experiment).items()]
    if not takes(find_target(node, [Optimizer], modules, "optimizer"), DECAY) or not any(
        settings.get(DECAY) for settings in [node, *(group.settings for group in groups)]
    ):
        decays = None
    grouped = GroupedOptimizer(make, groups, decays)

    def made(network: nn.Module) -> Optimizer:
        try:
            return grouped(network)
        except ConfigError as error:
            raise error.within("optimizer") from error

    return made


def _groups(experiment: Experiment) -> Mapping[str, Any]:
    groups = experiment.optimizer.get("groups") or {}
    if not isinstance(groups, Mapping):
        raise ConfigError(f"optimizer.groups: expected named groups, such as {{biases: {{lr: 1e-3}}}}, got {groups!r}")
    return {key: own for key, own in groups.items() if own is not None}


def _group(name: str, own: Any, node: Mapping[str, Any], modules: tuple[str, ...]) -> Group:
    from snnlab.training.optimization.groups import Group

    place = f"optimizer.groups.{name}"
    if not isinstance(own, Mapping):
        raise ConfigError(f"{place}: expected settings of the optimizer, such as {{lr: 1e-3}}, got {own!r}")
    settings = {key: value for key, value in own.items() if key != "match"}
    match = own.get("match", name)
    if problem := type_problem(match, str | list[str]):
        raise ConfigError(f"{place}.match: {problem}")
    check_numbers(settings, place, _NOT_NEGATIVE.__contains__)
    # On a parameter of its own: torch looks at the values that it is given for all, and not at those of a group.
    partial_target({**node, **settings}, [Optimizer], modules, place, given=("params",))([nn.Parameter()])
    return Group(name, [match] if isinstance(match, str) else list(match), settings)
