"""Workers, a slot each: tasks are given to free ones, and come back; one whose worker died is tried again."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import FrameType
from typing import Any

from snnlab.errors import RecordError
from snnlab.search.engines import Engine, Handle, WorkerLostError
from snnlab.search.task import Outcome, Task, Work

_POLL_S = 0.05
_ASK_AGAIN_S = 0.5
# A task whose process died so often is given up.
TRIES = 3


@dataclass(frozen=True)
class Ended:
    """A task that has ended.

    Attributes:
        key: What the caller knows it by.
        task: The task.
        outcome: What came of it.
        overhead_s: Seconds from giving it away to having it back, without those of the training itself.
    """

    key: Any
    task: Task
    outcome: Outcome
    overhead_s: float


@dataclass(frozen=True)
class _Running:
    key: Any
    task: Task
    handle: Handle
    since: float
    losses: int = 0


class Crew:
    """Runs tasks, `workers` at a time.

    Args:
        engine: Where.
        work: What.
        workers: Number of slots.
        devices: GPUs that are shared out; 0 or 1: nothing is.
    """

    def __init__(self, engine: Engine, work: Work, workers: int, devices: int = 0) -> None:
        self._engine, self._work, self._workers, self.devices = engine, work, workers, devices
        self._running: dict[int, _Running] = {}
        self.stopped: signal.Signals | None = None
        # Trouble that every task would have, in words.
        self.trouble: str | None = None

    @property
    def busy(self) -> int:
        """How many tasks run."""
        return len(self._running)

    @property
    def ending(self) -> bool:
        """Whether nothing more is to begin."""
        return self.stopped is not None or self.trouble is not None

    @property
    def free(self) -> bool:
        """Whether a task can be started."""
        return len(self._running) < self._workers and not self.ending

    def start(self, key: Any, task: Task, losses: int = 0) -> None:
        """Give a task to a free slot."""
        slot = next(slot for slot in range(self._workers) if slot not in self._running)
        shared = [f"trainer.devices=[{slot % self.devices}]"] if self.devices > 1 else []
        given = replace(task, overrides=[*task.overrides, *shared])
        since = time.perf_counter()
        handle = self._engine.submit(slot, self._work.train, given)
        self._running[slot] = _Running(key, task, handle, since, losses)

    def collect(self) -> Iterator[Ended]:
        """Yield the tasks that have ended since; a task that a signal stopped is not one of them."""
        for slot, running in list(self._running.items()):
            if not running.handle.done():
                continue
            del self._running[slot]
            try:
                outcome: Outcome = running.handle.result()
            except WorkerLostError as error:
                if self.ending:
                    continue
                if running.losses + 1 < TRIES:
                    self.start(running.key, running.task, running.losses + 1)
                    continue
                outcome = _given_up(str(error), time.perf_counter() - running.since)
            if outcome["status"] == "stopped":
                self.trouble = self.trouble or outcome["error"]
            elif outcome["status"] == "interrupted":
                self.stopped = self.stopped or signal.SIGINT
            else:
                took = time.perf_counter() - running.since
                yield Ended(running.key, running.task, outcome, took - outcome["fit_s"])

    def wait(self) -> None:
        """Wait a moment."""
        time.sleep(_POLL_S)

    def finish(self) -> Iterator[Ended]:
        """Stop what runs, wait for it, and yield what had ended all the same."""
        asked = 0.0
        while self._running:
            if time.monotonic() - asked > _ASK_AGAIN_S:
                self._engine.stop()
                asked = time.monotonic()
            yield from self.collect()
            self.wait()

    def run(self, tasks: dict[Any, Task], ended: Callable[[Ended], None]) -> None:
        """Run all tasks, or as many as there are before it is stopped.

        Args:
            tasks: By what the caller knows them by.
            ended: Called with each that has ended.
        """
        waiting = list(tasks.items())
        while (waiting and not self.ending) or self.busy:
            while waiting and self.free:
                self.start(*waiting.pop(0))
            found = list(self.finish() if self.ending else self.collect())
            for one in found:
                ended(one)
            if not found:
                self.wait()


@contextmanager
def stopping(crew: Crew) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM stop a crew; a second Ctrl-C ends this process at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def receive(number: int, frame: FrameType | None) -> None:
        if crew.stopped is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        crew.stopped = signal.Signals(number)

    before = {number: signal.signal(number, receive) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _given_up(error: str, seconds: float) -> Outcome:
    words = f"its process died {TRIES} times: killed, or out of memory ({error})"
    return Outcome(status="failed", error=words, metrics={}, fit_s=0.0, wall_s=seconds, epochs=0, val_size=0)


def wait_for(handle: Handle) -> Any:
    """Return what one task comes to.

    Raises:
        RecordError: if its process dies.
    """
    while not handle.done():
        time.sleep(_POLL_S)
    try:
        return handle.result()
    except WorkerLostError as error:
        raise RecordError(f"sweep: the process of the first training died: {error}") from error
