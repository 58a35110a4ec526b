"""A trial that lags behind ends early; as any run, with its best epoch's validation and its record."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import lightning as L

from snnlab.search.settings import Prune
from snnlab.search.task import Watched

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
        self._trial: Any = None

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Open the study."""
        if _current is not None:
            self._trial = _opened(_current)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Report the epoch; the validation of the chosen one at the end is none."""
        if _current is not None and self._trial is not None and trainer.state.fn == "fit":
            self._report(trainer, _current)

    def _report(self, trainer: L.Trainer, watched: Watched) -> None:
        from snnlab.search.study import PRUNED, quiet_optuna

        epoch, value = trainer.current_epoch, trainer.callback_metrics.get(watched.metric)
        if value is None:
            return
        with quiet_optuna():
            trial = self._trial
            if epoch not in trial.storage.get_trial(trial._trial_id).intermediate_values:
                trial.report(float(value), epoch)
            if PRUNED in trial.user_attrs or trial.should_prune():
                trial.set_user_attr(PRUNED, epoch + 1)
                trainer.should_stop = True


def _opened(trial: Watched) -> Any:
    import optuna

    from snnlab.search.study import open_storage, pruner, quiet_optuna

    with quiet_optuna():
        storage = open_storage(trial.url)
        study = optuna.load_study(study_name=trial.study, storage=storage, pruner=pruner(Prune(**trial.prune)))
        number = trial.number
        return optuna.Trial(study, next(t for t in study.get_trials(deepcopy=False) if t.number == number)._trial_id)
