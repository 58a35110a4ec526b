"""Progress of a training on the console: bar, one line per epoch, time and memory."""

from __future__ import annotations

import logging
import math
import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import ProgressBar
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from snnlab.console import draws_bars
from snnlab.training.distributed import size_of
from snnlab.training.module import EpochCallback, SpikingModule

_log = logging.getLogger(__name__)

_BYTES_PER_RSS_UNIT = 1 if sys.platform == "darwin" else 1024


class Timing(L.Callback):
    """Measures time, samples and memory of a training.

    Args:
        started: `time.perf_counter()` when the command began.
    """

    state_key = "timing"  # type: ignore[assignment]

    def __init__(self, started: float) -> None:
        self.started = started
        self.first_step_s: float | None = None
        self.fit_s = 0.0
        self.before_s = 0.0
        self.samples = 0
        self.training_s = 0.0
        self.epoch_s = 0.0
        self._fit_started = self._epoch_started = 0.0

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._fit_started = time.perf_counter()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock of a resumed epoch: Lightning calls no `on_train_epoch_start` for it."""
        self.on_train_epoch_start(trainer, pl_module)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the epoch's clock."""
        self._epoch_started, self.epoch_s = time.perf_counter(), 0.0

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the batches of all processes, and the time until their end, so that validation does not count."""
        now = time.perf_counter()
        if self.first_step_s is None:
            self.first_step_s = now - self.started
        self.samples += size_of(trainer, batch_idx, batch.lengths.numel()).total
        before, self.epoch_s = self.epoch_s, now - self._epoch_started
        self.training_s += self.epoch_s - before

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.fit_s = time.perf_counter() - self._fit_started

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Stop the clock of an interrupted training; a finished one keeps its time."""
        if self._fit_started and not self.fit_s:
            self.on_fit_end(trainer, pl_module)

    def state_dict(self) -> dict[str, Any]:
        """Return the running time and number of samples of the training."""
        elapsed = time.perf_counter() - self._fit_started
        return {"fit_s": self.before_s + elapsed, "samples": self.samples, "training_s": self.training_s}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.before_s, self.samples = state_dict["fit_s"], state_dict["samples"]
        self.training_s = state_dict["training_s"]

    def summary(self) -> dict[str, float | None]:
        """Return the section `timing` of a result: seconds, samples per second, peak memory in MB."""
        peak_rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _BYTES_PER_RSS_UNIT
        device = torch.cuda.max_memory_allocated() / 1e6 if torch.cuda.is_available() else None
        return {
            "fit_s": self.before_s + self.fit_s,
            "samples_per_s": self.samples / self.training_s if self.training_s else None,
            "first_step_s": self.first_step_s,
            "peak_rss_mb": peak_rss / 1e6,
            "peak_device_mb": device,
        }


REFRESH_S = 0.25
# A validation batch has no backward pass: a third of the time of a training step.
_VAL_COST = 1 / 3
_MIN_WIDTH, _MAX_WIDTH = 8, 40  # the bar itself


