"""A search's trials: free workers get them, what comes back is recorded, a line is said for each."""

from __future__ import annotations

import logging
import math
import time
from statistics import median

from snnlab.errors import ConfigError
from snnlab.search.executor import Ended, Executor
from snnlab.search.plan import Plan
from snnlab.search.study import OUTCOME, PRUNED, SharedStudy, Trial
from snnlab.search.task import Task
from snnlab.search.words import describe, figure, span
from snnlab.search.workers import threads_each

_log = logging.getLogger(__name__)
# How often a driver that has nothing to do looks whether another has died.
_LOOK_S = 1.0


class Driver:
    """Runs the trials of a search until it has enough of them.

    Args:
        started: `time.perf_counter()` when the command began.
    """

    def __init__(self, plan: Plan, study: SharedStudy, executor: Executor, started: float) -> None:
        self.plan, self.study, self.executor, self._started = plan, study, executor, started
        self._threads = threads_each(plan.sweep)
        self._looked = -math.inf
        self._walls: list[float] = []

    def run(self) -> None:
        """Run trials until there are enough, the time is over, too many failed, or it is stopped."""
        self.executor.run(self._next, self._record, lambda: not self._over())

    def _next(self) -> tuple[Trial, Task] | None:
        if time.monotonic() - self._looked < _LOOK_S:
            return None
        trial = self.study.next_trial(new=not self._late())
        if trial is None:
            self._looked = time.monotonic()
            return None
        if trial.adopted:
            _log.info("trial %d goes on: whoever began it is gone", trial.number)
        task = self.plan.task(f"trials/{trial.number:03d}", trial.values, self._threads)
        return trial, self.plan.watched(task, trial.number, self.study.url)

    def _record(self, ended: Ended) -> None:
        trial: Trial = ended.key
        self.study.tell(trial.number, {**ended.outcome, "overhead_s": ended.overhead_s})
        self._looked = -math.inf  # a place is free
        if ended.outcome["status"] == "completed":
            self._walls.append(ended.outcome["wall_s"])
        _log.info(self._line(trial, ended))

    def _line(self, trial: Trial, ended: Ended) -> str:
        count, limit = self.study.count(), self.study.limit
        outcome = ended.outcome
        if outcome["status"] == "failed":
            what = f"failed: {outcome['error']}"
        else:
            figures = [f"{name} {figure(outcome['metrics'].get(name))}" for name in self.plan.sweep.objectives]
            what = "  ".join(figures)
            if PRUNED in self.study.trials()[trial.number].user_attrs:
                what += f"  pruned after epoch {outcome['epochs']}"
        words = f"trial {trial.number:3d}  {what}  {describe(trial.values)}  {outcome['wall_s']:.1f} s"
        done = f"{count.finished} of {limit}" if limit else str(count.finished)
        return f"{words}  | {done} finished{self._left(count.finished)}"

    def _left(self, finished: int) -> str:
        limit = self.study.limit
        if limit is None or not self._walls or finished >= limit:
            return ""
        return f", {span(median(self._walls) * (limit - finished) / self.plan.sweep.slots)} left"

    def _late(self) -> bool:
        hours = self.plan.sweep.hours
        return hours is not None and time.perf_counter() - self._started > hours * 3600

    def _over(self) -> bool:
        """Return whether nothing is left to do, here or by another driver, that may yet die."""
        return self._looked > -math.inf and self.study.count().running == 0

    def require_enough(self) -> None:
        """Raise if so many trials failed that the search ended.

        Raises:
            ConfigError: with what the last one failed of.
        """
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
