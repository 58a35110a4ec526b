"""What the console shows while a network trains: a bar on a terminal, a line an epoch elsewhere."""

from __future__ import annotations

import logging

import lightning as L
from lightning.pytorch.callbacks import Checkpoint

from snnlab.console import draws_bars
from snnlab.training.callbacks.bar import Bar
from snnlab.training.callbacks.timing import Timing

_log = logging.getLogger(__name__)

# Where it is logged, how it is called, how it is written, and how it is called on a narrow terminal.
_SHOWN = (
    ("train/loss", "train loss", "{:.3f}".format, "train"),
    ("train/accuracy", "accuracy", "{:.1%}".format, ""),
    ("train/mae", "mean error", "{:.3g}".format, ""),
    ("val/loss", "| val loss", "{:.3f}".format, "| val"),
    ("val/accuracy", "accuracy", "{:.1%}".format, ""),
    ("val/mae", "mean error", "{:.3g}".format, ""),
    ("val/r2", "R2", "{:.3f}".format, "R2"),
    ("val/spikes_per_sample", "spikes a sample", "{:,.0f}".format, "spikes"),
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

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begin with an epoch that is resumed; where no bar is drawn, say that it begins: its line may take long."""
        self.on_train_epoch_start(trainer, pl_module)
        if not draws_bars():
            _log.info("training: %s epochs, %s batches each", _epochs(trainer), trainer.num_training_batches)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Remember how far the count of samples was."""
        self._samples = self.timing.samples

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Say the epoch's line."""
        values = trainer.callback_metrics
        shown = [(label, form(float(values[name])), brief) for name, label, form, brief in _SHOWN if name in values]
        total = _epochs(trainer)
        speed = (self.timing.samples - self._samples) / self.timing.epoch_s if self.timing.epoch_s else 0.0
        head = f"epoch {trainer.current_epoch + 1:>{len(str(total))}}/{total}"
        tail = f"{self.timing.epoch_s:.1f} s, {speed:.0f} samples/s"
        line = "  ".join([head, *(f"{label} {text}" for label, text, _ in shown), tail])
        short = " ".join(
            [head, *(f"{brief} {text}".strip() for _, text, brief in shown), f"| {self.timing.epoch_s:.0f} s"]
        )
        _log.info(line, extra={"short": short})


def _epochs(trainer: L.Trainer) -> int | str:
    """Return how many epochs are trained, `?` where that is open."""
    return trainer.max_epochs if trainer.max_epochs and trainer.max_epochs > 0 else "?"


def console_callbacks(timing: Timing, *, bar: bool = True) -> list[L.Callback]:
    """Return the callbacks that tell the user how the training goes.

    Args:
        timing: Where samples and seconds are counted.
        bar: Whether a bar is wanted where there is a terminal to draw it on.
    """
    lines = EpochLines(timing)
    return [Bar(timing), lines] if bar and draws_bars() else [lines]
