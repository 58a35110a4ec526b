"""A cluster's queue, by submitit; a job of it serves many trials, see `snnlab.search.spool`."""

from __future__ import annotations

import signal
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from snnlab.errors import ConfigError
from snnlab.search.engines import Handle, WorkerLostError
from snnlab.search.spool import Serving, Spool

_POLL_S = 0.05
# How long jobs that have nothing to do are given to end by themselves: Python takes some seconds on a busy machine.
_GOODBYE_S = 15.0


class Queue:
    """A cluster's queue, by submitit: SLURM where there is one, else processes of this machine.

    Each slot has a job that serves one trial after another.

    Args:
        folder: For submitit's files and ours.
        settings: `cluster`, and parameters of its executor.
        places: What the user calls the engine, these settings, and an engine of one process.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any], places: tuple[str, str, str]) -> None:
        try:
            import submitit
        except ModuleNotFoundError as error:
            raise ConfigError(f"{places[0]}: submitit is missing: pip install 'snnlab-train[submitit]'") from error
        if settings.get("cluster") == "debug":
            raise ConfigError(f"{places[1]}.cluster: debug is one process; take {places[0]}={places[2]}")
        parameters = {key: value for key, value in settings.items() if key != "cluster"}
        try:
            self._executor = submitit.AutoExecutor(folder / "%j", cluster=settings.get("cluster"))
            self._executor.update_parameters(**{"name": "snnlab", "timeout_min": 24 * 60, **parameters})
        except (NameError, TypeError, ValueError, AssertionError, RuntimeError) as error:
            hint = "; cluster is slurm or local" if "executor" in str(error) else ""
            raise ConfigError(f"{places[1]}: {' '.join(str(error).split())}{hint}") from error
        self._folder = folder
        self._jobs: list[tuple[Spool, Any]] = []
        self._served: dict[int, tuple[Spool, Any]] = {}

    def submit(self, slot: int, function: Callable[..., Any], *arguments: Any) -> Handle:
        """Give it to the slot's job; put one into the queue where there is none."""
        if slot in self._served and self._served[slot][1].done():  # it had nothing to do for too long
            del self._served[slot]
        spool, job = self._served.get(slot) or self._begun(slot)
        return _Served(spool, job, spool.put(function, arguments), lambda: self._served.pop(slot, None))

    def _begun(self, slot: int) -> tuple[Spool, Any]:
        spool = Spool(self._folder / f"spool_{uuid.uuid4().hex[:12]}")
        self._served[slot] = spool, self._executor.submit(Serving(), str(spool.folder))
        self._jobs.append(self._served[slot])
        return self._served[slot]

    def stop(self) -> None:
        """Let the jobs end: their trainings stop at a checkpoint."""
        for spool, job in self._jobs:
            spool.end()
            if not job.done() and spool.busy:
                _terminate(job)

    def close(self) -> None:
        """Leave nothing in the queue."""
        self.stop()
        until = time.monotonic() + _GOODBYE_S
        while any(not spool.busy and not job.done() for spool, job in self._jobs) and time.monotonic() < until:
            time.sleep(_POLL_S)
        for _, job in self._jobs:
            if not job.done():
                _let_go(job)


def _let_go(job: Any) -> None:
    """Take a job out of the queue; one of this machine has been told to end, and nobody waits until it has."""
    process = getattr(job, "_process", None)
    if process is None:
        job.cancel()
    else:
        process.kill()  # submitit's own process beside the job's
        process.wait()


def _terminate(job: Any) -> None:
    """Send SIGTERM, as SLURM does when a job is cancelled; submitit's own processes would get SIGINT and a second."""
    process = getattr(job, "_process", None)
    if process is None:
        job.cancel()
    else:
        process.send_signal(signal.SIGTERM)


class _Served:
    def __init__(self, spool: Spool, job: Any, number: int, drop: Callable[[], Any]) -> None:
        self._spool, self._job, self._number, self._drop = spool, job, number, drop

    def done(self) -> bool:
        return self._spool.answered(self._number) or self._job.done()

    def result(self) -> Any:
        from submitit.core.utils import UncompletedJobError

        if self._spool.answered(self._number):
            return self._spool.answer(self._number)
        self._drop()
        try:
            self._job.result()
        except UncompletedJobError as error:
            raise WorkerLostError(str(error).splitlines()[0]) from error
        raise WorkerLostError("its job ended")
