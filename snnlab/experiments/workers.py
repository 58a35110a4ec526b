"""Workers and what they are given: this process, one of joblib's, a job of submitit's, a task of Ray's."""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypedDict

from snnlab.errors import ConfigError, SnnlabError
from snnlab.files import write_atomically

# `_require` tells whoever lacks one of them.
if TYPE_CHECKING or find_spec("joblib") is not None:
    from joblib.externals.loky import ProcessPoolExecutor
if TYPE_CHECKING or find_spec("submitit") is not None:
    import submitit
    from submitit.helpers import DelayedSubmission

# interrupted: by a signal, to be gone on with; stopped: by trouble that the next trial would have too.
Status = Literal["completed", "failed", "interrupted", "stopped"]
# Settings that a training which goes on is told anew: recordings may lie elsewhere by now, and another GPU be free. Not
# its threads, which sums depend on.
AROUND = ("trainer.devices", "data.root", "data.store_dir", "data.download", "data.num_workers")


@dataclass(frozen=True)
class Watched:
    """Where a trial reports its epochs, for pruning.

    Attributes:
        metric: What is reported.
        prune: Settings of `snnlab.experiments.sweep_settings.Prune`.
    """

    url: str
    study: str
    number: int
    metric: str
    prune: dict[str, Any]


@dataclass(frozen=True)
class Task:
    """One training.

    Attributes:
        folder: Where it is recorded; one that is begun there goes on.
        overrides: Of `snnlab train`; one that goes on is told those of `AROUND` alone.
        config_dir: The user's folder of YAML files.
        watched: See `Watched`; None where nothing is pruned.
    """

    folder: str
    overrides: Sequence[str]
    config_dir: str | None
    place: str
    watched: Watched | None = None


class Outcome(TypedDict):
    """What came of a task."""

    status: Status
    error: str | None
    metrics: dict[str, float]
    fit_s: float
    wall_s: float
    epochs: int
    val_size: int


@dataclass(frozen=True)
class Rehearsal:
    """What a training of one batch shows before the search begins.

    Attributes:
        error: A mistake in the configuration or the data, or None.
        metrics: The names of what a run logs.
        val_size: Number of validation recordings.
        probe: Which of the lists of overrides the error is of.
    """

    error: SnnlabError | None = None
    metrics: list[str] = field(default_factory=list)
    val_size: int = 0
    probe: int = 0


_POLL_S = 0.05
# How often a process looks whether whoever gives it tasks is there.
_LOOK_S = 0.5
# How long a job that has nothing to do is given to end by itself: Python takes some seconds on a busy machine.
_GOODBYE_S = 15.0
# How often whoever gives a job tasks says that it is there; a job that has heard nothing for so long ends.
_BEAT_S, _PATIENCE_S = 2.0, 60.0


class Worker:
    """Calls functions, one at a time; used for many, so that imports are paid once."""

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Begin to call a function of a module; this or the future raises BrokenExecutor if the worker has died."""
        raise NotImplementedError

    def stop(self) -> None:
        """Ask a training to stop at a checkpoint; called again and again until it has."""

    def close(self) -> None:
        """Let go of it."""


class Where(Protocol):
    """What says where trainings run: a sweep's settings, or those of a grid or a suite."""

    @property
    def engine(self) -> str:
        """here, joblib, submitit, ray."""
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


def cpus() -> int:
    """Return how many CPUs this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def threads_each(where: Where) -> int:
    """Return the threads of a training: this machine's CPUs shared out, or what a cluster's queue is asked for."""
    if where.engine == "submitit" and not _is_local(where.submitit or {}):
        return int((where.submitit or {}).get("cpus_per_task", 1))
    return max(1, cpus() // where.slots)


@contextmanager
def worker_maker(where: Where, folder: Path) -> Iterator[Callable[[], Worker]]:
    """Give what makes a worker.

    Args:
        where: Where it works.
        folder: For files of a queue.

    Raises:
        ConfigError: if a package is missing, or settings are wrong.
    """
    place, threads = where.places[0], threads_each(where)
    if where.engine == "here":
        yield Here
    elif where.engine == "joblib":
        _require("joblib", "sweep", place)
        yield partial(Process, threads)
    elif where.engine == "submitit":
        settings = where.submitit or {}
        yield partial(Job, _submitit(folder / "jobs", settings, where.places), folder / "jobs", _is_local(settings))
    else:
        _require("ray", "ray", place)
        import ray  # pyright: ignore[reportMissingImports]  # a second or more

        # On the cluster that RAY_ADDRESS names, or this machine.
        sizes = {} if "RAY_ADDRESS" in os.environ else {"num_cpus": threads * where.slots}
        ray.init(include_dashboard=False, log_to_driver=False, logging_level="warning", **sizes)
        try:
            yield partial(RayTask, ray, threads)
        finally:
            ray.shutdown()


def _require(package: str, extra: str, place: str) -> None:
    if find_spec(package) is None:
        raise ConfigError(place, f"{package} is missing: pip install 'snnlab-train[{extra}]'")


class Here(Worker):
    """This process; nothing runs while it can be stopped."""

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Call it at once."""
        future: Future[Any] = Future()
        future.set_result(function(*arguments))
        return future


