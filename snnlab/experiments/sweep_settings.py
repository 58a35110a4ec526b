"""The settings of a sweep: dataclasses, and the checks of a sweep's YAML."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Annotated, Any, Literal

from snnlab.errors import ConfigError, did_you_mean, join_names
from snnlab.experiments.space import Space
from snnlab.spec.interval import Count, NonNegative, at_least
from snnlab.spec.nodes import load

PLACE = "sweep"
Sampler = Literal["tpe", "random", "cmaes", "nsga", "grid"]
_MAPPINGS = {"space": "{optimizer.lr: {low: 1e-4, high: 1e-2}}", "objectives": "{val/loss: minimize}"}
# A running search cannot change these: its trials would no longer be comparable.
FIXED = ("sampler", "objectives", "space", "prune", "seed")


@dataclass(frozen=True)
class Prune:
    """Pruning: when a trial with low scores ends before its last epoch.

    Args:
        by: `median`: worse than the other trials' median at the same epoch; `halving`: not in the best 1 / `keep`.
        after: Number of epochs before a trial may be pruned.
        keep: Of `halving`: one of this many trials continues.
    """

    by: Literal["median", "halving"] = "median"
    after: int = 3
    keep: int = 3


@dataclass(frozen=True)
class Sweep:
    """A search.

    Args:
        space: The settings that are searched, each with a range {low, high} or {choices}.
        objectives: Metrics of a run's result, each with minimize or maximize; several give a Pareto front.
        sampler: Proposes the trials: `tpe`, `random`, `cmaes`, `nsga`, or `grid`, which takes every combination once.
        trials: Number of finished trials at which the search ends; null: no limit, or all points of a grid.
        hours: Number of hours after which no trial begins; null: no limit.
        prune: Settings of pruning, {by, after, keep}; null: no pruning.
        engine: Where trials run: `here`, in this process; `joblib`, in local processes; `submitit`; `ray`.
        workers: Number of trials at the same time.
        submitit: Parameters of submitit's executor, such as {cluster: slurm, slurm_partition: gpu, timeout_min: 240}.
        failures: Number of failed trials that the search allows; one more ends it.
        finalists: Number of best trials that are trained again with other seeds; 0: none.
        finalist_seeds: Number of seeds of each finalist; their mean selects the winner.
        test_seeds: Number of new seeds with which the winner is trained and tested; 0: it is not tested.
        seed: Seed of the sampler.
    """

    space: Mapping[str, Any]
    objectives: Mapping[str, Any] = field(default_factory=lambda: {"val/loss": "minimize"})
    sampler: Sampler = "tpe"
    trials: Annotated[int | None, at_least(1)] = 20
    hours: Annotated[float | None, at_least(0)] = None
    prune: Prune | None = None
    engine: Literal["here", "joblib", "submitit", "ray"] = "joblib"
    workers: Count = 2
    submitit: Mapping[str, Any] | None = None
    failures: NonNegative = 10
    finalists: NonNegative = 3
    finalist_seeds: Count = 2
    test_seeds: NonNegative = 3
    seed: NonNegative = 0

    @property
    def slots(self) -> int:
        """Number of trials at the same time."""
        return 1 if self.engine == "here" else self.workers

    @property
    def setting_names(self) -> tuple[str, str, str]:
        """The names that messages use: of the engine's setting, of submitit's, and of the engine without processes."""
        return f"{PLACE}.engine", f"{PLACE}.submitit", "here"

    def names(self) -> list[str]:
        """Return the objectives' names."""
        return list(self.objectives)


def parse_settings(values: Mapping[str, Any]) -> tuple[Sweep, Space]:
    """Return the checked sweep and its search space."""
    for name, example in _MAPPINGS.items():
        if name in values and not isinstance(values[name], Mapping):
            raise ConfigError(f"{PLACE}.{name}", f"expected a mapping such as {example}, got {values[name]!r}")
    sweep = load(Sweep, values, PLACE, "a sweep")
    _check_objectives(sweep.objectives)
    if sweep.prune is not None and len(sweep.objectives) > 1:
        raise ConfigError(
            f"{PLACE}.prune", f"takes one objective, and there are {len(sweep.objectives)}", "set it null"
        )
    if sweep.trials is None and sweep.hours is None and sweep.sampler != "grid":
        raise ConfigError(PLACE, "set trials or hours, else it never ends")
    if sweep.sampler == "cmaes" and len(sweep.objectives) > 1:
        raise ConfigError(f"{PLACE}.sampler", "cmaes takes one objective", "for several use tpe or nsga")
    space = Space.parse(sweep.space)
    if sweep.sampler == "grid":
        space.grid()
    return sweep, space


def change_settings(before: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a search's settings with new values; only settings outside of `FIXED` may change."""
    free = [f.name for f in fields(Sweep) if f.name not in FIXED]
    for name, value in values.items():
        if name in FIXED and value != before.get(name):
            raise ConfigError(f"{PLACE}.{name}", "a search keeps this setting", f"only {join_names(free)} may change")
    return {**before, **values}


def _check_objectives(objectives: Mapping[str, Any]) -> None:
    if not objectives:
        raise ConfigError(f"{PLACE}.objectives", "name at least one, such as val/loss: minimize")
    for name, direction in objectives.items():
        place = f"{PLACE}.objectives.{name}"
        if name.startswith(("test/", "last/test/")):
            better = name.replace("test/", "val/", 1)
            raise ConfigError(place, "test recordings must not select anything", f"use {better}")
        if direction not in ("minimize", "maximize"):
            hint = did_you_mean(str(direction), ("minimize", "maximize"))
            raise ConfigError(place, f"expected one of minimize, maximize, got {direction!r}", hint)
