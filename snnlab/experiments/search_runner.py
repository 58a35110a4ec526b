"""Runs the trials of a search."""

from __future__ import annotations

import logging
import time
from statistics import median

from snnlab.errors import ConfigError
from snnlab.experiments.executor import Executor, FinishedTask
from snnlab.experiments.search_plan import SearchPlan
from snnlab.experiments.search_report import write_trials
from snnlab.experiments.study import OUTCOME, PRUNED, SearchStudy, Trial
from snnlab.experiments.workers import RunTask, threads_per_run
from snnlab.runs.tables import format_duration, format_settings, format_value

_log = logging.getLogger(__name__)


class SearchRunner:
    """Runs the trials of a search until enough are finished.

    Args:
        started: `time.perf_counter()` at the start of the command.
    """

    def __init__(self, plan: SearchPlan, study: SearchStudy, executor: Executor, started: float) -> None:
        self.plan, self.study, self.executor, self._started = plan, study, executor, started
        self._threads = threads_per_run(plan.sweep)
        self._wall_times: list[float] = []
        self._waits = False

    def run(self) -> None:
        """Run trials until enough are finished, the time is over, too many failed, or a signal arrives."""
        self.executor.run(self._next, self._record)

    def _next(self) -> tuple[Trial, RunTask] | None:
        """Return the next trial with its task; None if there is none until another trial has ended."""
        if self._waits:
            return None
        trial = self.study.next_trial(new=not self._time_is_over())
        if trial is None:
            self._waits = True
            return None
        if trial.resumed:
            _log.info("trial %d continues", trial.number)
        task = self.plan.task(f"trials/{trial.number:03d}", trial.values, self._threads)
        return trial, self.plan.with_pruning(task, trial.number, self.study.path)

    def _record(self, ended: FinishedTask) -> None:
        trial: Trial = ended.key
        self.study.tell(trial.number, {**ended.outcome, "overhead_s": ended.overhead_s})
        self._waits = False
        write_trials(self.plan, self.study)
        if ended.outcome["status"] == "completed":
            self._wall_times.append(ended.outcome["wall_s"])
        _log.info(self._trial_line(trial, ended))

    def _trial_line(self, trial: Trial, ended: FinishedTask) -> str:
        count, limit = self.study.count(), self.study.limit
        outcome = ended.outcome
        if outcome["status"] == "failed":
            what = f"failed: {outcome['error']}"
        else:
            objectives = [f"{name} {format_value(outcome['metrics'].get(name))}" for name in self.plan.sweep.objectives]
            what = "  ".join(objectives)
            if PRUNED in self.study.trials()[trial.number].user_attrs:
                what += f"  pruned after epoch {outcome['epochs']}"
        text = f"trial {trial.number:3d}  {what}  {format_settings(trial.values)}  {outcome['wall_s']:.1f} s"
        done = f"{count.finished} of {limit}" if limit else str(count.finished)
        return f"{text}  | {done} finished{self._remaining_text(count.finished)}"

    def _remaining_text(self, finished: int) -> str:
        limit = self.study.limit
        if limit is None or not self._wall_times or finished >= limit:
            return ""
        return f", {format_duration(median(self._wall_times) * (limit - finished) / self.plan.sweep.slots)} left"

    def _time_is_over(self) -> bool:
        hours = self.plan.sweep.hours
        return hours is not None and time.perf_counter() - self._started > hours * 3600

    def check_failures(self) -> None:
        """Raise if the number of failed trials ended the search."""
        count = self.study.count()
        if count.failed > self.plan.sweep.failures:
            errors = [
                t.user_attrs[OUTCOME]["error"]
                for t in self.study.trials()
                if t.state.name == "FAIL" and OUTCOME in t.user_attrs
            ]
            raise ConfigError(
                "sweep",
                f"{count.failed} trials failed, and sweep.failures is {self.plan.sweep.failures}",
                f"the last: {errors[-1]}",
            )
