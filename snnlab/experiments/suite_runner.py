"""The loop of a suite: preflight of the datasets, tuning of the methods, training of the missing runs."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from snnlab.errors import ConfigError, Interrupted, RecordError, SnnlabError, one_line
from snnlab.experiments import search_report
from snnlab.experiments.controls import judge_controls
from snnlab.experiments.executor import Driver, Ended, Executor, WorkerLostError
from snnlab.experiments.search_plan import Plan as SearchPlan, check_common
from snnlab.experiments.study import OUTCOME, SearchLock, SharedStudy, require_optuna
from snnlab.experiments.suite_plan import Cell, Plan, Survey, Work
from snnlab.experiments.suite_reading import read_config, steps_of
from snnlab.experiments.suite_settings import PLACE, TUNE_SEED
from snnlab.experiments.suite_state import Book, RunState, TimeSpent, read_result
from snnlab.experiments.sweep_settings import checked
from snnlab.experiments.winner import find_winner
from snnlab.experiments.workers import AROUND, Task, threads_each
from snnlab.runs.tables import shown, span
from snnlab.settings import key_of

_log = logging.getLogger(__name__)


class RunTimer:
    """Measures training time and the overhead of the suite.

    Args:
        started: `time.perf_counter()` at the start of the command.
        before: Time that earlier commands have taken.
        slots: Number of runs at the same time.
    """

    def __init__(self, started: float, before: TimeSpent, slots: int) -> None:
        self._started, self._before, self._slots = started, before, slots
        self._spans: list[tuple[float, float]] = []
        self._wall_times: list[tuple[Cell, float]] = []
        self._tuning_s = 0.0

    def record_run(self, spec: Cell, wall_s: float) -> None:
        """Record a run that has ended now."""
        now = time.perf_counter()
        self._spans.append((now - wall_s, now))
        self._wall_times.append((spec, wall_s))

    def record_trials(self, trainings_s: float) -> None:
        """Record tuning trials that have ended now, with the sum of their times, s."""
        now = time.perf_counter()
        self._spans.append((now - trainings_s / self._slots, now))
        self._tuning_s += trainings_s

    def spent(self) -> TimeSpent:
        """Return the time taken until now, with that of earlier commands."""
        trainings = self._tuning_s + sum(wall_s for _, wall_s in self._wall_times)
        elapsed = time.perf_counter() - self._started
        overhead = max(0.0, elapsed - _covered_time(self._spans))
        return TimeSpent(self._before.trainings_s + trainings, self._before.overhead_s + overhead)

    def remaining_text(self, waiting: Sequence[Cell], running: Sequence[Cell]) -> str:
        """Return the estimated remaining time as text; "" before the first run has ended.

        Args:
            waiting: Runs that have not begun.
            running: Runs in progress, each taken as half done.
        """
        if not self._wall_times or not (waiting or running):
            return ""
        seconds = sum(map(self._expected, waiting)) + sum(map(self._expected, running)) / 2
        return f", {span(seconds / self._slots)} left"

    def _expected(self, spec: Cell) -> float:
        same = [wall for one, wall in self._wall_times if (one.dataset, one.arm) == (spec.dataset, spec.arm)]
        near = [wall for one, wall in self._wall_times if one.dataset == spec.dataset]
        return fmean(same or near or [wall for _, wall in self._wall_times])


def _covered_time(spans: Sequence[tuple[float, float]]) -> float:
    total, until = 0.0, float("-inf")
    for begin, end in sorted(spans):
        total += max(0.0, end - max(begin, until))
        until = max(until, end)
    return total


SYNOPS = ("test/synops_macs", "test/synops_acs")


def match_values(plan: Plan, book: Book) -> dict[str, dict[str, Any]]:
    """Return by dataset and method its `value`, its ratio `off` to the first method, and if it is `beyond` the limit.

    Methods without a completed run, or without the value in their runs, are left out.
    """
    match = plan.suite.match_rule
    if match is None:
        return {}
    found: dict[str, dict[str, Any]] = {}
    for dataset in plan.suite.datasets:
        values = {
            arm: value for arm in plan.suite.arms if (value := _mean_value(book, dataset, arm, match.by)) is not None
        }
        first = values.get(plan.first_method(dataset) or "")
        if first:
            found[dataset] = {
                arm: {"value": value, "off": value / first, "beyond": abs(value / first - 1) > match.within}
                for arm, value in values.items()
            }
    return found


def _mean_value(book: Book, dataset: str, arm: str, by: str) -> float | None:
    cells = [spec for spec in book.states if (spec.dataset, spec.arm, spec.control) == (dataset, arm, None)]
    values = [value for spec in cells if (value := _matched_value(book, spec, by)) is not None]
    return fmean(values) if values else None


def _matched_value(book: Book, spec: Cell, by: str) -> float | None:
    folder = book.folder / spec.folder
    result = read_result(folder) if book.states[spec].status == "completed" else None
    return None if result is None else _QUANTITIES[by](result, folder)


def _synops(result: Mapping[str, Any], folder: Path) -> float | None:
    parts = [result["metrics"].get(name) for name in SYNOPS]
    return None if None in parts else sum(parts)


def _steps(result: Mapping[str, Any], folder: Path) -> float | None:
    """Return the steps of a recording times the number of epochs."""
    steps = steps_of(read_config(folder))
    return None if steps is None else float(steps * result["selection"]["epochs"])


_QUANTITIES: Mapping[str, Callable[[Mapping[str, Any], Path], float | None]] = {
    "params": lambda result, _: result["metrics"].get("params"),
    "steps": _steps,
    "synops": _synops,
    "wall_time": lambda result, _: (result.get("timing") or {}).get("fit_s"),
}


def search_plan(plan: Plan, dataset: str, arm: str, merge: Callable[[Sequence[str]], list[str]]) -> SearchPlan:
    """Return the search of a method on a dataset.

    Raises:
        ConfigError: if its settings are invalid.
    """
    suite = plan.suite
    node: Mapping[str, Any] = suite.tuning(arm) or {}
    where = {"engine": suite.engine, "workers": suite.workers, "submitit": suite.submitit}
    sweep, space = checked({"finalists": 0, **node, **where, "test_seeds": 0})
    common = plan.tuning_overrides(dataset, arm, merge)
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
    merge: Callable[[Sequence[str]], list[str]],
    timer: RunTimer,
) -> dict[str, Any] | None:
    """Search for a method's settings, or continue the search; a completed search is only read.

    Returns:
        {trials, val_size, values}; None if it was stopped.

    Raises:
        ConfigError: if no trial was completed.
    """
    require_optuna()
    search = search_plan(plan, dataset, arm, merge)
    search.write()
    lock = SearchLock(search.folder)
    try:
        own = [text for text in search.common if key_of(text) not in (*AROUND, "threads")]
        identity = {"overrides": own, "seed": search.seed}
        study = SharedStudy(search.folder, search.sweep, search.space, lock, identity)
        before = _outcomes(study)
        search_runner = Driver(search, study, executor, time.perf_counter())
        search_runner.run()
        timer.record_trials(sum(one["wall_s"] for number, one in _outcomes(study).items() if number not in before))
        if executor.is_stopping:
            return None
        search_runner.require_enough()
        winner = find_winner(search, study, executor)
        if winner is None:
            if executor.is_stopping:
                return None
            raise ConfigError("tune", f"no trial of {arm} on {dataset} was completed")
        search_report.write_trials(search, study)
        search_report.write_summary(search, study, winner, {})
    finally:
        lock.leave()
    best, sizes = winner.finalists[0].values, [one["val_size"] for one in _outcomes(study).values()]
    return {"trials": study.count().finished, "val_size": max(sizes), "values": best}


def _outcomes(study: SharedStudy) -> dict[int, Any]:
    """Return the outcomes of the trials that have ended, by number."""
    return {trial.number: trial.user_attrs[OUTCOME] for trial in study.trials() if OUTCOME in trial.user_attrs}


# The tables are written again only while this takes less than this fraction of the time.
_TABLE_TIME_FRACTION = 0.005


class Runner:
    """Trains the missing runs of a suite.

    Args:
        cells: The planned runs.
        started: `time.perf_counter()` at the start of the command.
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
        self.clock = RunTimer(started, book.spent, plan.suite.slots)
        self._running: list[Cell] = []
        self._waiting: list[Cell] = []
        # Runs that this command has trained.
        self.trained: set[Cell] = set()
        self._next_tables = 0.0
        # Number of GPUs that runs share, by dataset.
        self._gpus: dict[str, int] = {}

    def run(self) -> None:
        """Train the missing runs.

        Raises:
            ConfigError: if an error in the settings prevents all runs.
            RecordError: on an error that every run would have, such as a full disk.
            Interrupted: after Ctrl-C or SIGTERM.
        """
        todo = [spec for spec in self.cells if self._is_missing(spec)]
        if todo:
            self._train(self._tune_methods(self._run_preflights(todo)))
        self._conclude(spent=bool(todo))
        self._raise_stopped()

    def _is_missing(self, spec: Cell) -> bool:
        state = self.book.states[spec]
        return state.status != "completed" and not state.foreign

    def _run_preflights(self, todo: Sequence[Cell]) -> list[Cell]:
        """Run the preflight of each dataset; return the runs without those of datasets that fail it."""
        mistakes: list[SnnlabError] = []
        left = list(todo)
        datasets = dict.fromkeys(spec.dataset for spec in todo)
        for dataset in datasets:
            found = self._preflight(dataset, todo)
            self._raise_stopped()
            self._gpus[dataset] = found.gpus if self.plan.suite.engine == "joblib" else 0
            if found.mistake:
                mistakes.append(found.mistake)
            if problem := found.mistake or found.gap:
                self._skip([spec for spec in left if spec.dataset == dataset], found, problem)
                left = [spec for spec in left if spec.dataset != dataset]
            self._record_duplicates(dataset, found)
        if mistakes and len(mistakes) == len(datasets) and not self.book.count("completed"):
            raise mistakes[0]
        return left

    def _preflight(self, dataset: str, todo: Sequence[Cell]) -> Survey:
        methods = dict.fromkeys(spec.arm for spec in todo if spec.dataset == dataset)
        probes = [self._work.merge(self.plan.arm_overrides(dataset, arm)) for arm in methods]
        try:
            return self.executor.call(self._work.survey, probes, self.plan.config_dir, self.plan.place)
        except WorkerLostError as error:
            return Survey(gap=error)
        except Interrupted:
            self._raise_stopped()
            raise

    def _skip(self, cells: Sequence[Cell], found: Survey, problem: SnnlabError) -> None:
        for spec in cells:
            self.book.states[spec] = RunState("failed" if found.mistake else "missing", one_line(problem))
        if not found.mistake or len({spec.dataset for spec in self.cells}) > 1:  # else this error ends the command
            _log.warning("%s is skipped: %s", cells[0].dataset, problem)

    def _record_duplicates(self, dataset: str, found: Survey) -> None:
        if found.duplicates is None:
            return
        others = [one for one in self.book.controls if (one["name"], one["dataset"]) != ("duplicates", dataset)]
        control = {
            "name": "duplicates",
            "dataset": dataset,
            "arm": None,
            "passed": found.apart,
            "said": found.duplicates,
        }
        self.book.controls = [*others, control]

    def _tune_methods(self, todo: Sequence[Cell]) -> list[Cell]:
        """Tune the methods that are not tuned yet; return the runs without those of methods that cannot be tuned."""
        left = list(todo)
        for dataset, arm in dict.fromkeys((spec.dataset, spec.arm) for spec in todo):
            if self.plan.suite.tuning(arm) is None or self.executor.is_stopping:
                continue
            self.executor.devices = self._gpus[dataset]
            of_method = [spec for spec in left if (spec.dataset, spec.arm) == (dataset, arm)]
            if not any(self.book.states[spec].tuned for spec in of_method):
                _log.info("tuning %s on %s:", arm, dataset)
            try:
                found = tune(self.plan, dataset, arm, self.executor, self._work.merge, self.clock)
            except ConfigError as error:
                for spec in of_method:
                    self.book.states[spec] = RunState("failed", one_line(error))
                left = [spec for spec in left if spec not in of_method]
                _log.warning("%s on %s could not be tuned: %s", arm, dataset, error)
                continue
            for spec in of_method:
                self.book.states[spec].tuned = found
        return left

    def _train(self, todo: Sequence[Cell]) -> None:
        self._waiting = list(todo)
        self.executor.run(self._next, self._record)
        for spec in self._running:
            self.book.states[spec].status = "missing"
        self._running = []

    def _next(self) -> tuple[Cell, Task] | None:
        if not self._waiting:
            return None
        spec = self._waiting.pop(0)
        state = self.book.states[spec]
        state.status, state.error = "running", None
        self._running.append(spec)
        self._write()
        values = state.tuned["values"] if state.tuned else {}
        self.executor.devices = self._gpus[spec.dataset]
        return spec, self.plan.task(spec, values, self._threads, self._work.merge)

    def _record(self, ended: Ended) -> None:
        spec, outcome = ended.key, ended.outcome
        state = self.book.states[spec]
        state.status = "completed" if outcome["status"] == "completed" else "failed"
        state.error, state.wall_s = outcome["error"], outcome["wall_s"]
        self._running.remove(spec)
        self.trained.add(spec)
        self.clock.record_run(spec, outcome["wall_s"])
        self._write()
        accuracy = outcome["metrics"].get("test/accuracy")
        score = "" if accuracy is None else f"test accuracy {accuracy:.2%}  "
        what = f"failed: {state.error}  " if state.error else score
        ahead = {*self._waiting, *self._running}
        # Runs without recordings count neither as ahead nor as done.
        number = sum(one in ahead or self.book.states[one].status != "missing" for one in self.cells)
        left = self.clock.remaining_text(self._waiting, self._running)
        _log.info("%s  %s%.1f s  | %d of %d%s", spec, what, outcome["wall_s"], number - len(ahead), number, left)

    def _write(self) -> None:
        self.book.spent = self.clock.spent()
        self.book.write()
        begun = time.perf_counter()
        if begun >= self._next_tables and self.book.count("completed"):
            self.book.match = match_values(self.plan, self.book)
            self.book.write()
            self._tables()
            now = time.perf_counter()
            self._next_tables = now + (now - begun) / _TABLE_TIME_FRACTION

    def _conclude(self, *, spent: bool) -> None:
        self.book.match = match_values(self.plan, self.book)
        self.book.controls = judge_controls(self.book, self.trained)
        self.book.record_look()
        self.book.write()
        if self.book.count("completed"):
            self._tables()
        if spent:
            self.book.spent = self.clock.spent()
            self.book.write()

    def _raise_stopped(self) -> None:
        done = f"{self.book.count('completed', self.cells)} of {len(self.cells)}"
        hint = f"the same command continues it; so far: {shown(self.plan.folder)}"
        if self.executor.trouble:
            raise RecordError("", self.executor.trouble, hint)
        if self.executor.stopped is not None:
            raise Interrupted(f"stopped with {done} runs done\n  {hint}", int(self.executor.stopped))
