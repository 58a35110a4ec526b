"""Builds the optimizer, its parameter groups and the schedule of a checked experiment."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from snnlab.config.catalogue import TARGETS
from snnlab.config.node_checks import classes
from snnlab.config.schema import Experiment
from snnlab.errors import ConfigError
from snnlab.experiment_fields import RUN
from snnlab.nn import BuiltNetwork
from snnlab.session.targets import find_target, partial_target
from snnlab.spec.signatures import has_parameter
from snnlab.training.optimizer import DECAY, Group, GroupedOptimizer
from snnlab.training.schedules import SCHEDULES, MakeOptimizer, RunLength, Schedule

Optimization = tuple[MakeOptimizer, Schedule | None]


_log = logging.getLogger(__name__)

_OWN = ("groups", "weight_decay_of")


def make_optimization(experiment: Experiment, built: BuiltNetwork) -> Optimization:
    """Return the functions that make optimizer and schedule; both are tried once to find wrong values."""
    make = make_optimizer(experiment)
    parameters = list(built.network.parameters())
    if not parameters:
        raise ConfigError("model.layers", "no layer has parameters, so there is nothing to train")
    return make, schedule(experiment, make(built.network))


def make_optimizer(experiment: Experiment) -> MakeOptimizer:
    """Return the function that makes the optimizer."""
    node = {key: value for key, value in experiment.optimizer.items() if key not in _OWN}
    modules, inner = (*TARGETS["optimizer"], *experiment.plugins), dict.fromkeys(experiment.plugins, object)
    make = partial_target(node, [Optimizer], modules, "optimizer", supplied=("params",), inner=inner)
    decays = experiment.optimizer.get("weight_decay_of")
    own = experiment.optimizer.get("groups") or {}
    groups = [_build_group(key, one, node, modules) for key, one in own.items() if one is not None]
    if not has_parameter(find_target(node, [Optimizer], modules, "optimizer"), DECAY) or not any(
        settings.get(DECAY) for settings in [node, *(group.settings for group in groups)]
    ):
        decays = None
    return GroupedOptimizer(make, groups, decays)


def _build_group(name: str, own: Mapping[str, Any], node: Mapping[str, Any], modules: tuple[str, ...]) -> Group:
    place = f"optimizer.groups.{name}"
    settings = {key: value for key, value in own.items() if key != "match"}
    match = own.get("match", name)
    # Build an optimizer of the group alone: torch checks the defaults of all groups, but not the values of one.
    partial_target({**node, **settings}, [Optimizer], modules, place, supplied=("params",))([nn.Parameter()])
    return Group(name, [match] if isinstance(match, str) else list(match), settings)


# Settings of torch's schedules that contain their length in intervals.
_LENGTHS = ("T_max", "total_steps", "total_iters", "milestones")


def schedule(experiment: Experiment, tried: Optimizer) -> Schedule | None:
    """Return the function that makes the schedule, after a trial.

    Args:
        tried: An optimizer for the trial.
    """
    if experiment.scheduler is None or experiment.trainer.get("max_epochs") == 0:
        return None
    node = dict(experiment.scheduler)
    if "_target_" in node:
        return _of_torch(node, experiment, tried)
    curve = SCHEDULES.build(node.pop("type", None), node, "scheduler")
    curve(tried, RunLength(2, 1))

    def make(optimizer: Optimizer, run: RunLength | None) -> Any:
        assert run is not None
        if warning := curve.length_problem(run):
            _log.warning("scheduler.%s", warning)
        return curve(optimizer, run)

    return Schedule(make, "step", needs_run_length=True)


def _of_torch(node: dict[str, Any], experiment: Experiment, tried: Optimizer) -> Schedule:
    modules = (*TARGETS["scheduler"], *experiment.plugins)
    inner = {"torch.optim": LRScheduler, **dict.fromkeys(experiment.plugins, object)}
    interval, monitor = node.pop("interval", "epoch"), node.pop("monitor", "val/loss")
    nodes = list(classes(node, "scheduler"))

    def built(optimizer: Optimizer, length: int) -> LRScheduler:
        made = _for_run(node, length)
        return partial_target(made, [LRScheduler], modules, "scheduler", supplied=("optimizer",), inner=inner)(
            optimizer
        )

    def make(optimizer: Optimizer, run: RunLength | None) -> LRScheduler:
        if run is None:
            return built(optimizer, epochs)
        _require_fits(nodes, run.steps, "steps")
        return built(optimizer, run.steps)

    max_epochs, stepwise = experiment.trainer.get("max_epochs"), interval == "step"
    epochs = max_epochs if isinstance(max_epochs, int) and max_epochs > 0 else 1
    whole = any(RUN in one.values() for _, one in nodes)
    if epochs != max_epochs and whole and not stepwise:
        raise ConfigError("scheduler", f"{RUN} is the number of epochs, and trainer.max_epochs is not set", "set it")
    if epochs == max_epochs and not stepwise:
        _require_fits(nodes, epochs, "epochs")
    _try_step(built(tried, epochs), tried)
    has_length = whole or any(key in one for key in _LENGTHS for _, one in nodes)
    return Schedule(make, interval, monitor, needs_run_length=stepwise and has_length)


def _for_run(node: Any, length: int) -> Any:
    """Return a copy of a node with `run` replaced by the run's length."""
    if isinstance(node, Mapping):
        return {key: _for_run(value, length) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [_for_run(value, length) for value in node]
    return length if node == RUN else node


def _require_fits(nodes: Sequence[tuple[str, Mapping[str, Any]]], length: int, intervals: str) -> None:
    """Warn if a schedule is longer than the run."""
    for place, node in nodes:
        for key in _LENGTHS:
            value = max(node[key], default=0) if isinstance(node.get(key), list | tuple) else node.get(key)
            if isinstance(value, int) and value > length:
                _log.warning(
                    "%s.%s: %d is more than the run's %d %s: the schedule does not reach its end; set '%s'",
                    *(place, key, value, length, intervals, RUN),
                )
        total = node.get("total_steps")
        if isinstance(total, int) and total < length and str(node["_target_"]).endswith("OneCycleLR"):
            raise ConfigError(f"{place}.total_steps", f"the run has {length} {intervals}, got {total}", f"set {RUN}")


def _try_step(schedule: LRScheduler, optimizer: Optimizer) -> None:
    """Step a schedule once: some of torch's schedules check their settings only then."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns that the optimizer was not stepped before
            schedule.step(0.0) if isinstance(schedule, ReduceLROnPlateau) else schedule.step()
    except (ArithmeticError, ValueError, TypeError) as error:
        raise ConfigError("scheduler", f"{type(schedule).__name__}: {error}") from error
    rates = [float(group["lr"]) for group in optimizer.param_groups]
    if wrong := [rate for rate in rates if not math.isfinite(rate) or rate < 0]:
        raise ConfigError("scheduler", f"{type(schedule).__name__}: its second learning rate is {wrong[0]:g}")