class Bar(ProgressBar):
    """Shows the progress of an epoch, the run or an evaluation on stderr, as a bar of rich.

    Lightning's rich bar has one row each for epoch, training and validation, a thread that draws, and values of each
    step, which synchronize a GPU. This bar is drawn by the hooks, at most every `REFRESH_S` seconds: between two
    drawings a step only reads the clock.

    Args:
        timing: The callback that counts samples and seconds; it must run first.
        console: Console to draw on; default stderr.
    """

    def __init__(self, timing: Timing, console: Console | None = None) -> None:
        super().__init__()
        self.timing, self.console = timing, console or Console(stderr=True)
        self._enabled, self._training = True, False
        self._progress: Progress | None = None
        self._bar = BarColumn()
        self._task, self._drawn = TaskID(0), -math.inf
        self._samples, self._done, self._resumed = 0, 0.0, 0.0

    def disable(self) -> None:
        """Draw nothing from now on."""
        self._enabled = False
        self._stop()

    def enable(self) -> None:
        """Draw again, starting with the next stage."""
        self._enabled = True

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start to draw, perhaps within a resumed epoch."""
        self._start()
        self.on_train_epoch_start(trainer, pl_module)
        self._done = self._resumed = trainer.fit_loop.batch_idx + 1.0

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the bar of the epoch and its validation."""
        total = trainer.max_epochs if trainer.max_epochs and trainer.max_epochs > 0 else "?"
        self._samples = self.timing.samples
        self._begin(f"epoch {trainer.current_epoch + 1:>{len(str(total))}}/{total}", self._epoch_length())

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._training = True
        self._advance(1.0)

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start a bar if the validation is not part of an epoch."""
        if trainer.state.fn == "validate":
            self._start()
            self._begin("validation", _VAL_COST * _num_batches(trainer.num_val_batches))

    def on_validation_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        if not trainer.sanity_checking:
            self._advance(_VAL_COST)

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the bar of the test."""
        self._start()
        self._begin("test", _VAL_COST * _num_batches(trainer.num_test_batches))

    def on_test_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        self._advance(_VAL_COST)

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        self._stop()

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        self._stop()

    def _start(self) -> None:
        if not self._enabled:
            return
        self._progress = Progress(
            TextColumn("{task.description}"),
            self._bar,
            TextColumn("{task.fields[text]}"),
            console=self.console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=sys.stdout.isatty(),
        )
        self._task = self._progress.add_task("", total=None, text="", visible=False)
        self._with_terminal(self._progress.start)

    def _stop(self) -> None:
        progress, self._progress = self._progress, None
        if progress is not None:
            progress.update(self._task, completed=self._done, text="")  # the epoch's metrics are already reset
            self._with_terminal(progress.stop)

    def _begin(self, label: str, total: float) -> None:
        self._done, self._resumed, self._training = 0.0, 0.0, False
        if self._progress is not None:
            known = total if math.isfinite(total) else None
            self._progress.update(self._task, description=label, total=known, text="", visible=True)
            self._draw()

    def _advance(self, done: float) -> None:
        self._done += done
        if time.perf_counter() - self._drawn >= REFRESH_S:
            self._draw()

    def _draw(self) -> None:
        if self._progress is None:
            return
        max_length = self.console.width - len(self._progress.tasks[0].description) - _MIN_WIDTH - 2
        text = first_fitting(self._texts(), max_length) if self._training else ""
        width = max(min(max_length - len(text) + _MIN_WIDTH, _MAX_WIDTH), 1)
        self._bar.bar_width = width
        self._progress.update(self._task, completed=self._done, text=text)
        self._with_terminal(self._progress.refresh)
        self._drawn = time.perf_counter()

    def _with_terminal(self, draw: Callable[[], None]) -> None:
        """Draw; if the terminal is closed, training continues without a bar."""
        try:
            draw()
        except OSError:
            self._enabled, self._progress = False, None

    def _texts(self) -> list[str]:
        module, seconds = self.trainer.lightning_module, self.timing.epoch_s
        values = module.running_values() if isinstance(module, SpikingModule) else {}
        speed = (self.timing.samples - self._samples) / seconds if seconds else 0.0
        return progress_texts(values, speed, *self._seconds_left(seconds))

    def _epoch_length(self) -> float:
        """Return the length of an epoch and its validation, in training steps."""
        return self.total_train_batches + _VAL_COST * self.total_val_batches

    def _seconds_left(self, seconds: float) -> tuple[float, float]:
        """Return the remaining seconds of the epoch and of the run; `seconds`: training time of this epoch."""
        trainer, whole = self.trainer, self._epoch_length()
        each = seconds / max(min(self._done, self.total_train_batches) - self._resumed, 1.0)
        epoch, run = max(whole - self._done, 0.0) * each, math.inf
        if trainer.max_epochs is not None and trainer.max_epochs > 0:
            run = epoch + (trainer.max_epochs - trainer.current_epoch - 1) * whole * each
        if trainer.max_steps > 0:
            run = min(run, (trainer.max_steps - trainer.global_step) * each)
        return epoch, run


