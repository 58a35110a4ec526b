"""Where trials run: one `submit` for this process, processes of this machine, a cluster's queue, and Ray."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, Protocol

from snnlab.errors import ConfigError
from snnlab.search import worker


class WorkerLostError(Exception):
    """The process of a trial died: killed, out of memory, its machine gone."""


class Handle(Protocol):
    """Something that was submitted."""

    def done(self) -> bool:
        """Return whether it has ended."""
        ...

    def result(self) -> Any:
        """Return what it returned.

        Raises:
            WorkerLostError: if its process died.
        """
        ...


class Engine(Protocol):
    """What runs functions elsewhere."""

    def submit(self, slot: int, function: Callable[..., Any], *arguments: Any) -> Handle:
        """Begin to call a function.

        Args:
            slot: Which of the places for trials at the same time; it is free.
            function: One of a module.
            arguments: Its arguments.
        """
        ...

    def stop(self) -> None:
        """Ask all trainings to stop at a checkpoint; called again and again until they have."""
        ...

    def close(self) -> None:
        """Let go of all processes."""
        ...


def cpus() -> int:
    """Return how many CPUs this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Rooms(Protocol):
    """What says where trainings run: a sweep's settings, or those of a grid."""

    @property
    def engine(self) -> str:
        """The engine's name."""
        ...

    @property
    def slots(self) -> int:
        """How many are trained at the same time."""
        ...

    @property
    def submitit(self) -> Mapping[str, Any] | None:
        """Parameters of submitit's executor."""
        ...

    @property
    def places(self) -> tuple[str, str, str]:
        """What the user calls the engine, submitit's parameters, and the engine of one process."""
        ...


def threads_each(sweep: Rooms) -> int:
    """Return the threads of a trial: this machine's CPUs shared out, or what a cluster's queue is asked for."""
    if sweep.engine == "submitit" and _cluster(sweep.submitit) != "local":
        return int((sweep.submitit or {}).get("cpus_per_task", 1))
    return max(1, cpus() // sweep.slots)


def engine(sweep: Rooms, folder: Path) -> Engine:
    """Return the engine that a sweep or a grid asks for.

    Raises:
        ConfigError: if its package is missing.
    """
    threads = threads_each(sweep)
    if sweep.engine == "here":
        return Here()
    if sweep.engine == "joblib":
        return Processes(threads)
    if sweep.engine == "submitit":
        from snnlab.search.queue import Queue

        return Queue(folder / "jobs", sweep.submitit or {}, sweep.places)
    return Cluster(threads, sweep.slots, sweep.places[0])


class _Over:
    """What has ended when it was submitted."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def done(self) -> bool:
        return True

    def result(self) -> Any:
        return self._value


class Here:
    """This process; a trial at a time."""

    def submit(self, slot: int, function: Callable[..., Any], *arguments: Any) -> Handle:
        """Call it at once."""
        return _Over(function(*arguments))

    def stop(self) -> None:
        """Nothing runs while this can be called."""

    def close(self) -> None:
        """There is nothing to let go."""


class _Future:
    def __init__(self, future: Any, lost: tuple[type[BaseException], ...], drop: Callable[[], None]) -> None:
        self._future, self._lost, self._drop = future, lost, drop

    def done(self) -> bool:
        return self._future.done()

    def result(self) -> Any:
        try:
            return self._future.result()
        except self._lost as error:
            self._drop()
            raise WorkerLostError(str(error).splitlines()[0] if str(error) else type(error).__name__) from error


class Processes:
    """Processes of this machine, by joblib's loky: each is used for many trials, so that imports are paid once.

    Each slot has one of its own: where one dies, the others go on.

    Args:
        threads: CPU threads of each.
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._pools: dict[int, Any] = {}

    def submit(self, slot: int, function: Callable[..., Any], *arguments: Any) -> Handle:
        """Call it in the slot's process."""
        pool = self._pools.get(slot) or self._pool(slot)
        return _Future(pool.submit(worker.work, function, *arguments), (BrokenProcessPool,), lambda: self._drop(slot))

    def _pool(self, slot: int) -> Any:
        from joblib.externals.loky import ProcessPoolExecutor

        count = str(self._threads)
        env = {name: count for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS") if name not in os.environ}
        self._pools[slot] = ProcessPoolExecutor(1, initializer=worker.prepare, initargs=(os.getpid(),), env=env)
        return self._pools[slot]

    def _drop(self, slot: int) -> None:
        self._pools.pop(slot).shutdown(wait=False, kill_workers=True)

    def stop(self) -> None:
        """Send SIGTERM, which a training takes for a wish to stop."""
        for pool in self._pools.values():
            for number in list(pool._processes or ()):
                os.kill(number, signal.SIGTERM)

    def close(self) -> None:
        """End the processes."""
        for slot in list(self._pools):
            self._drop(slot)


class _Reference:
    def __init__(self, ray: Any, reference: Any) -> None:
        self._ray, self.reference = ray, reference

    def done(self) -> bool:
        return bool(self._ray.wait([self.reference], timeout=0)[0])

    def result(self) -> Any:
        try:
            return self._ray.get(self.reference)
        except (self._ray.exceptions.WorkerCrashedError, self._ray.exceptions.TaskCancelledError) as error:
            raise WorkerLostError(str(error).splitlines()[0]) from error


class Cluster:
    """Ray: the cluster that RAY_ADDRESS names, or this machine.

    Args:
        threads: CPU threads of a trial.
        workers: Trials at the same time.
        place: What the user calls the engine.
    """

    def __init__(self, threads: int, workers: int, place: str) -> None:
        try:
            import ray  # pyright: ignore[reportMissingImports]
        except ModuleNotFoundError as error:
            raise ConfigError(f"{place}: Ray is missing: pip install 'snnlab-train[ray]'") from error
        self._ray, self._threads = ray, threads
        sizes = {} if "RAY_ADDRESS" in os.environ else {"num_cpus": threads * workers}
        ray.init(include_dashboard=False, log_to_driver=False, logging_level="warning", **sizes)
        self._handles: list[_Reference] = []

    def submit(self, slot: int, function: Callable[..., Any], *arguments: Any) -> Handle:
        """Give it to Ray, which uses a process again for the next one."""
        remote = self._ray.remote(num_cpus=self._threads, max_retries=0)(function)
        self._handles.append(_Reference(self._ray, remote.remote(*arguments)))
        return self._handles[-1]

    def stop(self) -> None:
        """Cancel what runs."""
        for handle in self._handles:
            if not handle.done():
                self._ray.cancel(handle.reference)

    def close(self) -> None:
        """Leave Ray."""
        self._ray.shutdown()


def _cluster(settings: Mapping[str, Any] | None) -> str:
    if named := (settings or {}).get("cluster"):
        return str(named)
    import shutil

    return "slurm" if shutil.which("srun") else "local"
