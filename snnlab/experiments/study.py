"""A search's study in Optuna, and the processes that share it; the only file that imports Optuna for searching."""

from __future__ import annotations

import json
import os
import shutil
import socket
import time
import uuid
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from shlex import quote
from sqlite3 import DatabaseError, connect
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from urllib.parse import quote as url_quote

from filelock import FileLock, Timeout

from snnlab.errors import ConfigError, RunFolderError
from snnlab.experiments.search_plan import SCHEMA
from snnlab.experiments.space import Space, Values, decoded, encoded
from snnlab.experiments.sweep_settings import Prune, Sweep
from snnlab.experiments.workers import TrialAddress
from snnlab.files import unwritable
from snnlab.printable import masked

# Errors of a storage that can no longer be written.
STORAGE_ERRORS: tuple[type[Exception], ...] = ()
if TYPE_CHECKING or find_spec("optuna") is not None:  # `require_optuna` raises if it is missing
    import optuna
    from optuna import Study, pruners, samplers
    from optuna.exceptions import ExperimentalWarning, StorageInternalError
    from optuna.storages import BaseStorage, JournalStorage, RDBStorage
    from optuna.storages.journal import JournalFileBackend
    from optuna.trial import FrozenTrial, TrialState
    from sqlalchemy.exc import SQLAlchemyError

    STORAGE_ERRORS = (StorageInternalError, SQLAlchemyError)
LOCKS = "drivers"
_STUDY_LOCK, _END_LOCK = ".counting", ".ending"


def study_lock(folder: Path) -> FileLock:
    """Return a lock that one process holds at a time; the others wait."""
    return FileLock(folder / _STUDY_LOCK)


@contextmanager
def try_lock(folder: Path) -> Iterator[bool]:
    """Yield whether this process is the first one in the block; the others do not wait."""
    lock = FileLock(folder / _END_LOCK, blocking=False)
    try:
        lock.acquire()
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


class SearchLock:
    """A lock by which the processes of a search know which of them are alive."""

    def __init__(self, folder: Path) -> None:
        self.name = f"{socket.gethostname()}_{os.getpid()}_{uuid.uuid4().hex[:8]}"
        self._folder = folder / LOCKS
        self._lock = FileLock(self._folder / self.name, blocking=False)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
        except OSError as error:
            raise unwritable(folder, error) from error

    def is_alive(self, name: str) -> bool:
        """Return whether the process of this name is running; "" is no process."""
        if name == self.name:
            return True
        if not name or not (self._folder / name).is_file():
            return False
        try:
            with FileLock(self._folder / name, blocking=False):
                return False
        except Timeout:
            return True

    def release(self) -> None:
        """Release the lock: this process has finished."""
        self._lock.release()
        (self._folder / self.name).unlink(missing_ok=True)


FILE, TRIALS = "study.db", "trials"
# A text file with one record per line, which also works on a network file system; the path follows.
_JOURNAL = "journal:///"
# Keys of snnlab's attributes of a trial and a study in Optuna.
OWNER, OUTCOME, PRUNED, IDENTITY = "driver", "outcome", "pruned_after_epoch", "snnlab"
# Time limit for waiting until another process has written, s.
_WRITE_TIMEOUT_S = 120


@dataclass(frozen=True)
class Trial:
    """A trial to run.

    Attributes:
        number: Its number, from 0.
        values: The proposed values, by setting.
        adopted: Whether a process that has died began it.
    """

    number: int
    values: Values
    adopted: bool = False


@dataclass(frozen=True)
class TrialCounts:
    """The number of trials by state; `finished` is complete plus pruned."""

    finished: int
    complete: int
    pruned: int
    running: int
    failed: int


def require_optuna() -> None:
    """Raise if Optuna is not installed."""
    if find_spec("optuna") is None:
        raise ConfigError("sweep", "needs Optuna: pip install 'snnlab-train[sweep]'")


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Silence Optuna's log below warnings, and its warnings of experimental features."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        yield


def storage_url(folder: Path, named: str | None) -> str:
    """Return the URL of a search's storage."""
    return named or f"sqlite:///{(folder / FILE).absolute()}"


