"""What the console shows while a network trains: a bar on a terminal, a line an epoch elsewhere."""

from __future__ import annotations

import logging
import sys

import lightning as L
from lightning.pytorch.callbacks import Checkpoint, RichProgressBar

from snnlab.training.callbacks.timing import Timing

_log = logging.getLogger(__name__)

_SHOWN = ("train/loss", "train/accuracy", "val/loss", "val/accuracy", "val/spikes_per_sample")


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
        parts = [f"{name} {float(values[name]):.4g}" for name in _SHOWN if name in values]
        total = trainer.max_epochs if trainer.max_epochs and trainer.max_epochs > 0 else "?"
        speed = (self.timing.samples - self._samples) / self.timing.epoch_s if self.timing.epoch_s else 0.0
        _log.info(
            "epoch %s/%s  %s  %.1f s, %.0f samples/s",
            trainer.current_epoch + 1,
            total,
            "  ".join(parts),
            self.timing.epoch_s,
            speed,
        )


def console_callbacks(timing: Timing) -> list[L.Callback]:
    """Return the callbacks that tell the user how the training goes."""
    lines = EpochLines(timing)
    if not sys.stderr.isatty():
        return [lines]
    return [RichProgressBar(leave=False, console_kwargs={"stderr": True}), lines]
