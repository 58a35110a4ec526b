"""Pruning: a trial with low scores ends early; as any run, it records its best epoch's validation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import lightning as L

from snnlab.experiments.study import PrunableTrial
from snnlab.experiments.workers import TrialAddress

_current: TrialAddress | None = None


@contextmanager
def report_as(trial: TrialAddress | None) -> Iterator[None]:
    """Let the training inside the block report as this trial."""
    global _current
    _current = trial
    try:
        yield
    finally:
        _current = None


class Pruning(L.Callback):
    """Reports each validation to the study and stops if the study says so; outside of a search it does nothing."""

    def __init__(self) -> None:
        self._watching: PrunableTrial | None = None

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Open the study."""
        if _current is not None:
            self._watching = PrunableTrial(_current)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Report the epoch, but not the final validation of the chosen epoch."""
        if _current is not None and self._watching is not None and trainer.state.fn == "fit":
            value = trainer.callback_metrics.get(_current.metric)
            if value is not None and self._watching.should_prune(trainer.current_epoch, float(value)):
                trainer.should_stop = True
