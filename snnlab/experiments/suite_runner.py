"""The loop of a suite: preflight of the datasets, tuning of the methods, training of the missing runs."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Any

from snnlab.errors import ConfigError, Interrupted, RunFolderError, SnnlabError, one_line
from snnlab.experiments import search_report
from snnlab.experiments.controls import judge_controls
from snnlab.experiments.executor import Executor, FinishedTask, WorkerLostError
from snnlab.experiments.search_plan import SearchPlan, check_common_overrides
from snnlab.experiments.search_runner import SearchRunner
from snnlab.experiments.study import OUTCOME, SearchStudy, require_optuna
from snnlab.experiments.suite_plan import PreflightResult, RunSpec, SuiteFunctions, SuitePlan
from snnlab.experiments.suite_reading import GIVEN, steps_of
from snnlab.experiments.suite_settings import PLACE, TUNE_SEED, Suite
from snnlab.experiments.suite_state import RunState, SuiteState, TimeSpent
from snnlab.experiments.sweep_settings import parse_settings
from snnlab.experiments.winner import find_winner
from snnlab.experiments.workers import MACHINE_SETTINGS, RunTask, threads_per_run
from snnlab.runs.recorded import RecordedRun, read_run_if_usable
from snnlab.runs.run_folder import locked
from snnlab.runs.tables import format_duration, format_path
from snnlab.spec.override_texts import key_of

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
        self._wall_times: list[tuple[RunSpec, float]] = []
        self._tuning_s = 0.0

    def record_run(self, spec: RunSpec, wall_s: float) -> None:
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

    def remaining_text(self, waiting: Sequence[RunSpec], running: Sequence[RunSpec]) -> str:
        """Return the estimated remaining time as text; "" before the first run has ended.

        Args:
            waiting: Runs that have not begun.
            running: Runs in progress, each taken as half done.
        """
        if not self._wall_times or not (waiting or running):
            return ""
        seconds = sum(map(self._expected_s, waiting)) + sum(map(self._expected_s, running)) / 2
        return f", {format_duration(seconds / self._slots)} left"

    def _expected_s(self, spec: RunSpec) -> float:
        same = [wall for one, wall in self._wall_times if (one.dataset, one.method) == (spec.dataset, spec.method)]
        near = [wall for one, wall in self._wall_times if one.dataset == spec.dataset]
        return fmean(same or near or [wall for _, wall in self._wall_times])


def _covered_time(spans: Sequence[tuple[float, float]]) -> float:
    total, until = 0.0, float("-inf")
    for begin, end in sorted(spans):
        total += max(0.0, end - max(begin, until))
        until = max(until, end)
    return total


SYNOPS = ("test/synops_macs", "test/synops_acs")


def match_values(suite: Suite, results: Callable[[str, str], Sequence[RecordedRun]]) -> dict[str, dict[str, Any]]:
    """Return by dataset and method its `value`, its ratio `off` to the first method, and if it is `beyond` the limit.

    Methods without a completed run, or without the value in their runs, are left out.

    Args:
        results: Returns the results of the completed runs of a method on a dataset.
    """
    match = suite.match
    if match is None:
        return {}
    found: dict[str, dict[str, Any]] = {}
    for dataset in suite.datasets:
        values: dict[str, float] = {}
        for method in (name for name, own in suite.methods.items() if own.role != GIVEN):
            each = (_QUANTITIES[match.by](run) for run in results(dataset, method))
            if known := [value for value in each if value is not None]:
                values[method] = fmean(known)
        first = values.get(suite.first_method(dataset) or "")
        if first:
            found[dataset] = {
                method: {"value": value, "off": value / first, "beyond": abs(value / first - 1) > match.within}
                for method, value in values.items()
            }
    return found


def _synops_per_sample(run: RecordedRun) -> float | None:
    parts = [run.metrics[name] for name in SYNOPS if name in run.metrics]
    return sum(parts) if len(parts) == len(SYNOPS) else None


def _steps(run: RecordedRun) -> float | None:
    """Return the steps of a recording times the number of epochs."""
    steps = steps_of(run.settings)
    return None if steps is None else float(steps * run.selection["epochs"])


_QUANTITIES: Mapping[str, Callable[[RecordedRun], float | None]] = {
    "params": lambda run: run.metrics.get("params"),
    "steps": _steps,
    "synops": _synops_per_sample,
    "wall_time": lambda run: run.timing.get("fit_s"),
}


def tuning_plan(plan: SuitePlan, dataset: str, method: str, merge: Callable[[Sequence[str]], list[str]]) -> SearchPlan:
    """Return the search of a method on a dataset."""
    suite = plan.suite
    node: Mapping[str, Any] = suite.tuning_settings(method) or {}
    where = {"engine": suite.engine, "workers": suite.workers, "submitit": suite.submitit}
    sweep, space = parse_settings({"finalists": 0, **node, **where, "test_seeds": 0})
    common = plan.tuning_overrides(dataset, method, merge)
    try:
        check_common_overrides(common, space)
    except ConfigError as error:
        raise error.with_fields(place=f"{PLACE}.tune of {method} on {dataset}: {error.place}") from error
    folder = plan.folder / "tune" / dataset / method
    return SearchPlan(
        folder, f"{method}_{dataset}", sweep, space, common, plan.config_dir, TUNE_SEED, plan.working_folder
    )


def tune(
    plan: SuitePlan,
    dataset: str,
    method: str,
    executor: Executor,
    merge: Callable[[Sequence[str]], list[str]],
    timer: RunTimer,
) -> dict[str, Any] | None:
    """Search for a method's settings, or continue the search; a completed search is only read.

    Returns:
        {trials, val_size, values}; None if it was stopped.
    """
    require_optuna()
    search = tuning_plan(plan, dataset, method, merge)
    search.write()
    with locked(search.folder):
        own = [text for text in search.common if key_of(text) not in (*MACHINE_SETTINGS, "threads")]
        identity = {"overrides": own, "seed": search.seed}
        study = SearchStudy(search.folder, search.sweep, search.space, identity)
        before = _outcomes(study)
        search_runner = SearchRunner(search, study, executor, time.perf_counter())
        search_runner.run()
        timer.record_trials(sum(one["wall_s"] for number, one in _outcomes(study).items() if number not in before))
        if executor.is_stopping:
            return None
        search_runner.check_failures()
        winner = find_winner(search, study, executor)
        if winner is None:
            if executor.is_stopping:
                return None
            raise ConfigError("tune", f"no trial of {method} on {dataset} was completed")
        search_report.write_trials(search, study)
        search_report.write_summary(search, study, winner, {})
    best, sizes = winner.finalists[0].values, [one["val_size"] for one in _outcomes(study).values()]
    return {"trials": study.count().finished, "val_size": max(sizes), "values": best}


def _outcomes(study: SearchStudy) -> dict[int, Any]:
    """Return the outcomes of the trials that have ended, by number."""
    return {trial.number: trial.user_attrs[OUTCOME] for trial in study.trials() if OUTCOME in trial.user_attrs}


# The tables are written again only while this takes less than this fraction of the time.
_TABLE_TIME_FRACTION = 0.005


class SuiteRunner:
    """Trains the missing runs of a suite.

    Args:
        run_specs: The planned runs.
        started: `time.perf_counter()` at the start of the command.
        tables: Writes the tables of the suite's folder.
    """

    def __init__(
        self,
        plan: SuitePlan,
        run_specs: Sequence[RunSpec],
        suite_state: SuiteState,
        work: SuiteFunctions,
        executor: Executor,
        started: float,
        tables: Callable[[], Any],
    ) -> None:
        self.plan, self.run_specs, self.suite_state, self.executor = plan, run_specs, suite_state, executor
        self._work, self._tables = work, tables
        self._threads = threads_per_run(plan.suite)
        self.timer = RunTimer(started, suite_state.spent, plan.suite.slots)
        self._running: list[RunSpec] = []
        self._waiting: list[RunSpec] = []
        # Runs that this command has trained.
        self.trained: set[RunSpec] = set()
        self._next_tables = 0.0
        # Number of GPUs that runs share, by dataset.
        self._gpus: dict[str, int] = {}

    def run(self) -> None:
        """Train the missing runs.

        Raises:
            Interrupted: after Ctrl-C or SIGTERM.
        """
        todo = [spec for spec in self.run_specs if self._is_missing(spec)]
        if todo:
            self._train(self._tune_methods(self._run_preflights(todo)))
        self._conclude(spent=bool(todo))
        self._raise_stopped()

    def _is_missing(self, spec: RunSpec) -> bool:
        state = self.suite_state.states[spec]
        return state.status != "completed" and not state.foreign

    def _run_preflights(self, todo: Sequence[RunSpec]) -> list[RunSpec]:
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
        if mistakes and len(mistakes) == len(datasets) and not self.suite_state.count("completed"):
            raise mistakes[0]
        return left

    def _preflight(self, dataset: str, todo: Sequence[RunSpec]) -> PreflightResult:
        methods = dict.fromkeys(spec.method for spec in todo if spec.dataset == dataset)
        probes = [self._work.merge(self.plan.method_overrides(dataset, method)) for method in methods]
        try:
            return self.executor.call(self._work.preflight, probes, self.plan.config_dir, self.plan.working_folder)
        except WorkerLostError as error:
            return PreflightResult(gap=error)
        except Interrupted:
            self._raise_stopped()
            raise

    def _skip(self, run_specs: Sequence[RunSpec], found: PreflightResult, problem: SnnlabError) -> None:
        for spec in run_specs:
            self.suite_state.states[spec] = RunState("failed" if found.mistake else "missing", one_line(problem))
        if not found.mistake or len({spec.dataset for spec in self.run_specs}) > 1:  # else this error ends the command
            _log.warning("%s is skipped: %s", run_specs[0].dataset, problem)

    def _record_duplicates(self, dataset: str, found: PreflightResult) -> None:
        if found.duplicates is None:
            return
        others = [one for one in self.suite_state.controls if (one["name"], one["dataset"]) != ("duplicates", dataset)]
        control = {
            "name": "duplicates",
            "dataset": dataset,
            "method": None,
            "passed": found.apart,
            "said": found.duplicates,
        }
        self.suite_state.controls = [*others, control]

    def _tune_methods(self, todo: Sequence[RunSpec]) -> list[RunSpec]:
        """Tune the methods that are not tuned yet; return the runs without those of methods that cannot be tuned."""
        left = list(todo)
        for dataset, method in dict.fromkeys((spec.dataset, spec.method) for spec in todo):
            if self.plan.suite.tuning_settings(method) is None or self.executor.is_stopping:
                continue
            self.executor.devices = self._gpus[dataset]
            of_method = [spec for spec in left if (spec.dataset, spec.method) == (dataset, method)]
            if not any(self.suite_state.states[spec].tuned for spec in of_method):
                _log.info("tuning %s on %s:", method, dataset)
            try:
                found = tune(self.plan, dataset, method, self.executor, self._work.merge, self.timer)
            except ConfigError as error:
                for spec in of_method:
                    self.suite_state.states[spec] = RunState("failed", one_line(error))
                left = [spec for spec in left if spec not in of_method]
                _log.warning("%s on %s could not be tuned: %s", method, dataset, error)
                continue
            for spec in of_method:
                self.suite_state.states[spec].tuned = found
        return left

    def _train(self, todo: Sequence[RunSpec]) -> None:
        self._waiting = list(todo)
        self.executor.run(self._next, self._record)
        for spec in self._running:
            self.suite_state.states[spec].status = "missing"
        self._running = []

    def _next(self) -> tuple[RunSpec, RunTask] | None:
        """Return the next run with its task, and record that it has started; None if all have."""
        if not self._waiting:
            return None
        spec = self._waiting.pop(0)
        state = self.suite_state.states[spec]
        state.status, state.error = "running", None
        self._running.append(spec)
        self._write()
        values = state.tuned["values"] if state.tuned else {}
        self.executor.devices = self._gpus[spec.dataset]
        return spec, self.plan.task(spec, values, self._threads, self._work.merge)

    def _record(self, ended: FinishedTask) -> None:
        spec, outcome = ended.key, ended.outcome
        state = self.suite_state.states[spec]
        state.status = "completed" if outcome["status"] == "completed" else "failed"
        state.error, state.wall_s = outcome["error"], outcome["wall_s"]
        self._running.remove(spec)
        self.trained.add(spec)
        self.timer.record_run(spec, outcome["wall_s"])
        self._write()
        accuracy = outcome["metrics"].get("test/accuracy")
        score = "" if accuracy is None else f"test accuracy {accuracy:.2%}  "
        what = f"failed: {state.error}  " if state.error else score
        ahead = {*self._waiting, *self._running}
        # Runs without recordings count neither as ahead nor as done.
        number = sum(one in ahead or self.suite_state.states[one].status != "missing" for one in self.run_specs)
        left = self.timer.remaining_text(self._waiting, self._running)
        _log.info("%s  %s%.1f s  | %d of %d%s", spec, what, outcome["wall_s"], number - len(ahead), number, left)

    def _write(self) -> None:
        self.suite_state.spent = self.timer.spent()
        self.suite_state.write()
        begun = time.perf_counter()
        if begun >= self._next_tables and self.suite_state.count("completed"):
            self.suite_state.match = match_values(self.plan.suite, self._results)
            self.suite_state.write()
            self._tables()
            now = time.perf_counter()
            self._next_tables = now + (now - begun) / _TABLE_TIME_FRACTION

    def _results(self, dataset: str, method: str) -> list[RecordedRun]:
        states = self.suite_state.states
        specs = [spec for spec in states if (spec.dataset, spec.method, spec.control) == (dataset, method, None)]
        folders = [self.suite_state.folder / spec.folder for spec in specs if states[spec].status == "completed"]
        return [run for run in map(read_run_if_usable, folders) if run is not None]

    def _conclude(self, *, spent: bool) -> None:
        self.suite_state.match = match_values(self.plan.suite, self._results)
        self.suite_state.controls = judge_controls(self.suite_state, self.trained)
        self.suite_state.record_look()
        self.suite_state.write()
        if self.suite_state.count("completed"):
            self._tables()
        if spent:
            self.suite_state.spent = self.timer.spent()
            self.suite_state.write()

    def _raise_stopped(self) -> None:
        done = f"{self.suite_state.count('completed', self.run_specs)} of {len(self.run_specs)}"
        hint = f"the same command continues it; so far: {format_path(self.plan.folder)}"
        if self.executor.fatal_error:
            raise RunFolderError("", self.executor.fatal_error, hint)
        if self.executor.stopped is not None:
            raise Interrupted(f"stopped with {done} runs done\n  {hint}", int(self.executor.stopped))
