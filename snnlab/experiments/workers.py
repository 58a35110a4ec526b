"""Tasks, and the workers that run them: this process, a joblib process, a submitit job, a Ray task."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypedDict

from snnlab.errors import ConfigError, RunFolderError, SnnlabError
from snnlab.process import available_cpus

# `_require_package` raises for a package that is missing.
if TYPE_CHECKING or find_spec("joblib") is not None:
    from joblib.externals.loky import ProcessPoolExecutor
if TYPE_CHECKING or find_spec("submitit") is not None:
    import submitit
    from submitit.core.utils import FailedJobError, UncompletedJobError
    from submitit.helpers import DelayedSubmission

# interrupted: by a signal, can be resumed; stopped: by an error that the next trial would have too.
Status = Literal["completed", "failed", "interrupted", "stopped"]
# Settings that a resumed run takes from the command: recordings may be in another folder now, and another GPU may be
# free. Not the number of threads: sums depend on it.
MACHINE_SETTINGS = ("trainer.devices", "data.root", "data.store_dir", "data.download", "data.num_workers")


@dataclass(frozen=True)
class TrialAddress:
    """The trial to which a run reports its epochs, for pruning.

    Attributes:
        study: The file of the study.
        name: The name of the study.
        metric: The metric that is reported.
        prune: Settings of `snnlab.experiments.sweep_settings.Prune`.
    """

    study: str
    name: str
    number: int
    metric: str
    prune: dict[str, Any]


@dataclass(frozen=True)
class RunTask:
    """One run.

    Attributes:
        folder: The run's folder; a run that was begun there is resumed.
        overrides: Overrides of `snnlab train`; a resumed run takes only those of `MACHINE_SETTINGS`.
        config_dir: The user's folder of YAML files.
        trial_address: The trial to which the run reports its epochs; None without pruning.
    """

    folder: str
    overrides: Sequence[str]
    config_dir: str | None
    working_folder: str
    trial_address: TrialAddress | None = None


class Outcome(TypedDict):
    """The result of a task."""

    status: Status
    error: str | None
    metrics: dict[str, float]
    fit_s: float
    wall_s: float
    epochs: int
    val_size: int


@dataclass(frozen=True)
class DryRun:
    """The result of a run of one batch before the search begins.

    Attributes:
        error: An error in the configuration or the data, or None.
        metrics: Names of the metrics that a run logs.
        val_size: Number of validation recordings.
        probe: Index of the list of overrides that caused the error.
    """

    error: SnnlabError | None = None
    metrics: list[str] = field(default_factory=list)
    val_size: int = 0
    probe: int = 0


# Interval at which a job's files are looked at, which may be on a network file system.
_POLL_S = 0.2
# Interval at which a worker process checks whether its parent is alive.
_PARENT_CHECK_S = 0.5


class Worker:
    """Calls functions, one at a time; processes are reused, so that imports happen once."""

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Start a call of a module-level function; this or the future raises BrokenExecutor if the worker has died."""
        raise NotImplementedError

    def stop(self) -> None:
        """Ask a run to stop at a checkpoint; may be called repeatedly until it stops."""

    def close(self) -> None:
        """Release the worker."""


class WorkerSettings(Protocol):
    """Settings of where runs are trained: a sweep's, a grid's or a suite's."""

    @property
    def engine(self) -> str:
        """One of here, joblib, submitit, ray."""
        ...

    @property
    def slots(self) -> int:
        """Number of runs at the same time."""
        ...

    @property
    def submitit(self) -> Mapping[str, Any] | None:
        """Parameters of submitit's executor."""
        ...

    @property
    def setting_names(self) -> tuple[str, str, str]:
        """Names of the engine setting and of submitit's setting, and the engine of one process."""
        ...


