"""Runs tasks on workers, several at a time."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Future
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

from snnlab.errors import Interrupted, RunFolderError, one_line
from snnlab.experiments.workers import Outcome, RunTask, Worker, WorkerSettings, worker_factory

_POLL_S = 0.05
_STOP_INTERVAL_S = 0.5
# A task is given up after its worker has died this often.
MAX_TRIES = 3


class WorkerLostError(RunFolderError):
    """A worker died: it was killed, ran out of memory, or its machine is gone."""


@dataclass(frozen=True)
class FinishedTask:
    """A finished task.

    Attributes:
        key: The caller's key of the task.
        outcome: The result of the task.
        overhead_s: Time from submission to result without the training itself, s.
    """

    key: Any
    task: RunTask
    outcome: Outcome
    overhead_s: float


@dataclass(frozen=True)
class _Running:
    key: Any
    task: RunTask
    future: Future[Any]
    since: float
    worker_deaths: int = 0


class Executor:
    """Runs tasks on a pool of workers.

    Args:
        make: Makes a worker; each slot has its own worker, so that the others continue when one dies.
        train: Runs one task; a module-level function, so that it can be pickled.
        slots: Number of tasks at the same time.
        devices: Number of GPUs that tasks share; 0 or 1: no assignment.
    """

    def __init__(
        self, make: Callable[[], Worker], train: Callable[[RunTask], Outcome], slots: int, devices: int = 0
    ) -> None:
        self._make, self._train, self._slots, self.devices = make, train, slots, devices
        self._workers: dict[int, Worker] = {}
        self._running: dict[int, _Running] = {}
        self.stopped: signal.Signals | None = None
        # An error that every task would have, as text.
        self.fatal_error: str | None = None

    @property
    def is_busy(self) -> bool:
        """True if a task is running."""
        return bool(self._running)

    @property
    def is_stopping(self) -> bool:
        """True if no further task may begin."""
        return self.stopped is not None or self.fatal_error is not None

    @property
    def has_free_slot(self) -> bool:
        """True if a task can be started now."""
        return len(self._running) < self._slots and not self.is_stopping

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Return the result of a function that runs in the first slot, which must be free.

        Raises:
            WorkerLostError: if its worker dies.
            Interrupted: after Ctrl-C or SIGTERM.
        """
        future = self._submit(0, function, *arguments)
        while not future.done():
            if self.stopped is not None:
                raise Interrupted("stopped before the first run", int(self.stopped))
            time.sleep(_POLL_S)
        try:
            return future.result()
        except BrokenExecutor as error:
            self._close_worker(0)
            raise WorkerLostError("", f"the worker died before the first run: {one_line(error)}") from error

    def start(self, key: Any, task: RunTask, worker_deaths: int = 0) -> None:
        """Start a task in a free slot."""
        slot = next(slot for slot in range(self._slots) if slot not in self._running)
        shared = [f"trainer.devices=[{slot % self.devices}]"] if self.devices > 1 else []
        started_task, since = replace(task, overrides=[*task.overrides, *shared]), time.perf_counter()
        self._running[slot] = _Running(key, task, self._submit(slot, self._train, started_task), since, worker_deaths)

    def _submit(self, slot: int, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        if slot in self._workers:
            try:
                return self._workers[slot].submit(function, *arguments)
            except BrokenExecutor:  # it died after its last task
                self._close_worker(slot)
        self._workers[slot] = self._make()
        return self._workers[slot].submit(function, *arguments)

    def _close_worker(self, slot: int) -> None:
        self._workers.pop(slot).close()

    def run(self, take: Callable[[], tuple[Any, RunTask] | None], ended: Callable[[FinishedTask], None]) -> None:
        """Run tasks until none is left, or a signal arrives.

        Args:
            take: Returns the next task with the caller's key, or None if there is none until a running one has ended.
            ended: Called with each finished task.
        """
        while True:
            while self.has_free_slot and (taken := take()) is not None:
                self.start(*taken)
            finished = list(self._stop_and_collect() if self.is_stopping else self._collect_finished())
            for one in finished:
                ended(one)
            if not self.is_busy and (self.is_stopping or not finished):
                return
            if not finished:
                time.sleep(_POLL_S)

    def run_all(self, tasks: dict[Any, RunTask], ended: Callable[[FinishedTask], None]) -> None:
        """Run all tasks, until a signal arrives.

        Args:
            tasks: The tasks by the caller's keys.
            ended: Called with each finished task.
        """
        waiting = iter(tasks.items())
        self.run(lambda: next(waiting, None), ended)

    def _collect_finished(self) -> Iterator[FinishedTask]:
        """Yield the tasks that have finished since the last call, without those that a signal stopped."""
        for slot, running in list(self._running.items()):
            if not running.future.done():
                continue
            del self._running[slot]
            try:
                outcome: Outcome = running.future.result()
            except BrokenExecutor as error:
                self._close_worker(slot)
                if self.is_stopping:
                    continue
                if running.worker_deaths + 1 < MAX_TRIES:
                    self.start(running.key, running.task, running.worker_deaths + 1)
                    continue
                outcome = _failed_outcome(one_line(error), time.perf_counter() - running.since)
            if outcome["status"] == "stopped":
                self.fatal_error = self.fatal_error or outcome["error"]
            elif outcome["status"] == "interrupted":
                self.stopped = self.stopped or signal.SIGINT
            else:
                took = time.perf_counter() - running.since
                yield FinishedTask(running.key, running.task, outcome, took - outcome["fit_s"])

    def _stop_and_collect(self) -> Iterator[FinishedTask]:
        """Stop the running tasks, wait for them, and yield those that finished nevertheless."""
        last_stop = 0.0
        while self._running:
            if time.monotonic() - last_stop > _STOP_INTERVAL_S:
                self._stop()
                last_stop = time.monotonic()
            yield from self._collect_finished()
            time.sleep(_POLL_S)

    def _stop(self) -> None:
        for worker in self._workers.values():
            worker.stop()

    def close(self) -> None:
        """Close all workers."""
        self._stop()  # all of them first: each may take some seconds
        for slot in list(self._workers):
            self._close_worker(slot)


@contextmanager
def executor(where: WorkerSettings, folder: Path, train: Callable[[RunTask], Outcome]) -> Iterator[Executor]:
    """Yield an executor; Ctrl-C and SIGTERM stop it; its workers are closed at the end.

    Args:
        where: The engine, and the number of tasks at the same time.
        folder: Folder for the files of jobs.
    """
    with worker_factory(where, folder) as make:
        one = Executor(make, train, where.slots)
        try:
            with _stopping(one):
                yield one
        finally:
            one.close()


@contextmanager
def _stopping(executor: Executor) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM stop an executor; a second Ctrl-C ends this process immediately."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def receive(number: int, frame: FrameType | None) -> None:
        if executor.stopped is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        executor.stopped = signal.Signals(number)

    before = {number: signal.signal(number, receive) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _failed_outcome(reason: str, seconds: float) -> Outcome:
    text = f"its process died {MAX_TRIES} times: killed, or out of memory ({reason})"
    return Outcome(status="failed", error=text, metrics={}, fit_s=0.0, wall_s=seconds, epochs=0, val_size=0)