class Process(Worker):
    """A process of this machine, by joblib's loky."""

    def __init__(self, threads: int) -> None:
        environment = {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS") if name not in os.environ}
        os.environ.setdefault("PYTHONWARNINGS", "ignore:resource_tracker")  # what the tracker says where it finds none
        before = _semaphores()
        self._pool = ProcessPoolExecutor(1, initializer=_prepare, initargs=(os.getpid(),), env=environment)
        self._number = self._pool.submit(os.getpid)
        # Their names go once the process has opened them. Else `kill -9` of all processes, one of which is loky's
        # tracker that would remove them, leaves them in memory until the machine restarts.
        ours = _semaphores() - before
        self._number.add_done_callback(lambda _: [path.unlink(missing_ok=True) for path in ours])

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Call it in the process."""
        return self._pool.submit(_work, function, *arguments)

    def stop(self) -> None:
        """Send SIGTERM, which a training takes for a wish to stop."""
        if self._number.done() and not self._number.exception():
            _signal(self._number.result(), signal.SIGTERM)

    def close(self) -> None:
        """End the process."""
        self._pool.shutdown(wait=False, kill_workers=True)


def _semaphores() -> set[Path]:
    return set(Path("/dev/shm").glob(f"sem.loky-{os.getpid()}-*"))


_busy = threading.Event()


def _prepare(parent: int) -> None:
    """Get a `Process` ready.

    Signals are for a training, which takes them over while it runs; between trainings they end nothing: Ctrl-C in a
    terminal reaches all processes, and whoever gives the tasks ends its workers.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _work(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function; if whoever gives the tasks dies meanwhile, its training stops at a checkpoint."""
    _busy.set()
    try:
        return function(*arguments)
    finally:
        _busy.clear()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOK_S)
    while _busy.is_set():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(_LOOK_S)
    os._exit(1)


class Job(Worker):
    """A job of a cluster's queue, by submitit, which serves one task after another through files of a folder.

    beat          touched by whoever gives the tasks, as long as it lives
    NUMBER.task   a function and its arguments, pickled
    NUMBER.done   what it returned, pickled
    over          made when the job is to end

    The folder is listed and no file of it asked for: on a network's file system only that shows what others have
    written.

    Args:
        executor: submitit's.
        folder: Where its folder is made.
        local: Whether it is a process of this machine.
    """

    def __init__(self, executor: Any, folder: Path, local: bool) -> None:
        self._folder, self._local, self._number = folder / f"tasks_{uuid.uuid4().hex[:12]}", local, 0
        self._folder.mkdir(parents=True, mode=0o700)  # what lies in it is unpickled
        (self._folder / "beat").touch()
        self._job = executor.submit(Serving(), str(self._folder))
        self._waiting, self._closed = ThreadPoolExecutor(1), threading.Event()

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Leave a task for the job."""
        if self._job.done():
            raise BrokenExecutor("it had nothing to do for too long")
        self._number += 1
        _dump(self._folder / f"{self._number}.task", (function, arguments))
        return self._waiting.submit(self._answer, f"{self._number}.done")

    def _answer(self, name: str) -> Any:
        """Return what a task came to, and say as long as it is waited for that somebody is there."""
        beat = 0.0
        while not self._closed.wait(_POLL_S):
            over = self._job.done()
            if name in os.listdir(self._folder):
                return _load(self._folder / name)
            if over:
                break
            if time.monotonic() - beat > _BEAT_S:
                (self._folder / "beat").touch()
                beat = time.monotonic()
        raise BrokenExecutor(f"its job ended; what it said is in {self._folder.parent}")

    def _is_busy(self) -> bool:
        return self._number > 0 and f"{self._number}.done" not in os.listdir(self._folder)

    def stop(self) -> None:
        """Let the job end: a training stops at a checkpoint."""
        (self._folder / "over").touch()
        if not self._job.done() and self._is_busy():
            self._end(signal.SIGTERM)

    def close(self) -> None:
        """Leave nothing in the queue; a job of this machine that does not end by itself is killed."""
        self.stop()
        until = time.monotonic() + _GOODBYE_S
        while not self._is_busy() and not self._job.done() and time.monotonic() < until:
            time.sleep(_POLL_S)
        if not self._job.done():
            self._end(signal.SIGKILL)
            while self._local and not self._job.done():
                time.sleep(_POLL_S)
        self._closed.set()
        self._waiting.shutdown(wait=False)

    def _end(self, number: signal.Signals) -> None:
        """Cancel the job, for which SLURM sends SIGTERM; one of this machine would get SIGINT, and a second."""
        if self._local:
            _signal(int(self._job.job_id), number)
        else:
            self._job.cancel()


class Serving:
    """What a job runs: the tasks of a folder; one that was put off by its queue goes on with what is not done."""

    def __call__(self, folder: str) -> None:
        """Serve until it is over, or nobody is there any more."""
        seen, since = -1.0, time.monotonic()
        while time.monotonic() - since < _PATIENCE_S and "over" not in (there := set(os.listdir(folder))):
            numbers = [int(name[:-5]) for name in there if name.endswith(".task") and f"{name[:-5]}.done" not in there]
            if numbers:
                function, arguments = _load(Path(folder) / f"{min(numbers)}.task")
                _dump(Path(folder) / f"{min(numbers)}.done", function(*arguments))
                since = time.monotonic()
                continue
            if (beat := (Path(folder) / "beat").stat().st_mtime) != seen:
                seen, since = beat, time.monotonic()
            time.sleep(_POLL_S)

    def checkpoint(self, folder: str) -> Any:
        """Return what submitit puts into the queue again, when the time of a job is over."""
        return DelayedSubmission(self, folder)


def _submitit(folder: Path, settings: Mapping[str, Any], places: tuple[str, str, str]) -> Any:
    """Return submitit's executor.

    Args:
        folder: For its files.
        settings: `cluster`, and its parameters.

    Raises:
        ConfigError: if submitit is missing, or does not take the settings.
    """
    _require("submitit", "submitit", places[0])
    if settings.get("cluster") == "debug":
        raise ConfigError(f"{places[1]}.cluster", "debug is one process", f"take {places[0]}={places[2]}")
    parameters = {key: value for key, value in settings.items() if key != "cluster"}
    try:
        executor = submitit.AutoExecutor(folder / "%j", cluster=settings.get("cluster"))
        executor.update_parameters(**{"name": "snnlab", "timeout_min": 24 * 60, **parameters})
    except (NameError, TypeError, ValueError, AssertionError, RuntimeError) as error:
        hint = "; cluster is slurm or local" if "executor" in str(error) else ""
        raise ConfigError(places[1], f"{' '.join(str(error).split())}{hint}") from error
    return executor


def _is_local(settings: Mapping[str, Any]) -> bool:
    return str(settings.get("cluster") or ("slurm" if shutil.which("srun") else "local")) == "local"


class RayTask(Worker):
    """Tasks of Ray, which uses a process for one after another by itself.

    Args:
        ray: The package, connected.
        threads: CPU threads of a task.
    """

    def __init__(self, ray: Any, threads: int) -> None:
        self._ray, self._threads, self._reference = ray, threads, None
        self._waiting = ThreadPoolExecutor(1)

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Give it to Ray."""
        remote = self._ray.remote(num_cpus=self._threads, max_retries=0)(function)
        self._reference = remote.remote(*arguments)
        return self._waiting.submit(self._result, self._reference)

    def _result(self, reference: Any) -> Any:
        try:
            return self._ray.get(reference)
        except (self._ray.exceptions.WorkerCrashedError, self._ray.exceptions.TaskCancelledError) as error:
            raise BrokenExecutor(str(error)) from error

    def stop(self) -> None:
        """Cancel what runs."""
        if self._reference is not None:
            self._ray.cancel(self._reference)

    def close(self) -> None:
        """Wait for nothing more; its process is Ray's."""
        self._waiting.shutdown(wait=False)


def _load(path: Path) -> Any:
    """Return what a process of the same user has dumped.

    Raises:
        PermissionError: if it is another's.
    """
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
        if os.fstat(file.fileno()).st_uid != os.geteuid():
            raise PermissionError(f"{path}: was written by another user, and is not unpickled")
        return pickle.loads(file.read())


def _dump(path: Path, value: Any) -> None:
    write_atomically(path, lambda file: file.write(pickle.dumps(value)))


def _signal(process: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):  # it has ended by itself
        os.kill(process, number)
