"""What the console shows while a network trains: a bar on a terminal, a line an epoch elsewhere."""

from __future__ import annotations

import logging
import sys
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Checkpoint, RichProgressBar

from snnlab.training.callbacks.timing import Timing

_log = logging.getLogger(__name__)

_SHOWN = (
    ("train/loss", "train loss", "{:.3f}".format),
    ("train/accuracy", "accuracy", "{:.1%}".format),
    ("val/loss", "| val loss", "{:.3f}".format),
    ("val/accuracy", "accuracy", "{:.1%}".format),
    ("val/spikes_per_sample", "spikes a sample", "{:,.0f}".format),
)


class EpochLines(Checkpoint):
    """Says after each epoch what it brought; the line goes to the run's log too.

    A Checkpoint only because Lightning calls those last, when the module has logged its epoch.

    Args:
        timing: Where the epoch's seconds are measured.
    """

    def __init__(self, timing: Timing) -> None:
        self.timing = timing
        self._samples = 0

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Remember how far the count of samples was."""
        self._samples = self.timing.samples

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Say the epoch's line."""
        values = trainer.callback_metrics
        shown = [f"{label} {form(float(values[name]))}" for name, label, form in _SHOWN if name in values]
        total = trainer.max_epochs if trainer.max_epochs and trainer.max_epochs > 0 else "?"
        speed = (self.timing.samples - self._samples) / self.timing.epoch_s if self.timing.epoch_s else 0.0
        head = f"epoch {trainer.current_epoch + 1:>{len(str(total))}}/{total}"
        _log.info("%s  %s  %.1f s, %.0f samples/s", head, "  ".join(shown), self.timing.epoch_s, speed)


class ProgressBar(RichProgressBar):
    """Lightning's bar on stderr, without the version number of a logger."""

    def __init__(self) -> None:
        super().__init__(leave=False, console_kwargs={"stderr": True})

    def get_metrics(self, trainer: L.Trainer, pl_module: L.LightningModule) -> dict[str, Any]:
        """Return what stands behind the bar."""
        values = super().get_metrics(trainer, pl_module)
        values.pop("v_num", None)
        return values


def console_callbacks(timing: Timing) -> list[L.Callback]:
    """Return the callbacks that tell the user how the training goes."""
    lines = EpochLines(timing)
    return [ProgressBar(), lines] if sys.stderr.isatty() else [lines]
