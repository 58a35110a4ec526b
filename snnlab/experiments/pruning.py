"""A trial that lags behind ends early; as any run, with its best epoch's validation and its record."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import lightning as L

from snnlab.experiments.sweep_settings import Prune
from snnlab.experiments.workers import Watched

_current: Watched | None = None


@contextmanager
def watched(trial: Watched | None) -> Iterator[None]:
    """Let the trainings inside report as this trial."""
    global _current
    _current = trial
    try:
        yield
    finally:
        _current = None


class Pruning(L.Callback):
    """Reports each validation to the study, and stops where the study says so; outside of a search it does nothing."""

    def __init__(self) -> None:
        self._watching: _Watching | None = None

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Open the study."""
        if _current is not None:
            self._watching = _Watching(_current)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Report the epoch; the validation of the chosen one at the end is none."""
        if _current is not None and self._watching is not None and trainer.state.fn == "fit":
            value = trainer.callback_metrics.get(_current.metric)
            if value is not None and self._watching.lags(trainer.current_epoch, float(value)):
                trainer.should_stop = True


class _Watching:
    """A trial, as the storage has it."""

    def __init__(self, watched: Watched) -> None:
        import optuna

        from snnlab.experiments.study import open_storage, pruner, quiet_optuna, trial_id

        with quiet_optuna():
            self._storage = open_storage(watched.url)
            study = optuna.load_study(
                study_name=watched.study, storage=self._storage, pruner=pruner(Prune(**watched.prune))
            )
            self._id = trial_id(self._storage, watched.study, watched.number)
            self._trial = optuna.Trial(study, self._id)

    def lags(self, epoch: int, value: float) -> bool:
        """Report an epoch; return whether the trial is to end."""
        from snnlab.experiments.study import PRUNED, quiet_optuna

        with quiet_optuna():
            if epoch not in self._storage.get_trial(self._id).intermediate_values:
                self._trial.report(value, epoch)
            if PRUNED not in self._trial.user_attrs and not self._trial.should_prune():
                return False
            self._trial.set_user_attr(PRUNED, epoch + 1)
            return True
