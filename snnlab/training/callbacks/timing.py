"""How long the training took and how much memory it needed."""

from __future__ import annotations

import resource
import sys
import time
from typing import Any

import lightning as L
import torch

from snnlab.training.processes.shares import size_of

_BYTES_PER_RSS_UNIT = 1 if sys.platform == "darwin" else 1024


class Timing(L.Callback):
    """Measures the fit.

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
        """Start the clock of an epoch that is resumed: Lightning does not say that it starts."""
        self.on_train_epoch_start(trainer, pl_module)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the epoch's clock."""
        self._epoch_started, self.epoch_s = time.perf_counter(), 0.0

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the batch, of all processes, and the time until its end, so that validation after it does not count."""
        now = time.perf_counter()
        if self.first_step_s is None:
            self.first_step_s = now - self.started
        self.samples += size_of(trainer, batch_idx, batch.lengths.numel()).of_all
        before, self.epoch_s = self.epoch_s, now - self._epoch_started
        self.training_s += self.epoch_s - before

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.fit_s = time.perf_counter() - self._fit_started

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Stop the clock of a fit that is broken off; one that is over keeps its time."""
        if self._fit_started and not self.fit_s:
            self.on_fit_end(trainer, pl_module)

    def state_dict(self) -> dict[str, Any]:
        """Return how long the training took so far, and what it got through."""
        so_far = time.perf_counter() - self._fit_started
        return {"fit_s": self.before_s + so_far, "samples": self.samples, "training_s": self.training_s}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.before_s, self.samples = state_dict["fit_s"], state_dict["samples"]
        self.training_s = state_dict["training_s"]

    def summary(self) -> dict[str, float | None]:
        """Return the `timing` part of a result: seconds, samples a second, peak memory in MB."""
        peak_rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _BYTES_PER_RSS_UNIT
        device = torch.cuda.max_memory_allocated() / 1e6 if torch.cuda.is_available() else None
        return {
            "fit_s": self.before_s + self.fit_s,
            "samples_per_s": self.samples / self.training_s if self.training_s else None,
            "first_step_s": self.first_step_s,
            "peak_rss_mb": peak_rss / 1e6,
            "peak_device_mb": device,
        }
