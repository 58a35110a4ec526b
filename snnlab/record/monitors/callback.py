"""The monitors: every so many steps a look at each layer, for all loggers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import lightning as L
from lightning.pytorch.loggers import TensorBoardLogger

from snnlab.diagnosis.vitals import Vitals
from snnlab.events.frames import Batch
from snnlab.nn.neurons.learned import learned
from snnlab.record.monitors.figures import histograms, scalars
from snnlab.record.monitors.look import first_of, look
from snnlab.record.monitors.updates import Update


class Monitors(L.Callback):
    """Looks, every so many steps of the optimizer, at what a few recordings of the batch do in the network.

    Numbers go to all loggers, distributions and pictures to TensorBoard; the names begin with `monitors/`. Where there
    is no logger nothing is done. The training is the same bit for bit with and without them.

    Args:
        every_steps: Steps from one look to the next, the first one before the first step; >= 1.
        recordings: Of the batch, the first ones; all where there are fewer; >= 2, since batch norm in training needs as
            many.
        every_epochs: Epochs from one picture to the next; >= 1.

    Raises:
        ValueError: if a number is out of its range.
    """

    def __init__(self, every_steps: int = 100, recordings: int = 8, every_epochs: int = 4) -> None:
        for name, value, least in (
            ("every_steps", every_steps, 1),
            ("recordings", recordings, 2),
            ("every_epochs", every_epochs, 1),
        ):
            if value < least:
                raise ValueError(f"{name} must be {least} or more, got {value}; monitors=null looks at nothing")
        self.every_steps, self.recordings, self.every_epochs = every_steps, recordings, every_epochs
        self._vitals: Vitals | None = None
        self._looked_at = self._drawn_at = -1
        self._waiting = self._blind = False
        self._update: Update | None = None

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: Any, batch: Batch, batch_idx: int) -> None:
        """Look, if it is time."""
        step = trainer.global_step
        due = step % self.every_steps == 0 and step != self._looked_at
        if not due or self._blind or not trainer.loggers or not trainer.is_global_zero:
            return
        dt = trainer.datamodule.settings.step_ms  # type: ignore[attr-defined]
        self._vitals = look(trainer, pl_module, first_of(batch, self.recordings), dt)
        if self._vitals is None:
            self._blind = True
            return
        self._looked_at, self._waiting = step, True
        _log(trainer, scalars(self._vitals), step)
        for name, histogram in histograms(self._vitals):
            for writer in _tensorboards(trainer):
                writer.add_histogram_raw(f"monitors/{name}", **histogram, global_step=step)
        for each in learned(pl_module.network):
            for writer in _tensorboards(trainer) if each.values.numel() > 1 else ():
                writer.add_histogram(f"monitors/{each.key}/{each.layer}", each.values.cpu(), step)

    def on_before_optimizer_step(self, trainer: L.Trainer, pl_module: Any, optimizer: Any) -> None:
        """Remember the weights and the gradients of the whole batch."""
        if self._waiting:
            self._update, self._waiting = Update(pl_module.network), False

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Say what the step has done to them."""
        if self._update is not None:
            _log(trainer, self._update.scalars(), self._looked_at)
            self._update = None

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Draw, if this epoch is one of the few."""
        if (trainer.current_epoch + 1) % self.every_epochs == 0:
            self._draw(trainer)

    def on_train_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Draw the last look, if that was not done."""
        self._draw(trainer)

    def _draw(self, trainer: L.Trainer) -> None:
        writers = _tensorboards(trainer)
        if self._vitals is None or self._drawn_at == self._looked_at or not writers:
            return
        from snnlab.record.pictures.layers import draw_gradients
        from snnlab.record.pictures.style import default_style, render

        self._drawn_at = self._looked_at
        rows = {layer.name: layer.drive_gradient for layer in self._vitals.layers if layer.drive_gradient}
        if not rows:
            return
        with default_style():
            pixels = render(draw_gradients(rows, self._vitals.dt))
        for writer in writers:
            writer.add_image("monitors/input_gradient", pixels, self._looked_at, dataformats="HWC")


def _log(trainer: L.Trainer, values: Mapping[str, float], step: int) -> None:
    named = {f"monitors/{name}": value for name, value in values.items()}
    for logger in trainer.loggers:
        logger.log_metrics(named, step)


def _tensorboards(trainer: L.Trainer) -> list[Any]:
    return [logger.experiment for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
