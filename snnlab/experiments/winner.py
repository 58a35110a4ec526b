"""Selects the winner of a search by training the best trials again with other seeds, and tests it with new seeds.

The mean leaves out the seed of the search itself: a trial is among the best also by luck.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from snnlab.experiments.executor import Executor, FinishedTask
from snnlab.experiments.search_plan import SearchPlan
from snnlab.experiments.space import Values
from snnlab.experiments.study import OUTCOME, SearchStudy, values_of
from snnlab.experiments.workers import threads_per_run
from snnlab.runs.recorded import read_run
from snnlab.runs.tables import format_value

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

_log = logging.getLogger(__name__)


@dataclass
class Finalist:
    """One of the best trials.

    Attributes:
        values: The proposed values.
        found: Its objectives in the search.
        again: Its objectives with each of the other seeds.
    """

    number: int
    values: Values
    found: dict[str, float]
    again: list[dict[str, float]] = field(default_factory=list)

    def score(self, name: str) -> float:
        """Return the mean of an objective over the other seeds, or its value in the search if there are none."""
        return fmean(one[name] for one in self.again) if self.again else self.found[name]


@dataclass(frozen=True)
class Winner:
    """The winner of a search, with the other finalists.

    Attributes:
        finalists: The best first.
        chosen_by: The criterion, as text.
        seeds: Seeds of the finalists.
        tested: Metrics of the test runs.
        test_seeds: Seeds of the test runs.
        folders: Folders of the test runs.
    """

    finalists: Sequence[Finalist]
    chosen_by: str
    seeds: Sequence[int]
    tested: Sequence[Mapping[str, float]] = ()
    test_seeds: Sequence[int] = ()
    folders: Sequence[Path] = ()


def best_trials(study: SearchStudy) -> list[FrozenTrial]:
    """Return the complete trials, the best first; with several objectives, the Pareto front sorted by the first one."""
    trials = [trial for trial in study.trials() if trial.state.name == "COMPLETE"]
    if len(study.sweep.objectives) > 1 and trials:
        trials = study.study.best_trials
    sign = _sign(study, 0)
    return sorted(trials, key=lambda trial: sign * trial.values[0])


def find_winner(plan: SearchPlan, study: SearchStudy, executor: Executor) -> Winner | None:
    """Train the finalists, select the winner and test it; None if no trial is complete, or a signal arrives."""
    finalists = _select_finalists(plan, study)
    if not finalists:
        return None
    names, sweep = plan.sweep.names(), plan.sweep
    number = sweep.finalist_seeds if sweep.finalists else 0
    seeds = list(range(plan.seed + 1, plan.seed + 1 + number))
    if seeds:
        count = "1 finalist" if len(finalists) == 1 else f"{len(finalists)} finalists"
        _log.info("training %s again with seeds %s", count, seeds)
        if not _train_with_other_seeds(plan, executor, finalists, seeds):
            return None
    chosen_by = f"{names[0]}, {'mean over seeds of finalists' if seeds else 'one seed'}"
    sign = _sign(study, 0)
    ordered = sorted(finalists, key=lambda one: sign * one.score(names[0]))
    winner = Winner(ordered, chosen_by, seeds)
    if not sweep.test_seeds:
        return winner
    fresh = list(range(plan.seed + 1 + number, plan.seed + 1 + number + sweep.test_seeds))
    _log.info("training and testing the winner, trial %d, with new seeds %s", ordered[0].number, fresh)
    return _test_winner(plan, study, executor, winner, fresh)


def _select_finalists(plan: SearchPlan, study: SearchStudy) -> list[Finalist]:
    names, found = plan.sweep.names(), []
    seen: list[Values] = []
    for trial in best_trials(study):
        plan.require_searched(values := values_of(trial))
        if values not in seen:
            seen.append(values)
            found.append(Finalist(trial.number, values, dict(zip(names, trial.values, strict=True))))
    return found[: max(1, plan.sweep.finalists)]


def _train_with_other_seeds(
    plan: SearchPlan, executor: Executor, finalists: list[Finalist], seeds: Sequence[int]
) -> bool:
    threads, names = threads_per_run(plan.sweep), plan.sweep.names()
    by_number = {one.number: one for one in finalists}
    tasks = {
        (one.number, seed): plan.task(f"finalists/{one.number:03d}_seed_{seed}", one.values, threads, seed)
        for seed in seeds
        for one in finalists
    }

    def ended(one: FinishedTask) -> None:
        number, seed = one.key
        metrics = one.outcome["metrics"]
        if one.outcome["status"] == "failed":
            _log.warning("trial %d with seed %d failed: %s", number, seed, one.outcome["error"])
            worst = {"minimize": math.inf, "maximize": -math.inf}
            metrics = {name: worst[plan.sweep.objectives[name]] for name in names}
        by_number[number].again.append({name: metrics[name] for name in names})
        text = "  ".join(f"{name} {format_value(metrics[name])}" for name in names)
        _log.info("trial %d with seed %d  %s", number, seed, text)

    executor.run_all(tasks, ended)
    return not executor.is_stopping


def _test_winner(
    plan: SearchPlan, study: SearchStudy, executor: Executor, winner: Winner, seeds: Sequence[int]
) -> Winner | None:
    best, threads = winner.finalists[0], threads_per_run(plan.sweep)
    tasks = {
        seed: plan.task(f"winner/{best.number:03d}_seed_{seed}", best.values, threads, seed, test=True)
        for seed in seeds
    }
    ended: dict[int, FinishedTask] = {}
    executor.run_all(tasks, lambda one: ended.update({one.key: one}))
    if executor.is_stopping:
        return None
    failed = [one.outcome["error"] for one in ended.values() if one.outcome["status"] == "failed"]
    for error in failed:
        _log.warning("a test run of the winner failed: %s", error)
    completed = {seed: one for seed, one in sorted(ended.items()) if one.outcome["status"] == "completed"}
    folders = [Path(one.task.folder) for one in completed.values()]
    search = {
        "trials": study.count().finished,
        "chosen_by": winner.chosen_by,
        "val_size": max((one.outcome["val_size"] for one in completed.values()), default=0),
        "seeds": list(winner.seeds),
    }
    for folder in folders:
        _record_search(folder, search)
    metrics = [
        {name: value for name, value in one.outcome["metrics"].items() if name.startswith("test/")}
        for one in completed.values()
    ]
    return Winner(winner.finalists, winner.chosen_by, winner.seeds, metrics, list(completed), folders)


def _record_search(folder: Path, search: dict[str, Any]) -> None:
    """Write into a run's result that its settings were searched."""
    replace(read_run(folder).result(), search=search).write()


def _sign(study: SearchStudy, objective: int) -> float:
    return 1.0 if study.study.directions[objective].name == "MINIMIZE" else -1.0


def overheads(study: SearchStudy) -> list[float]:
    """Return the overhead of each complete trial beyond its training, s."""
    outcomes = [trial.user_attrs.get(OUTCOME) for trial in study.trials()]
    return [outcome["overhead_s"] for outcome in outcomes if outcome and outcome["status"] == "completed"]
