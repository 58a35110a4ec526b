"""Which epoch is kept as the best, and the two checkpoints of a run."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

import lightning as L
from lightning.pytorch.callbacks import Checkpoint

Rule = Literal["lowest_val_loss", "best_val_accuracy", "last"]


class Selection(Checkpoint):
    """Keep the epoch that validation data choose in `best.ckpt`, and the newest in `last.ckpt`.

    Args:
        folder: Where the checkpoints go.
        rule: `lowest_val_loss`; `best_val_accuracy`, ties by loss; or `last`. The earlier of two equal epochs is kept;
            an epoch before the first validation is not chosen.
    """

    def __init__(self, folder: Path, rule: Rule) -> None:
        self.best_path, self.last_path = folder / "best.ckpt", folder / "last.ckpt"
        self.rule = rule
        self.epoch: int | None = None
        self.values: dict[str, float] = {}
        self._key: tuple[float, ...] | None = None

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save the epoch as the newest, and as the best if it is."""
        values = {
            name: float(trainer.callback_metrics[name])
            for name in ("val/loss", "val/accuracy")
            if name in trainer.callback_metrics
        }
        if values or self.rule == "last":
            key = self._rank(values)
            if self._key is None or key < self._key or self.rule == "last":
                self._key, self.values, self.epoch = key, values, trainer.current_epoch
                trainer.save_checkpoint(self.best_path, weights_only=False)
        trainer.save_checkpoint(self.last_path, weights_only=False)

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs."""
        return {"epoch": self.epoch, "values": self.values, "key": self._key}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a checkpoint."""
        key = state_dict["key"]
        self.epoch, self.values = state_dict["epoch"], state_dict["values"]
        self._key = None if key is None else tuple(key)

    def _rank(self, values: dict[str, float]) -> tuple[float, ...]:
        """Return a key that is smaller for a better epoch; a loss that is not a number is the worst."""
        if self.rule == "last":
            return ()
        loss = values["val/loss"] if math.isfinite(values["val/loss"]) else math.inf
        return (loss,) if self.rule == "lowest_val_loss" else (-values["val/accuracy"], loss)
