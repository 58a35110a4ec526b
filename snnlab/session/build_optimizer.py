"""Builds the optimizer, its parameter groups and the schedule of a checked experiment."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from snnlab.config.schema import Experiment
from snnlab.errors import ConfigError, error_context
from snnlab.nn import BuiltNetwork
from snnlab.session.targets import check_numbers, find_target, partial_target
from snnlab.spec.field import type_problem
from snnlab.spec.signatures import has_parameter
from snnlab.training.optimizer import DECAY, Group, GroupedOptimizer
from snnlab.training.schedules import SCHEDULES, MakeOptimizer, RunLength, Schedule

Optimization = tuple[MakeOptimizer, Schedule | None]


_log = logging.getLogger(__name__)

_OWN = ("groups", "weight_decay_of")
# torch refuses these below 0 only when it builds the optimizer, if at all.
_NOT_NEGATIVE = ("lr", "weight_decay", "eps")


def make_optimization(experiment: Experiment, built: BuiltNetwork) -> Optimization:
    """Return the functions that make optimizer and schedule; both are tried once to find wrong values."""
    make = make_optimizer(experiment)
    parameters = list(built.network.parameters())
    if not parameters:
        raise ConfigError("model.layers", "no layer has parameters, so there is nothing to train")
    return make, schedule(experiment, make(built.network))


def make_optimizer(experiment: Experiment) -> MakeOptimizer:
    """Return the function that makes the optimizer.

    Raises:
        ConfigError: for a wrong setting; the function raises it for a group that matches nothing.
    """
    node = {key: value for key, value in experiment.optimizer.items() if key not in _OWN}
    modules, inner = ("torch.optim", *experiment.plugins), dict.fromkeys(experiment.plugins, object)
    make = partial_target(node, [Optimizer], modules, "optimizer", supplied=("params",), inner=inner)
    check_numbers(node, "optimizer", _NOT_NEGATIVE.__contains__)
    decays = experiment.optimizer.get("weight_decay_of")
    if problem := type_problem(decays, list[str] | None):
        raise ConfigError("optimizer.weight_decay_of", problem)
    groups = [_build_group(key, own, node, modules) for key, own in _group_settings(experiment).items()]
    if not has_parameter(find_target(node, [Optimizer], modules, "optimizer"), DECAY) or not any(
        settings.get(DECAY) for settings in [node, *(group.settings for group in groups)]
    ):
        decays = None
    grouped = GroupedOptimizer(make, groups, decays)

    def made(network: nn.Module) -> Optimizer:
        with error_context("optimizer"):
            return grouped(network)

    return made


def _group_settings(experiment: Experiment) -> Mapping[str, Any]:
    groups = experiment.optimizer.get("groups") or {}
    if not isinstance(groups, Mapping):
        raise ConfigError(
            "optimizer.groups", f"expected named groups, such as {{biases: {{lr: 1e-3}}}}, got {groups!r}"
        )
    return {key: own for key, own in groups.items() if own is not None}


def _build_group(name: str, own: Any, node: Mapping[str, Any], modules: tuple[str, ...]) -> Group:

    place = f"optimizer.groups.{name}"
    if not isinstance(own, Mapping):
        raise ConfigError(place, f"expected settings of the optimizer, such as {{lr: 1e-3}}, got {own!r}")
    settings = {key: value for key, value in own.items() if key != "match"}
    match = own.get("match", name)
    if problem := type_problem(match, str | list[str]):
        raise ConfigError(f"{place}.match", problem)
    check_numbers(settings, place, _NOT_NEGATIVE.__contains__)
    # Build an optimizer of the group alone: torch checks the defaults of all groups, but not the values of one.
    partial_target({**node, **settings}, [Optimizer], modules, place, supplied=("params",))([nn.Parameter()])
    return Group(name, [match] if isinstance(match, str) else list(match), settings)


# This value stands for the run's number of steps or epochs, depending on `interval`.
_RUN = "run"
# Settings of torch's schedules that contain their length in intervals.
_LENGTHS = ("T_max", "total_steps", "total_iters", "milestones")
# This setting of torch's schedules is -1 before the first epoch.
_BEFORE_FIRST = "last_epoch"


def schedule(experiment: Experiment, tried: Optimizer) -> Schedule | None:
    """Return the function that makes the schedule, after a trial.

    Args:
        tried: An optimizer for the trial.

    Raises:
        ConfigError: for a mistake in its settings.
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
    modules = ("torch.optim", *experiment.plugins)
    inner = {"torch.optim": LRScheduler, **dict.fromkeys(experiment.plugins, object)}
    interval, monitor = node.pop("interval", "epoch"), node.pop("monitor", "val/loss")
    if interval not in ("epoch", "step"):
        raise ConfigError("scheduler.interval", f"expected one of epoch, step, got '{interval}'")

    nodes = list(_nodes(node, "scheduler"))
    for place, one in nodes:
        of_torch = str(one["_target_"]).startswith("torch.")
        check_numbers(one, place, lambda key, of_torch=of_torch: of_torch and key != _BEFORE_FIRST)
        if of_torch and one.get("step_size") == 0:
            raise ConfigError(f"{place}.step_size", "must be >= 1, got 0")

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
    whole = any(_RUN in one.values() for _, one in nodes)
    if epochs != max_epochs and whole and not stepwise:
        raise ConfigError("scheduler", f"{_RUN} is the number of epochs, and trainer.max_epochs is not set", "set it")
    if epochs == max_epochs and not stepwise:
        _require_fits(nodes, epochs, "epochs")
    _try_step(built(tried, epochs), tried)
    has_length = whole or any(key in one for key in _LENGTHS for _, one in nodes)
    return Schedule(make, interval, monitor, needs_run_length=stepwise and has_length)


