"""A search's study in Optuna; the only file that imports Optuna for searching."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from snnlab.errors import ConfigError, RunFolderError
from snnlab.experiments.search_plan import SCHEMA
from snnlab.experiments.space import Space, Values, decoded, encoded
from snnlab.experiments.sweep_settings import Prune, Sweep
from snnlab.experiments.workers import TrialAddress

# Errors of a storage that can no longer be written.
STORAGE_ERRORS: tuple[type[Exception], ...] = ()
if TYPE_CHECKING or find_spec("optuna") is not None:  # `require_optuna` raises if it is missing
    import optuna
    from optuna import Study, pruners, samplers
    from optuna.exceptions import ExperimentalWarning, StorageInternalError
    from optuna.storages import BaseStorage, RDBStorage
    from optuna.trial import FrozenTrial, TrialState
    from sqlalchemy.exc import SQLAlchemyError

    STORAGE_ERRORS = (StorageInternalError, SQLAlchemyError)
FILE, TRIALS = "study.db", "trials"
# Keys of snnlab's attributes of a trial and a study in Optuna.
BEGUN, OUTCOME, PRUNED, IDENTITY = "begun", "outcome", "pruned_after_epoch", "snnlab"
# Time limit for waiting until a worker has written, s.
_WRITE_TIMEOUT_S = 120


@dataclass(frozen=True)
class Trial:
    """A trial to run.

    Attributes:
        number: Its number, from 0.
        values: The proposed values, by setting.
        resumed: Whether it was begun before the search was killed or stopped.
    """

    number: int
    values: Values
    resumed: bool = False


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


def open_storage(path: Path) -> BaseStorage:
    """Return the storage in a file.

    Raises:
        RunFolderError: if it cannot be opened, or another version of Optuna created it.
    """
    try:
        return RDBStorage(f"sqlite:///{path.absolute()}", engine_kwargs={"connect_args": {"timeout": _WRITE_TIMEOUT_S}})
    except (SQLAlchemyError, RuntimeError, AssertionError) as error:
        reason = str(getattr(error, "orig", None) or error).splitlines()[0]
        raise RunFolderError(path, f"cannot be used: {reason}") from error


class SearchStudy:
    """A search's study. A trial that was begun before a kill is resumed under its number and in its folder.

    One process proposes trials; workers report epochs.

    Args:
        folder: The sweep's folder, which this process has locked; its name is the study's name.
        identity: Further values that must agree with those of the stored study, such as the overrides.
    """

    def __init__(self, folder: Path, sweep: Sweep, space: Space, identity: Mapping[str, Any]) -> None:
        self.folder, self.sweep, self.space = folder, sweep, space
        self.path = folder / FILE
        if _has_runs(folder) and not _is_filled(self.path):
            raise self._missing_study_error()
        with quiet_optuna():
            self._storage = open_storage(self.path)
            self.study: Study = optuna.create_study(
                storage=self._storage,
                study_name=folder.name,
                directions=list(sweep.objectives.values()),
                load_if_exists=True,
            )
            self._require_same_search(identity)
            self._begun = [trial for trial in self.trials() if _has_state(trial, "RUNNING")]
        self._grid = space.grid() if sweep.sampler == "grid" else None
        self.limit = _minimum(sweep.trials, len(self._grid) if self._grid else None)

    def _require_same_search(self, identity: Mapping[str, Any]) -> None:
        content = {"space": self.sweep.space, "objectives": list(self.sweep.objectives.items()), **identity}
        identity_now = {"schema": SCHEMA, **json.loads(json.dumps(content))}
        stored = self.study.user_attrs.get(IDENTITY)
        if stored is None and not self.study.get_trials(deepcopy=False):
            if _has_runs(self.folder):
                raise self._missing_study_error()
            self.study.set_user_attr(IDENTITY, identity_now)
            return
        names = [key for key in identity_now if not isinstance(stored, dict) or stored.get(key) != identity_now[key]]
        if names:
            raise RunFolderError(
                self.path,
                f"its study {self.folder.name} has another {names[0]}",
                "start a new search for this",
            )

    def _missing_study_error(self) -> RunFolderError:
        where = quote(str(self.folder / TRIALS))
        return RunFolderError(
            self.path,
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
        """Return a trial to run: one that was begun before, or a new one; None if there is none to begin.

        Args:
            new: Whether a new trial may begin.
        """
        with quiet_optuna():
            while self._begun:
                trial = self._begun.pop(0)
                if BEGUN in trial.user_attrs:
                    return Trial(trial.number, values_of(trial), resumed=True)
                self.study.tell(trial.number, state=TrialState.FAIL)  # killed while it was proposed
            trials = self.trials()
            count = _count_trials(trials)
            full = self.limit is not None and count.finished + count.running >= self.limit
            if not new or full or count.failed > self.sweep.failures:
                return None
            return self._propose(trials)

    def _propose(self, trials: Sequence[FrozenTrial]) -> Trial | None:
        if self._grid is not None:
            proposed = [values_of(trial) for trial in trials if BEGUN in trial.user_attrs]
            remaining = [point for point in self._grid if point not in proposed]
            if not remaining:
                return None
            self.study.enqueue_trial({name: encoded(value) for name, value in remaining[0].items()})
        # A new sampler with its own seed each time, so that a resumed search does not propose the same again.
        self.study.sampler = sampler(self.sweep, len(trials))
        trial = self.study.ask()
        values = self.space.suggest(trial)
        trial.set_user_attr(BEGUN, True)
        return Trial(trial.number, values)

    def tell(self, number: int, outcome: Mapping[str, Any]) -> None:
        """Record the outcome of a trial.

        Args:
            outcome: A `snnlab.experiments.workers.Outcome`.
        """
        with quiet_optuna():
            trial = self.trials()[number]
            trial_id = _trial_id(self._storage, self.folder.name, number)
            self._storage.set_trial_user_attr(trial_id, OUTCOME, {**outcome, "at": time.time()})
            values = [outcome["metrics"].get(name) for name in self.sweep.objectives]
            if outcome["status"] != "completed" or any(value is None or value != value for value in values):
                self.study.tell(number, state=TrialState.FAIL)
            elif PRUNED in trial.user_attrs:
                self.study.tell(number, state=TrialState.PRUNED)
            else:
                self.study.tell(number, values)


class PrunableTrial:
    """A trial in its worker, which reports each epoch and may be pruned."""

    def __init__(self, address: TrialAddress) -> None:
        with quiet_optuna():
            self._storage = open_storage(Path(address.study))
            study = optuna.load_study(
                study_name=address.name, storage=self._storage, pruner=pruner(Prune(**address.prune))
            )
            self._id = _trial_id(self._storage, address.name, address.number)
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


def _trial_id(storage: BaseStorage, study: str, number: int) -> int:
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
