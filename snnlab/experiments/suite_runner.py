"""The loop of a suite: datasets are looked at, methods tuned, what is missing is trained."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from snnlab.errors import ConfigError, Interrupted, RecordError, SnnlabError, one_line
from snnlab.experiments import search_report
from snnlab.experiments.controls import judged
from snnlab.experiments.executor import Driver, Ended, Executor, WorkerLostError
from snnlab.experiments.search_plan import Plan as SearchPlan, check_common
from snnlab.experiments.study import OUTCOME, SearchLock, SharedStudy, require_optuna
from snnlab.experiments.suite_plan import Cell, Plan, Survey, Work
from snnlab.experiments.suite_reading import read_config, steps_of
from snnlab.experiments.suite_settings import PLACE, TUNE_SEED
from snnlab.experiments.suite_state import Book, Spent, State, result_of
from snnlab.experiments.sweep_settings import checked
from snnlab.experiments.winner import find_winner
from snnlab.experiments.workers import AROUND, Task, threads_each
from snnlab.runs.tables import shown, span
from snnlab.settings import key_of

_log = logging.getLogger(__name__)


class Clock:
    """Measures trainings, and what the suite needs beyond them.

    Args:
        started: `time.perf_counter()` when the command began.
        before: What earlier commands have spent.
        slots: Trainings at the same time.
    """

    def __init__(self, started: float, before: Spent, slots: int) -> None:
        self._started, self._before, self._slots = started, before, slots
        self._spans: list[tuple[float, float]] = []
        self._walls: list[tuple[Cell, float]] = []
        self._tuning_s = 0.0

    def trained(self, cell: Cell, wall_s: float) -> None:
        """Note a training that has ended now."""
        now = time.perf_counter()
        self._spans.append((now - wall_s, now))
        self._walls.append((cell, wall_s))

    def tuned(self, trainings_s: float) -> None:
        """Note trials that have ended now, of so many seconds together."""
        now = time.perf_counter()
        self._spans.append((now - trainings_s / self._slots, now))
        self._tuning_s += trainings_s

    def spent(self) -> Spent:
        """Return what was spent until now, by earlier commands too."""
        trainings = self._tuning_s + sum(wall_s for _, wall_s in self._walls)
        elapsed = time.perf_counter() - self._started
        overhead = max(0.0, elapsed - _covered(self._spans))
        return Spent(self._before.trainings_s + trainings, self._before.overhead_s + overhead)

    def left(self, waiting: Sequence[Cell], busy: Sequence[Cell]) -> str:
        """Return how much time is left, in words; nothing before the first training has ended.

        Args:
            waiting: Trainings that have not begun.
            busy: Those that run, which are taken to be half done.
        """
        if not self._walls or not (waiting or busy):
            return ""
        seconds = sum(map(self._expected, waiting)) + sum(map(self._expected, busy)) / 2
        return f", {span(seconds / self._slots)} left"

    def _expected(self, cell: Cell) -> float:
        same = [wall for one, wall in self._walls if (one.dataset, one.arm) == (cell.dataset, cell.arm)]
        near = [wall for one, wall in self._walls if one.dataset == cell.dataset]
        return fmean(same or near or [wall for _, wall in self._walls])


def _covered(spans: Sequence[tuple[float, float]]) -> float:
    total, until = 0.0, float("-inf")
    for begin, end in sorted(spans):
        total += max(0.0, end - max(begin, until))
        until = max(until, end)
    return total


SYNOPS = ("test/synops_macs", "test/synops_acs")


def matched(plan: Plan, book: Book) -> dict[str, dict[str, Any]]:
    """Return for each dataset and arm the `value`, how many times the first arm's it is, `off`, and if `beyond`.

    Arms of which nothing is completed, or whose runs do not know the value, are not in it.
    """
    match = plan.suite.matched
    if match is None:
        return {}
    found: dict[str, dict[str, Any]] = {}
    for dataset in plan.suite.datasets:
        values = {arm: value for arm in plan.suite.arms if (value := _mean(book, dataset, arm, match.by)) is not None}
        first = values.get(plan.first(dataset) or "")
        if first:
            found[dataset] = {
                arm: {"value": value, "off": value / first, "beyond": abs(value / first - 1) > match.within}
                for arm, value in values.items()
            }
    return found


def _mean(book: Book, dataset: str, arm: str, by: str) -> float | None:
    cells = [cell for cell in book.states if (cell.dataset, cell.arm, cell.control) == (dataset, arm, None)]
    values = [value for cell in cells if (value := _value(book, cell, by)) is not None]
    return fmean(values) if values else None


def _value(book: Book, cell: Cell, by: str) -> float | None:
    folder = book.folder / cell.folder
    result = result_of(folder) if book.states[cell].status == "completed" else None
    return None if result is None else _WAYS[by](result, folder)


def _synops(result: Mapping[str, Any], folder: Path) -> float | None:
    parts = [result["metrics"].get(name) for name in SYNOPS]
    return None if None in parts else sum(parts)


def _steps(result: Mapping[str, Any], folder: Path) -> float | None:
    """Return the steps of a recording times the epochs trained."""
    steps = steps_of(read_config(folder))
    return None if steps is None else float(steps * result["selection"]["epochs"])


_WAYS: Mapping[str, Callable[[Mapping[str, Any], Path], float | None]] = {
    "params": lambda result, _: result["metrics"].get("params"),
    "steps": _steps,
    "synops": _synops,
    "wall_time": lambda result, _: (result.get("timing") or {}).get("fit_s"),
}


def search_plan(plan: Plan, dataset: str, arm: str, merged: Callable[[Sequence[str]], list[str]]) -> SearchPlan:
    """Return the search of an arm on a dataset.

    Raises:
        ConfigError: if its settings are wrong.
    """
    suite = plan.suite
    node: Mapping[str, Any] = suite.tuning(arm) or {}
    where = {"engine": suite.engine, "workers": suite.workers, "submitit": suite.submitit}
    sweep, space = checked({"finalists": 0, **node, **where, "test_seeds": 0})
    common = plan.tuning_overrides(dataset, arm, merged)
    try:
        check_common(common, space)
    except ConfigError as error:
        raise error.moved(place=f"{PLACE}.tune of {arm} on {dataset}: {error.place}") from error
    folder = plan.folder / "tune" / dataset / arm
    return SearchPlan(folder, f"{arm}_{dataset}", sweep, space, common, plan.config_dir, TUNE_SEED, plan.place)


def tune(
    plan: Plan,
    dataset: str,
    arm: str,
    executor: Executor,
    merged: Callable[[Sequence[str]], list[str]],
    clock: Clock,
) -> dict[str, Any] | None:
    """Search for an arm's values, or go on with that; a search that is complete is read.

    Returns:
        {trials, val_size, values}; None if it was stopped.

    Raises:
        ConfigError: if the search has no winner.
    """
    require_optuna()
    search = search_plan(plan, dataset, arm, merged)
    search.write()
    me = SearchLock(search.folder)
    try:
        own = [text for text in search.common if key_of(text) not in (*AROUND, "threads")]
        identity = {"overrides": own, "seed": search.seed}
        study = SharedStudy(search.folder, search.sweep, search.space, me, identity)
        before = _outcomes(study)
        driver = Driver(search, study, executor, time.perf_counter())
        driver.run()
        clock.tuned(sum(one["wall_s"] for number, one in _outcomes(study).items() if number not in before))
        if executor.ending:
            return None
        driver.require_enough()
        winner = find_winner(search, study, executor)
        if winner is None:
            if executor.ending:
                return None
            raise ConfigError("tune", f"no trial of {arm} on {dataset} was completed")
        search_report.write_trials(search, study)
        search_report.write_summary(search, study, winner, {})
    finally:
        me.leave()
    best, sizes = winner.finalists[0].values, [one["val_size"] for one in _outcomes(study).values()]
    return {"trials": study.count().finished, "val_size": max(sizes), "values": best}


def _outcomes(study: SharedStudy) -> dict[int, Any]:
    """Return what has come of the trials that have ended, by their numbers."""
    return {trial.number: trial.user_attrs[OUTCOME] for trial in study.trials() if OUTCOME in trial.user_attrs}


# Tables are written anew as long as that takes less than this part of the time.
_SHARE = 0.005


class Runner:
    """Runs what is missing of a suite.

    Args:
        cells: What is to be there at the end.
        started: `time.perf_counter()` when the command began.
        tables: Writes the tables of the suite's folder.
    """

    def __init__(
        self,
        plan: Plan,
        cells: Sequence[Cell],
        book: Book,
        work: Work,
        executor: Executor,
        started: float,
        tables: Callable[[], Any],
    ) -> None:
        self.plan, self.cells, self.book, self.executor = plan, cells, book, executor
        self._work, self._tables = work, tables
        self._threads = threads_each(plan.suite)
        self.clock = Clock(started, book.spent, plan.suite.slots)
        self._busy: list[Cell] = []
        self._waiting: list[Cell] = []
        # What this command has trained.
        self.trained: set[Cell] = set()
        self._next_tables = 0.0
        # That trainings share out, by dataset.
        self._gpus: dict[str, int] = {}

    def run(self) -> None:
        """Run what is missing.

        Raises:
            ConfigError: if nothing can be trained for a mistake in the settings.
            RecordError: if the disk is full, or the like.
            Interrupted: after Ctrl-C or SIGTERM.
        """
        todo = [cell for cell in self.cells if self._due(cell)]
        if todo:
            self._train(self._tuned(self._surveyed(todo)))
        self._conclude(spent=bool(todo))
        self._raise_stopped()

    def _due(self, cell: Cell) -> bool:
        state = self.book.states[cell]
        return state.status != "completed" and not state.foreign

    def _surveyed(self, todo: Sequence[Cell]) -> list[Cell]:
        """Look for the recordings of each dataset once, and leave out what has none."""
        mistakes: list[SnnlabError] = []
        left = list(todo)
        datasets = dict.fromkeys(cell.dataset for cell in todo)
        for dataset in datasets:
            found = self._survey(dataset, todo)
            self._raise_stopped()
            self._gpus[dataset] = found.gpus if self.plan.suite.engine == "joblib" else 0
            if found.mistake:
                mistakes.append(found.mistake)
            if problem := found.mistake or found.gap:
                self._leave_out([cell for cell in left if cell.dataset == dataset], found, problem)
                left = [cell for cell in left if cell.dataset != dataset]
            self._note_duplicates(dataset, found)
        if mistakes and len(mistakes) == len(datasets) and not self.book.count("completed"):
            raise mistakes[0]
        return left

    def _survey(self, dataset: str, todo: Sequence[Cell]) -> Survey:
        arms = dict.fromkeys(cell.arm for cell in todo if cell.dataset == dataset)
        probes = [self._work.merged(self.plan.arm_overrides(dataset, arm)) for arm in arms]
        try:
            return self.executor.call(self._work.survey, probes, self.plan.config_dir, self.plan.place)
        except WorkerLostError as error:
            return Survey(gap=error)
        except Interrupted:
            self._raise_stopped()
            raise

    def _leave_out(self, cells: Sequence[Cell], found: Survey, problem: SnnlabError) -> None:
        for cell in cells:
            self.book.states[cell] = State("failed" if found.mistake else "missing", one_line(problem))
        if not found.mistake or len({cell.dataset for cell in self.cells}) > 1:  # else it is what ends the command
            _log.warning("%s is left out: %s", cells[0].dataset, problem)

    def _note_duplicates(self, dataset: str, found: Survey) -> None:
        if found.duplicates is None:
            return
        others = [one for one in self.book.controls if (one["name"], one["dataset"]) != ("duplicates", dataset)]
        said = {"name": "duplicates", "dataset": dataset, "arm": None, "passed": found.apart, "said": found.duplicates}
        self.book.controls = [*others, said]

    def _tuned(self, todo: Sequence[Cell]) -> list[Cell]:
        """Tune what is not tuned yet, and leave out what cannot be."""
        left = list(todo)
        for dataset, arm in dict.fromkeys((cell.dataset, cell.arm) for cell in todo):
            if self.plan.suite.tuning(arm) is None or self.executor.ending:
                continue
            self.executor.devices = self._gpus[dataset]
            of_arm = [cell for cell in left if (cell.dataset, cell.arm) == (dataset, arm)]
            if not any(self.book.states[cell].tuned for cell in of_arm):
                _log.info("%s on %s is tuned:", arm, dataset)
            try:
                found = tune(self.plan, dataset, arm, self.executor, self._work.merged, self.clock)
            except ConfigError as error:
                for cell in of_arm:
                    self.book.states[cell] = State("failed", one_line(error))
                left = [cell for cell in left if cell not in of_arm]
                _log.warning("%s on %s could not be tuned: %s", arm, dataset, error)
                continue
            for cell in of_arm:
                self.book.states[cell].tuned = found
        return left

    def _train(self, todo: Sequence[Cell]) -> None:
        self._waiting = list(todo)
        self.executor.run(self._next, self._record)
        for cell in self._busy:
            self.book.states[cell].status = "missing"
        self._busy = []

    def _next(self) -> tuple[Cell, Task] | None:
        if not self._waiting:
            return None
        cell = self._waiting.pop(0)
        state = self.book.states[cell]
        state.status, state.error = "running", None
        self._busy.append(cell)
        self._write()
        values = state.tuned["values"] if state.tuned else {}
        self.executor.devices = self._gpus[cell.dataset]
        return cell, self.plan.task(cell, values, self._threads, self._work.merged)

    def _record(self, ended: Ended) -> None:
        cell, outcome = ended.key, ended.outcome
        state = self.book.states[cell]
        state.status = "completed" if outcome["status"] == "completed" else "failed"
        state.error, state.wall_s = outcome["error"], outcome["wall_s"]
        self._busy.remove(cell)
        self.trained.add(cell)
        self.clock.trained(cell, outcome["wall_s"])
        self._write()
        accuracy = outcome["metrics"].get("test/accuracy")
        figure = "" if accuracy is None else f"test accuracy {accuracy:.2%}  "
        what = f"failed: {state.error}  " if state.error else figure
        ahead = {*self._waiting, *self._busy}
        # Those for which there are no recordings are not ahead, and not done.
        number = sum(one in ahead or self.book.states[one].status != "missing" for one in self.cells)
        left = self.clock.left(self._waiting, self._busy)
        _log.info("%s  %s%.1f s  | %d of %d%s", cell, what, outcome["wall_s"], number - len(ahead), number, left)

    def _write(self) -> None:
        self.book.spent = self.clock.spent()
        self.book.write()
        begun = time.perf_counter()
        if begun >= self._next_tables and self.book.count("completed"):
            self.book.match = matched(self.plan, self.book)
            self.book.write()
            self._tables()
            now = time.perf_counter()
            self._next_tables = now + (now - begun) / _SHARE

    def _conclude(self, *, spent: bool) -> None:
        self.book.match = matched(self.plan, self.book)
        self.book.controls = judged(self.book, self.trained)
        self.book.look()
        self.book.write()
        if self.book.count("completed"):
            self._tables()
        if spent:
            self.book.spent = self.clock.spent()
            self.book.write()

    def _raise_stopped(self) -> None:
        done = f"{self.book.count('completed', self.cells)} of {len(self.cells)}"
        again = f"the same command goes on; so far: {shown(self.plan.folder)}"
        if self.executor.trouble:
            raise RecordError("", self.executor.trouble, again)
        if self.executor.stopped is not None:
            raise Interrupted(f"stopped with {done} trainings done\n  {again}", int(self.executor.stopped))