def _nodes(node: Any, place: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the nodes of a schedule and of its inner schedules, with their places."""
    if isinstance(node, Mapping):
        if "_target_" in node:
            yield place, node
        for key, value in node.items():
            yield from _nodes(value, f"{place}.{key}")
    elif isinstance(node, list | tuple):
        for number, value in enumerate(node):
            yield from _nodes(value, f"{place}[{number}]")


def _for_run(node: Any, length: int) -> Any:
    """Return a copy of a node with `run` replaced by the run's length."""
    if isinstance(node, Mapping):
        return {key: _for_run(value, length) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [_for_run(value, length) for value in node]
    return length if node == _RUN else node


def _require_fits(nodes: Sequence[tuple[str, Mapping[str, Any]]], length: int, intervals: str) -> None:
    """Warn if a schedule is longer than the run.

    Raises:
        ConfigError: if a OneCycleLR is shorter than the run, which torch would refuse in the middle of the run.
    """
    for place, node in nodes:
        for key in _LENGTHS:
            value = max(node[key], default=0) if isinstance(node.get(key), list | tuple) else node.get(key)
            if isinstance(value, int) and value > length:
                _log.warning(
                    "%s.%s: %d is more than the run's %d %s: the schedule does not reach its end; set '%s'",
                    *(place, key, value, length, intervals, _RUN),
                )
        total = node.get("total_steps")
        if isinstance(total, int) and total < length and str(node["_target_"]).endswith("OneCycleLR"):
            raise ConfigError(f"{place}.total_steps", f"the run has {length} {intervals}, got {total}", f"set {_RUN}")


def _try_step(schedule: LRScheduler, optimizer: Optimizer) -> None:
    """Step a schedule once: some of torch's schedules check their settings only then.

    Raises:
        ConfigError: if the step fails, or gives a rate that is not finite or is negative.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns that the optimizer was not stepped before
            schedule.step(0.0) if isinstance(schedule, ReduceLROnPlateau) else schedule.step()
    except (ArithmeticError, ValueError, TypeError) as error:
        raise ConfigError("scheduler", f"{type(schedule).__name__}: {error}") from error
    rates = [float(group["lr"]) for group in optimizer.param_groups]
    if wrong := [rate for rate in rates if not math.isfinite(rate) or rate < 0]:
        raise ConfigError("scheduler", f"{type(schedule).__name__}: its second learning rate is {wrong[0]:g}")
