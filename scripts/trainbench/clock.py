"""Callbacks that `snnlab train` loads as a plugin: they time each epoch, and its steps in a plain loop."""

from __future__ import annotations

import copy
import json
import time
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Checkpoint

from snnlab.data.events.frames import Batch
from snnlab.seeds import Stream, derived_seed
from snnlab.training.module import SpikingModule
from snnlab.training.progress import Timing

EPOCHS = "epochs.json"


class EpochTimer(Checkpoint):
    """Writes time and accuracy of each epoch next to the run's record.

    It is a Checkpoint only because Lightning calls those last, after the module has logged its epoch.
    """

    def __init__(self) -> None:
        self.epochs: list[dict[str, Any]] = []
        self._started = 0.0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock."""
        self._started = time.perf_counter()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the epoch, with the seconds that the run measured."""
        timing = next(callback for callback in callbacks(trainer) if isinstance(callback, Timing))
        accuracy = trainer.callback_metrics["val/accuracy"].item()
        self.epochs.append(epoch(timing.epoch_s, time.perf_counter() - self._started, accuracy))
        self.add(trainer, pl_module)
        (Path(trainer.default_root_dir) / EPOCHS).write_text(json.dumps(self.epochs))

    def add(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Add further values of an epoch."""


class PlainLoopTimer(EpochTimer):
    """Trains each epoch a second time, in a plain loop on frames in memory."""

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start from the same weights."""
        assert isinstance(pl_module, SpikingModule)
        self.network = copy.deepcopy(pl_module.network)
        self.optimizer = pl_module.make_optimizer(self.network)
        schedule = pl_module.schedule
        self.scheduler = schedule.make(self.optimizer, None) if schedule and schedule.interval == "epoch" else None
        self._step = 0
        super().on_train_start(trainer, pl_module)

    def add(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Train the epoch that the run has just trained, and compare the weights."""
        assert isinstance(pl_module, SpikingModule)
        batches = self._frames(trainer)
        started = time.perf_counter()
        self._train(pl_module, batches)
        self.epochs[-1]["bare_s"] = time.perf_counter() - started
        if self.scheduler is not None:
            self.scheduler.step()
        pairs = zip(self.network.parameters(), pl_module.network.parameters(), strict=True)
        self.epochs[-1]["same_weights"] = all(torch.equal(mine, theirs) for mine, theirs in pairs)

    def _frames(self, trainer: L.Trainer) -> list[Batch]:
        data: Any = trainer.datamodule  # pyright: ignore[reportAttributeAccessIssue]
        loader = data.train_dataloader()
        loader.sampler.set_epoch(trainer.current_epoch)
        frames = [data.on_after_batch_transfer(batch, 0) for batch in loader]
        return [batch._replace(frames=batch.x) for batch in frames]

    def _train(self, module: SpikingModule, batches: list[Batch]) -> None:
        for n, batch in enumerate(batches):
            # As the module does: torch.manual_seed takes half a millisecond more, which is not part of a step.
            torch.default_generator.manual_seed(derived_seed(module.seed, Stream.DROPOUT, self._step, n))
            self.optimizer.zero_grad()
            y, _ = self.network(batch.x, lengths=batch.lengths)
            loss, _ = module.loss(y, batch.targets, batch.lengths, {})
            loss.backward()
            self.optimizer.step()
            self._step += 1


def epoch(train_s: float, elapsed_s: float, val_accuracy: float) -> dict[str, Any]:
    """Return an epoch's record: its training, s; the time since the start with validation, s; its accuracy."""
    return {"train_s": train_s, "elapsed_s": elapsed_s, "val_accuracy": val_accuracy}


def callbacks(trainer: L.Trainer) -> list[L.Callback]:
    """Return a trainer's callbacks."""
    return trainer.callbacks  # pyright: ignore[reportAttributeAccessIssue]