def check_storage(named: str | None) -> None:
    """Refuse a storage that cannot be opened, before anything runs; no file is created.

    Args:
        named: The storage in the settings.
    """
    if named is None:
        return
    path = f"/{named.removeprefix(_JOURNAL)}" if named.startswith(_JOURNAL) else None
    if path is None and named.startswith("sqlite:///"):
        path = named.removeprefix("sqlite:///")
    if path is None:
        open_storage(named)
    elif not Path(path).absolute().parent.is_dir():
        raise ConfigError("sweep.storage", f"{named} cannot be used: there is no folder {Path(path).absolute().parent}")


def open_storage(url: str) -> BaseStorage:
    """Return the storage.

    Raises:
        RunFolderError: if it cannot be opened, or another version of Optuna created it.
    """
    if url.startswith(_JOURNAL):
        try:
            return JournalStorage(JournalFileBackend(f"/{url.removeprefix(_JOURNAL)}"))
        except (OSError, ValueError) as error:
            raise RunFolderError("sweep.storage", masked(f"{url} cannot be used: {error}")) from error
    waiting = {"connect_args": {"timeout": _WRITE_TIMEOUT_S}} if url.startswith("sqlite") else None
    try:
        return RDBStorage(url, engine_kwargs=waiting)
    except (SQLAlchemyError, RuntimeError, ImportError, AssertionError) as error:
        reason = str(getattr(error, "orig", None) or error).splitlines()[0]
        known = "a URL such as sqlite:////FILE, journal:////FILE or postgresql://..."
        hint = "" if "://" in url else f"expected {known}"
        raise RunFolderError("sweep.storage", masked(f"{url} cannot be used: {reason}"), hint) from error