def progress_texts(values: Mapping[str, float], speed: float, epoch_left: float, run_left: float) -> list[str]:
    """Return the progress as text, from the longest version to the shortest.

    Args:
        values: Running means of the epoch: loss, accuracy or mae, spikes_per_sample, where they exist.
        speed: Samples per second.
        epoch_left: Seconds until the end of the epoch, with its validation.
        run_left: Seconds until the end of the last epoch; infinite where it is unknown.
    """
    epoch, run = _duration_text(epoch_left), _duration_text(run_left)
    formats = {
        "loss": ("loss {:.3f}", "loss {:.3f}"),
        "accuracy": ("accuracy {:.1%}", "{:.1%}"),
        "mae": ("mean error {:.3g}", "error {:.3g}"),
    }
    long, short = ([formats[name][i].format(values[name]) for name in formats if name in values] for i in (0, 1))
    left = f"{epoch}/{run} left"
    spikes = values.get("spikes_per_sample")
    long += [] if spikes is None else [f"{spikes:,.0f} spikes a sample"]
    brief = [] if spikes is None else [f"{_short_number(spikes)} spikes"]
    versions = (
        [*long, f"{speed:,.0f} samples/s", f"{epoch} left, run {run}"],
        [*short, *brief, f"{_short_number(speed)}/s", left],
        [*short, f"{_short_number(speed)}/s", left],
        [*short, left],
        [*short[:1], left],
        [left],
    )
    return ["  ".join(row) for row in versions]


def first_fitting(texts: Sequence[str], max_length: int) -> str:
    """Return the first text of at most `max_length` characters; empty if there is none."""
    return next((text for text in texts if len(text) <= max_length), "")


def _num_batches(per_loader: float | Sequence[float]) -> float:
    return sum(per_loader) if isinstance(per_loader, Sequence) else per_loader


def _short_number(number: float) -> str:
    return f"{number:.0f}" if number < 1000 else f"{number / 1000:.1f}k" if number < 1e6 else f"{number / 1e6:.1f}M"


def _duration_text(seconds: float) -> str:
    if not math.isfinite(seconds):
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


# Metric, label, format, and label on a narrow terminal.
_COLUMNS = (
    ("train/loss", "train loss", "{:.3f}".format, "train"),
    ("train/accuracy", "accuracy", "{:.1%}".format, ""),
    ("train/mae", "mean error", "{:.3g}".format, ""),
    ("val/loss", "| val loss", "{:.3f}".format, "| val"),
    ("val/accuracy", "accuracy", "{:.1%}".format, ""),
    ("val/mae", "mean error", "{:.3g}".format, ""),
    ("val/r2", "R2", "{:.3f}".format, "R2"),
    ("val/spikes_per_sample", "spikes a sample", "{:,.0f}".format, "spikes"),
)


class EpochLines(EpochCallback):
    """Logs one line of results after each epoch, on the console and in the run's log.

    Args:
        timing: The callback that measures the epoch's seconds.
    """

    def __init__(self, timing: Timing) -> None:
        self.timing = timing
        self._samples = 0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start with a resumed epoch; without a bar, log the start, since the first line may take long."""
        self.on_train_epoch_start(trainer, pl_module)
        if not draws_bars():
            _log.info("training: %s epochs, %s batches each", _epochs(trainer), trainer.num_training_batches)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Store the number of samples at the start of the epoch."""
        self._samples = self.timing.samples

    def on_epoch_logged(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log the epoch's line."""
        values = trainer.callback_metrics
        shown = [(label, form(float(values[name])), brief) for name, label, form, brief in _COLUMNS if name in values]
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
    """Return the number of epochs, `?` if it is not limited."""
    return trainer.max_epochs if trainer.max_epochs and trainer.max_epochs > 0 else "?"


def console_callbacks(timing: Timing, *, bar: bool = True) -> list[L.Callback]:
    """Return the callbacks that show the progress of a training.

    Args:
        timing: The callback that counts samples and seconds.
        bar: Whether to draw a bar if stderr is a terminal.
    """
    return [*(bar_callbacks(timing) if bar else ()), EpochLines(timing)]


def bar_callbacks(timing: Timing) -> list[L.Callback]:
    """Return the callback that draws a bar, if stderr is a terminal."""
    return [Bar(timing)] if draws_bars() else []
