"""Which epoch is kept as the best."""

from __future__ import annotations

import logging
import math
import os
from pathlib import Path
from typing import Any, Literal

import lightning as L
from lightning.pytorch.callbacks import Checkpoint

from snnlab.errors import RecordError
from snnlab.training.checkpoints import read_checkpoint

_log = logging.getLogger(__name__)

Rule = Literal["lowest_val_loss", "best_val_accuracy", "last"]


class Selection(Checkpoint):
    """Keep the weights of the epoch that validation data choose in `best.ckpt`.

    The file and the checkpoint that a training is resumed from are two, and a kill may come between them. The file of
    the epoch that was chosen when that checkpoint was made is kept beside the new one until the next checkpoint.

    Args:
        folder: Where the checkpoints go.
        rule: `lowest_val_loss`; `best_val_accuracy`, ties by loss; or `last`. The earlier of two equal epochs is kept;
            an epoch before the first validation is kept only until that.
    """

    state_key = "selection"  # type: ignore[assignment]

    def __init__(self, folder: Path, rule: Rule) -> None:
        self.best_path, self.last_path = folder / "best.ckpt", folder / "last.ckpt"
        self._before_path = folder / ".best_before.ckpt"
        self.rule = rule
        self.epoch: int | None = None
        self.values: dict[str, float] = {}
        self._key: tuple[float, ...] | None = None

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save the epoch if it is the best."""
        values = {
            name: float(trainer.callback_metrics[name])
            for name in ("val/loss", "val/accuracy")
            if name in trainer.callback_metrics
        }
        key = self._rank(values) if values or self.rule == "last" else None
        if self._key is None or self.rule == "last" or (key is not None and key < self._key):
            self._key, self.values, self.epoch = key, values, trainer.current_epoch
            if trainer.is_global_zero and self.best_path.is_file() and not self._before_path.is_file():
                os.replace(self.best_path, self._before_path)
            trainer.save_checkpoint(self.best_path, weights_only=True)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Say that no epoch could be chosen."""
        if self.rule != "last" and self._key is None:
            _log.warning("no epoch was validated; the last one is the chosen one")

    def agreed(self) -> None:
        """Forget the epoch chosen before: a checkpoint was made that knows the new one."""
        self._before_path.unlink(missing_ok=True)

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Let `best.ckpt` be what the checkpoint says that the training is resumed from.

        Raises:
            RecordError: if that file is lost.
        """
        if not trainer.is_global_zero:
            return
        if self.epoch is None:
            self.best_path.unlink(missing_ok=True)
        elif not self._is_chosen(self.best_path):
            if not self._is_chosen(self._before_path):
                raise RecordError(self.best_path, f"is not of epoch {self.epoch + 1}, which was chosen")
            os.replace(self._before_path, self.best_path)
        self.agreed()

    def _is_chosen(self, path: Path) -> bool:
        return path.is_file() and read_checkpoint(path)["epoch"] == self.epoch

    def state_dict(self) -> dict[str, Any]:
        return {"epoch": self.epoch, "values": self.values, "key": self._key}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        key = state_dict["key"]
        self.epoch, self.values = state_dict["epoch"], state_dict["values"]
        self._key = None if key is None else tuple(key)

    def _rank(self, values: dict[str, float]) -> tuple[float, ...]:
        """Return a key that is smaller for a better epoch; a loss that is not a number is the worst."""
        if self.rule == "last":
            return ()
        loss = values["val/loss"] if math.isfinite(values["val/loss"]) else math.inf
        return (loss,) if self.rule == "lowest_val_loss" else (-values["val/accuracy"], loss)