def threads_per_run(where: WorkerSettings) -> int:
    """Return the threads of a run: this machine's CPUs divided by the slots, or the CPUs requested from a cluster."""
    if where.engine == "submitit" and not _is_local(where.submitit or {}):
        return int((where.submitit or {}).get("cpus_per_task", 1))
    return max(1, available_cpus() // where.slots)


@contextmanager
def worker_factory(where: WorkerSettings, folder: Path) -> Iterator[Callable[[], Worker]]:
    """Yield a function that makes a worker.

    Args:
        where: The engine, and the number of workers.
        folder: Folder for the files of jobs.
    """
    place, threads = where.setting_names[0], threads_per_run(where)
    if where.engine == "here":
        yield InProcessWorker
    elif where.engine == "joblib":
        _require_package("joblib", "sweep", place)
        yield partial(ProcessWorker, threads)
    elif where.engine == "submitit":
        settings = where.submitit or {}
        jobs = _submitit_executor(folder / "jobs", settings, where.setting_names)
        yield partial(SubmititWorker, jobs, _is_local(settings))
    else:
        _require_package("ray", "ray", place)
        import ray  # pyright: ignore[reportMissingImports]  # a second or more

        # On the cluster that RAY_ADDRESS names, or this machine.
        cores = None if "RAY_ADDRESS" in os.environ else threads * where.slots
        ray.init(num_cpus=cores, include_dashboard=False, log_to_driver=False, logging_level=logging.WARNING)
        try:
            yield partial(RayWorker, ray, threads)
        finally:
            ray.shutdown()


def _require_package(package: str, extra: str, place: str) -> None:
    if find_spec(package) is None:
        raise ConfigError(place, f"{package} is missing: pip install 'snnlab-train[{extra}]'")


class InProcessWorker(Worker):
    """This process: a call blocks until its function returns."""

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Call the function now."""
        future: Future[Any] = Future()
        future.set_result(function(*arguments))
        return future


class ProcessWorker(Worker):
    """A process of this machine, from joblib's loky."""

    def __init__(self, threads: int) -> None:
        environment = {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS") if name not in os.environ}
        os.environ.setdefault("PYTHONWARNINGS", "ignore:resource_tracker")  # it warns of removed semaphores
        before = _semaphores()
        self._pool = ProcessPoolExecutor(1, initializer=_init_process, initargs=(os.getpid(),), env=environment)
        self._number = self._pool.submit(os.getpid)
        # Remove the semaphores' names as soon as the process has opened them. Otherwise `kill -9` of all processes,
        # with loky's tracker, which would remove them, leaves them in memory until the machine restarts.
        ours = _semaphores() - before
        self._number.add_done_callback(lambda _: [path.unlink(missing_ok=True) for path in ours])

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Call the function in the process."""
        return self._pool.submit(_call, function, *arguments)

    def stop(self) -> None:
        """Send SIGTERM, on which a run stops at a checkpoint."""
        if self._number.done() and not self._number.exception():
            _send_signal(self._number.result(), signal.SIGTERM)

    def close(self) -> None:
        """End the process."""
        self._pool.shutdown(wait=False, kill_workers=True)


def _semaphores() -> set[Path]:
    return set(Path("/dev/shm").glob(f"sem.loky-{os.getpid()}-*"))


_busy = threading.Event()


def _init_process(parent: int) -> None:
    """Prepare the process of a worker.

    A training handles signals while it runs; between trainings signals end nothing: Ctrl-C in a terminal reaches all
    processes, and the parent ends its workers.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    threading.Thread(target=_exit_with_parent, args=(parent,), daemon=True).start()


def _call(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function; if the parent dies meanwhile, its run stops at a checkpoint."""
    _busy.set()
    try:
        return function(*arguments)
    finally:
        _busy.clear()


def _exit_with_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_PARENT_CHECK_S)
    while _busy.is_set():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(_PARENT_CHECK_S)
    os._exit(1)


class JobCall:
    """The function of a job of submitit."""

    def __call__(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call the function."""
        return function(*arguments)

    def checkpoint(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Return what submitit queues when the job's time is over: the same call, which resumes its run."""
        return DelayedSubmission(self, function, *arguments)


class SubmititWorker(Worker):
    """Submits a job for each call.

    Args:
        executor: submitit's executor.
        local: Whether a job is a process of this machine.
    """

    def __init__(self, executor: Any, local: bool) -> None:
        self._executor, self._local, self._job = executor, local, None
        self._waiter, self._closed = ThreadPoolExecutor(1), threading.Event()

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Submit a job that calls the function."""
        # submitit ends a local job by SIGINT; a process started while it is ignored (by `nohup ... &`) ignores it too.
        self._end_signal = signal.SIGTERM if signal.getsignal(signal.SIGINT) is signal.SIG_IGN else signal.SIGINT
        self._job = self._executor.submit(JobCall(), function, *arguments)
        return self._waiter.submit(self._result, self._job)

    def _result(self, job: Any) -> Any:
        while not self._closed.wait(_POLL_S):
            if job.done():
                try:
                    return job.result()
                except (UncompletedJobError, FailedJobError) as error:
                    raise BrokenExecutor(f"its job failed; its output is in {job.paths.folder}") from error
        raise BrokenExecutor("it was closed")

    def stop(self) -> None:
        """End the job; a run stops at a checkpoint.

        SLURM removes a job that waits, and sends SIGTERM to one that runs. A local job gets SIGTERM directly: submitit
        would kill it after a second.
        """
        if self._job is None or self._job.done():
            return
        if self._local:
            _send_signal(int(self._job.job_id), signal.SIGTERM)
        else:
            self._job.cancel(check=False)

    def close(self) -> None:
        """Remove a job that has not ended from the queue."""
        if self._job is not None and not self._job.done():
            if self._local:
                _send_signal(int(self._job.job_id), self._end_signal)
                while not self._job.done():
                    time.sleep(_POLL_S)
            else:
                self._job.cancel(check=False)
        self._closed.set()
        self._waiter.shutdown(wait=False)


def _submitit_executor(folder: Path, settings: Mapping[str, Any], setting_names: tuple[str, str, str]) -> Any:
    """Return submitit's executor.

    Args:
        folder: Folder for its files, which other users cannot read or write: they are unpickled.
        settings: `cluster`, and the parameters of submitit's executor.
    """
    _require_package("submitit", "submitit", setting_names[0])
    if settings.get("cluster") == "debug":
        raise ConfigError(
            f"{setting_names[1]}.cluster", "debug runs in one process", f"use {setting_names[0]}={setting_names[2]}"
        )
    parameters = {key: value for key, value in settings.items() if key != "cluster"}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
    except OSError as error:
        raise RunFolderError(folder, error.strerror or error) from error
    try:
        executor = submitit.AutoExecutor(folder / "%j", cluster=settings.get("cluster"))
        executor.update_parameters(**{"name": "snnlab", "timeout_min": 24 * 60, **parameters})
    except (NameError, TypeError, ValueError, AssertionError, RuntimeError) as error:
        hint = "; cluster is slurm or local" if "executor" in str(error) else ""
        raise ConfigError(setting_names[1], f"{' '.join(str(error).split())}{hint}") from error
    return executor


def _is_local(settings: Mapping[str, Any]) -> bool:
    return str(settings.get("cluster") or ("slurm" if shutil.which("srun") else "local")) == "local"


class RayWorker(Worker):
    """Tasks of Ray, which reuses its processes.

    Args:
        ray: The connected package.
        threads: Number of CPU threads of a task.
    """

    def __init__(self, ray: Any, threads: int) -> None:
        self._ray, self._threads, self._reference = ray, threads, None
        self._waiter = ThreadPoolExecutor(1)

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Submit the call to Ray."""
        remote = self._ray.remote(num_cpus=self._threads, max_retries=0)(function)
        self._reference = remote.remote(*arguments)
        return self._waiter.submit(self._result, self._reference)

    def _result(self, reference: Any) -> Any:
        try:
            return self._ray.get(reference)
        except (self._ray.exceptions.WorkerCrashedError, self._ray.exceptions.TaskCancelledError) as error:
            raise BrokenExecutor(str(error)) from error

    def stop(self) -> None:
        """Cancel the running task."""
        if self._reference is not None:
            self._ray.cancel(self._reference)

    def close(self) -> None:
        """Wait for no further result; the process belongs to Ray."""
        self._waiter.shutdown(wait=False)


def _send_signal(process: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):  # it has already ended
        os.kill(process, number)
