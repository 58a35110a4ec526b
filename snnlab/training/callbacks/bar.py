"""The progress bar of a terminal: one line that follows an epoch through training and validation."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import ProgressBar
from rich.console import Console
from rich.live import Live

from snnlab.training.callbacks.bar_line import Line, Part, training_parts
from snnlab.training.callbacks.timing import Timing
from snnlab.training.module import SpikingModule

REFRESH_S = 0.25
# Before the first validation has been timed: it goes forward only, a third of a training step.
_VAL_PART = 1 / 3


class Bar(ProgressBar):
    """Shows on stderr how far an epoch, the run or an evaluation is.

    It is drawn by the hooks, `REFRESH_S` apart at least: between two drawings a step costs a look at the clock, and
    nothing is fetched from the device. No thread draws, so none can wait for the device or the training for it.

    Args:
        timing: Where samples and seconds are counted; it must be called first.
        console: Where to draw; the default is stderr.
    """

    def __init__(self, timing: Timing, console: Console | None = None) -> None:
        super().__init__()
        self.timing = timing
        self.console = console or Console(stderr=True)
        self._enabled = True
        self._live: Live | None = None
        self._drawn = -math.inf
        self._label, self._trained, self._evaluated, self._total = "", 0, 0, 0.0
        self._samples = self._resumed = 0
        self._val_started = self._val_s = 0.0

    def disable(self) -> None:
        """Draw nothing from now on."""
        self._enabled = False
        self._stop()

    def enable(self) -> None:
        """Draw again, from the next stage on."""
        self._enabled = True

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begin to draw, perhaps in the middle of an epoch that is resumed."""
        self._start()
        self.on_train_epoch_start(trainer, pl_module)
        self._resumed = trainer.fit_loop.batch_idx + 1

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begin the epoch's bar, which its validation is a part of."""
        total = trainer.max_epochs if trainer.max_epochs and trainer.max_epochs > 0 else "?"
        self._resumed = 0
        label = f"epoch {trainer.current_epoch + 1:>{len(str(total))}}/{total}"
        self._samples = self.timing.samples
        self._begin(label, self.total_train_batches + self.total_val_batches)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Go on."""
        self._trained = batch_idx + 1
        self._draw()

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the validation's clock; begin a bar where it is no part of an epoch."""
        self._val_started, self._evaluated = time.perf_counter(), 0
        if trainer.state.fn == "validate":
            self._start()
            self._begin("validation", _batches(trainer.num_val_batches))

    def on_validation_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Go on."""
        if not trainer.sanity_checking:
            self._evaluated += 1
            self._draw()

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Remember how long a validation takes."""
        self._val_s = time.perf_counter() - self._val_started

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begin the test's bar."""
        self._start()
        self._begin("test", _batches(trainer.num_test_batches))

    def on_test_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Go on."""
        self._evaluated += 1
        self._draw()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Take the bar away."""
        self._stop()

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Take the bar away."""
        self._stop()

    def _start(self) -> None:
        if self._enabled:
            to_terminal = sys.stdout.isatty()
            self._live = Live(
                console=self.console,
                auto_refresh=False,
                transient=True,
                redirect_stdout=to_terminal,
                get_renderable=self._line,
            )
            self._with_terminal(self._live.start)

    def _stop(self) -> None:
        live, self._live = self._live, None
        if live is not None:
            self._trained = 0  # the epoch's figures are collected and gone
            self._with_terminal(live.stop)

    def _begin(self, label: str, total: float) -> None:
        self._label, self._total, self._trained, self._evaluated = label, total, 0, 0
        self._draw(now=True)

    def _draw(self, *, now: bool = False) -> None:
        if self._live is not None and (now or time.perf_counter() - self._drawn >= REFRESH_S):
            self._with_terminal(self._live.refresh)
            self._drawn = time.perf_counter()

    def _with_terminal(self, draw: Callable[[], None]) -> None:
        """Draw; a terminal that was closed takes nothing any more, and the training goes on without it."""
        try:
            draw()
        except OSError:
            self.disable()

    def _line(self) -> Line:
        done = self._trained + self._evaluated
        return Line(self._label, done, self._total, self._training() if self._trained else [])

    def _training(self) -> list[Part]:
        module, seconds = self.trainer.lightning_module, self.timing.epoch_s
        values = module.so_far() if isinstance(module, SpikingModule) else {}
        speed = (self.timing.samples - self._samples) / seconds if seconds else 0.0
        return training_parts(values, speed, *self._left(seconds / (self._trained - self._resumed)))

    def _left(self, batch_s: float) -> tuple[float, float]:
        """Return the seconds left of the epoch and of the run, for batches that take `batch_s`."""
        trainer, batches, val_batches = self.trainer, self.total_train_batches, self.total_val_batches
        val_s = self._val_s or val_batches * batch_s * _VAL_PART
        validated = self._evaluated / val_batches if val_batches else 1.0
        epoch = max(batches - self._trained, 0) * batch_s + max(1.0 - validated, 0.0) * val_s
        run = math.inf
        if trainer.max_epochs is not None and trainer.max_epochs > 0:
            run = epoch + (trainer.max_epochs - trainer.current_epoch - 1) * (batches * batch_s + val_s)
        if trainer.max_steps > 0:
            run = min(run, (trainer.max_steps - trainer.global_step) * batch_s)
        return epoch, run


def _batches(of_loaders: float | Sequence[float]) -> float:
    return sum(of_loaders) if isinstance(of_loaders, Sequence) else of_loaders