class SharedStudy:
    """A search's study, which processes share under a lock.

    A trial of a process that died is resumed at once, under its number and in its folder. Optuna's own means do not do
    this: its heartbeat "will not work" with ask and tell, as the documentation of RDBStorage says (a trial whose
    process has died stays RUNNING forever), a journal has none, and a death is known only after a grace period.
    `optimize`, which has a heartbeat, begins more trials than required when several processes share a study. Its retry
    callback marks the trial as failed and begins another one with another number.

    Args:
        folder: The sweep's folder, whose name is the study's name.
        lock: The lock of this process.
        identity: Further values that must agree with those of the stored study, such as the overrides.
    """

    def __init__(self, folder: Path, sweep: Sweep, space: Space, lock: SearchLock, identity: Mapping[str, Any]) -> None:
        self.folder, self.sweep, self.space, self.lock = folder, sweep, space, lock
        self.url = storage_url(folder, sweep.storage)
        if sweep.storage is None and _has_runs(folder) and not _is_filled(folder / FILE):
            raise self._missing_study_error(folder / FILE)
        with quiet_optuna(), study_lock(folder):
            self._storage = open_storage(self.url)
            self.study: Study = optuna.create_study(
                storage=self._storage,
                study_name=folder.name,
                directions=list(sweep.objectives.values()),
                load_if_exists=True,
            )
            self._require_same_search(identity)
        self._grid = space.grid() if sweep.sampler == "grid" else None
        self.limit = _minimum(sweep.trials, len(self._grid) if self._grid else None)

    def _require_same_search(self, identity: Mapping[str, Any]) -> None:
        content = {"space": self.sweep.space, "objectives": list(self.sweep.objectives.items()), **identity}
        identity_now = {"schema": SCHEMA, **json.loads(json.dumps(content))}
        stored = self.study.user_attrs.get(IDENTITY)
        if stored is None and not self.study.get_trials(deepcopy=False):
            if _has_runs(self.folder):
                raise self._missing_study_error(self.url)
            self.study.set_user_attr(IDENTITY, identity_now)
            return
        names = [key for key in identity_now if not isinstance(stored, dict) or stored.get(key) != identity_now[key]]
        if names:
            raise RunFolderError(
                masked(self.url),
                f"its study {self.folder.name} has another {names[0]}",
                "start a new search for this",
            )

    def _missing_study_error(self, what: str | Path) -> RunFolderError:
        where = quote(str(self.folder / TRIALS))
        return RunFolderError(
            what,
            "the study of this search is missing or empty, and its trials are not run again; restore it from a copy",
            f"the runs of its trials are still there: snnlab runs list {where}",
        )

    def trials(self) -> list[FrozenTrial]:
        """Return all trials."""
        return self.study.get_trials(deepcopy=False)

    def count(self) -> TrialCounts:
        """Return the number of trials by state."""
        return _count_trials(self.trials())

    def next_trial(self, *, new: bool = True) -> Trial | None:
        """Return a trial to run: one whose process has died, or a new one; None if there is none to begin.

        Args:
            new: Whether a new trial may begin.
        """
        with quiet_optuna(), study_lock(self.folder):
            trials = self.trials()
            for trial in trials:
                abandoned = _has_state(trial, "RUNNING") and not self.lock.is_alive(trial.user_attrs.get(OWNER, ""))
                if abandoned and (adopted := self._adopt(trial)):
                    return adopted
            count = _count_trials(self.trials())
            full = self.limit is not None and count.finished + count.running >= self.limit
            if not new or full or count.failed > self.sweep.failures:
                return None
            return self._propose(trials)

    def _adopt(self, trial: FrozenTrial) -> Trial | None:
        if OWNER not in trial.user_attrs:  # killed while it was proposed: nothing of it was recorded
            self.study.tell(trial.number, state=TrialState.FAIL)
            return None
        self._set_attribute(trial.number, OWNER, self.lock.name)
        return Trial(trial.number, values_of(trial), adopted=True)

    def _propose(self, trials: Sequence[FrozenTrial]) -> Trial | None:
        if self._grid is not None:
            proposed = [values_of(trial) for trial in trials if OWNER in trial.user_attrs]
            remaining = [point for point in self._grid if point not in proposed]
            if not remaining:
                return None
            self.study.enqueue_trial({name: encoded(value) for name, value in remaining[0].items()})
        # A new sampler with its own seed each time, so that two processes do not propose the same.
        self.study.sampler = sampler(self.sweep, len(trials))
        trial = self.study.ask()
        values = self.space.suggest(trial)
        trial.set_user_attr(OWNER, self.lock.name)
        return Trial(trial.number, values)

    def tell(self, number: int, outcome: Mapping[str, Any]) -> None:
        """Record the outcome of a trial.

        Args:
            outcome: A `snnlab.experiments.workers.Outcome`.
        """
        with quiet_optuna(), study_lock(self.folder):
            trial = self.trials()[number]
            if not _has_state(trial, "RUNNING"):
                return
            self._set_attribute(number, OUTCOME, {**outcome, "at": time.time()})
            values = [outcome["metrics"].get(name) for name in self.sweep.objectives]
            if outcome["status"] != "completed" or any(value is None or value != value for value in values):
                self.study.tell(number, state=TrialState.FAIL)
            elif PRUNED in trial.user_attrs:
                self.study.tell(number, state=TrialState.PRUNED)
            else:
                self.study.tell(number, values)

    def _set_attribute(self, number: int, key: str, value: Any) -> None:
        self._storage.set_trial_user_attr(trial_id(self._storage, self.folder.name, number), key, value)


class PrunableTrial:
    """A trial in its worker, which reports each epoch and may be pruned."""

    def __init__(self, address: TrialAddress) -> None:
        with quiet_optuna():
            self._storage = open_storage(address.url)
            study = optuna.load_study(
                study_name=address.study, storage=self._storage, pruner=pruner(Prune(**address.prune))
            )
            self._id = trial_id(self._storage, address.study, address.number)
            self._trial = optuna.Trial(study, self._id)

    def should_prune(self, epoch: int, value: float) -> bool:
        """Report an epoch; return whether the trial should end."""
        with quiet_optuna():
            if epoch not in self._storage.get_trial(self._id).intermediate_values:
                self._trial.report(value, epoch)
            if PRUNED not in self._trial.user_attrs and not self._trial.should_prune():
                return False
            self._trial.set_user_attr(PRUNED, epoch + 1)
            return True


