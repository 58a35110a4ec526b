"""The loop of a suite: datasets are looked at, arms tuned, what is missing is trained, and a line is said for each."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

from snnlab.errors import ConfigError, Interrupted, RecordError, SnnlabError, one_line
from snnlab.search.executor import Ended, Executor, WorkerLostError
from snnlab.search.task import Task
from snnlab.search.words import shown
from snnlab.search.workers import threads_each
from snnlab.suite.book import Book, State
from snnlab.suite.clock import Clock
from snnlab.suite.controls import judged
from snnlab.suite.match import matched
from snnlab.suite.plan import Cell, Plan, Survey, Work
from snnlab.suite.tuning import tune

_log = logging.getLogger(__name__)
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