def trial_id(storage: BaseStorage, study: str, number: int) -> int:
    """Return the storage's id of a trial; a storage may hold several studies."""
    return storage.get_trial_id_from_study_id_trial_number(storage.get_study_id_from_name(study), number)


def sampler(sweep: Sweep, drawn: int) -> samplers.BaseSampler:
    """Return the sampler of the next trial.

    Args:
        drawn: Number of trials proposed so far.
    """
    seed = (sweep.seed * 1_000_003 + drawn) % 2**32
    if sweep.sampler == "tpe":
        return samplers.TPESampler(seed=seed, constant_liar=sweep.slots > 1)
    if sweep.sampler == "cmaes":
        return samplers.CmaEsSampler(seed=seed, warn_independent_sampling=False)
    if sweep.sampler == "nsga":
        return samplers.NSGAIISampler(seed=seed)
    return samplers.RandomSampler(seed=seed)


def pruner(prune: Prune | None) -> pruners.BasePruner:
    """Return Optuna's pruner for the settings of pruning."""
    if prune is None:
        return pruners.NopPruner()
    if prune.by == "median":
        return pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=prune.after)
    return pruners.SuccessiveHalvingPruner(min_resource=prune.after, reduction_factor=prune.keep)


@contextmanager
def open_study_copy(folder: Path, content: Mapping[str, Any]) -> Iterator[Study]:
    """Yield the study of a search from a copy of its file: nothing is written, and no other file is opened.

    Args:
        content: The content of its `sweep.yaml`.

    Raises:
        RunFolderError: if there is none that can be read, or it is in another storage.
    """
    require_optuna()
    named, path = content["sweep"].get("storage"), folder / FILE
    if named is not None:
        raise RunFolderError(
            "report",
            (
                f"{folder}: its trials are in {masked(str(named))}, which a report does not open: anybody may have"
                " written that address"
            ),
            f"a report is possible once {folder}/search.json exists",
        )
    if path.is_symlink() or not path.is_file():
        raise RunFolderError("report", f"{folder}: the search has no trial yet")
    with TemporaryDirectory() as temporary, quiet_optuna():
        _copy(path, Path(temporary) / FILE)
        storage = open_storage(storage_url(Path(temporary), None))
        try:
            # It holds one study, whose name is that of the folder when the search began.
            yield optuna.load_study(study_name=None, storage=storage)
        except (KeyError, ValueError) as error:
            raise RunFolderError("report", f"{folder}: the search has no trial yet") from error


def _copy(path: Path, copy: Path) -> None:
    """Copy a database in a consistent state; one that was left in the middle of a change is repaired in the copy."""
    try:
        with (
            closing(connect(f"file:{url_quote(str(path.absolute()))}?mode=ro", uri=True)) as one,
            closing(connect(copy)) as other,
        ):
            one.backup(other)
    except DatabaseError:
        for end in ("", "-journal", "-wal"):
            file = path.with_name(f"{path.name}{end}")
            if file.is_file() and not file.is_symlink():
                shutil.copyfile(file, copy.with_name(f"{copy.name}{end}"))


def values_of(trial: FrozenTrial) -> Values:
    """Return the proposed values of a trial."""
    return {name: decoded(value) for name, value in trial.params.items()}


def _has_state(trial: FrozenTrial, name: str) -> bool:
    return trial.state.name == name


def _has_runs(folder: Path) -> bool:
    trials = folder / TRIALS
    return trials.is_dir() and any(trials.iterdir())


def _is_filled(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0


def _count_trials(trials: Sequence[FrozenTrial]) -> TrialCounts:
    states = [trial.state.name for trial in trials]
    failed = sum(_has_state(trial, "FAIL") and OUTCOME in trial.user_attrs for trial in trials)
    complete, pruned = states.count("COMPLETE"), states.count("PRUNED")
    return TrialCounts(complete + pruned, complete, pruned, states.count("RUNNING"), failed)


def _minimum(*numbers: int | None) -> int | None:
    return min((number for number in numbers if number is not None), default=None)
