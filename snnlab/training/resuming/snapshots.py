"""The checkpoint that a training goes on from, `last.ckpt`: when it is made, and what is in it."""

from __future__ import annotations

import io
import logging
import random
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.loggers import TensorBoardLogger

from snnlab.compat import batches_that_stepped
from snnlab.data.module import EventDataModule
from snnlab.errors import RecordError
from snnlab.files import write_atomically
from snnlab.training.callbacks.selection import Selection
from snnlab.training.checkpoints import read_checkpoint
from snnlab.training.processes.team import gathered, largest
from snnlab.training.resuming.resumption import Position, settle

_log = logging.getLogger(__name__)

FORMAT = 1
NODE = "snnlab"
# Saving may take this part of the time; on a slow disk, or with epochs below a second, checkpoints are rarer for that.
_PART = 0.01


class WholeCheckpoints(TorchCheckpointIO):
    """How Lightning writes and reads checkpoints here."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write a checkpoint beside its place, and rename it when it is whole and on the disk."""
        # torch writing to the file itself would turn a full disk into an error that says nothing of it.
        content = io.BytesIO()
        torch.save(checkpoint, content)
        Path(path).parent.mkdir(parents=True, exist_ok=True)  # as Lightning does: a ModelCheckpoint names any folder
        write_atomically(Path(path), lambda file: file.write(content.getbuffer()))

    def load_checkpoint(self, path: Any, map_location: Any = "cpu", weights_only: bool | None = True) -> dict[str, Any]:
        """Return what is in a checkpoint, see `read_checkpoint`."""
        return read_checkpoint(Path(path))


class Snapshots(Checkpoint):
    """Saves the training as it stands between two batches: at each epoch's end, each so many seconds, and at its end.

    On the way only as often as takes a hundredth of the time.

    Each is made when a batch begins, so that all that the one before it brought is done: steps of schedules,
    validation, logs. It is left out where the sum of gradients is not yet used, or within an epoch right after a
    validation; the next batch does.

    A Checkpoint only because Lightning calls those last.

    Args:
        selection: What keeps the chosen epoch; told of each checkpoint.
        every_s: Seconds between checkpoints within an epoch; None: only between epochs; 0: before each batch.
        identity: What a checkpoint belongs to, and is compared with when it is read.
        resumed: One entry for each time that the run was resumed.

    Attributes:
        possible: Whether the training can be saved before the batch that begins.
        saved: Where it stood when it was last saved.
    """

    def __init__(
        self,
        selection: Selection,
        every_s: float | None,
        identity: Mapping[str, Any],
        resumed: list[dict[str, Any]],
    ) -> None:
        self.selection, self.every_s, self.identity, self.resumed = selection, every_s, dict(identity), resumed
        self.path = selection.last_path
        self.possible = False
        self.saved: Position | None = None
        self._at = Position(0, 0)
        self._over = self._validated = self._tried = False
        self._loaded: dict[str, Any] = {}
        self._of_processes: list[dict[str, Any]] = []
        self._since, self._cost_s = time.perf_counter(), 0.0

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Bring back the metrics that Lightning forgets, and that the training was over, if it was."""
        self._since = time.perf_counter()
        if self._loaded:
            trainer.callback_metrics.update({k: torch.tensor(v) for k, v in self._loaded["metrics"].items()})
            trainer.should_stop = self._loaded["stopped"]

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Bring back the random numbers, and of another process than the first its part of the metrics."""
        if self._loaded:
            set_random_state(self._loaded["random"])
            if trainer.global_rank:
                of_others = self._loaded["metrics_of_processes"]
                pl_module.metrics.load_state_dict(of_others[trainer.global_rank - 1])  # type: ignore[union-attr]

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Remember that the next batch comes right after a validation."""
        self._validated = True

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._at = Position(trainer.current_epoch, batch_idx)
        validated, self._validated = self._validated, False
        self.possible = batch_idx == 0 or (not validated and batch_idx % trainer.accumulate_grad_batches == 0)
        if self.possible and self._due(trainer):
            self.save(trainer)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save the end of the training."""
        self._at, self._over = Position(trainer.current_epoch, 0), True
        self.save(trainer)

    def save(self, trainer: L.Trainer) -> None:
        """Save the training as it stands; all processes have to, and the first one writes."""
        began = time.perf_counter()
        require_finite(trainer.lightning_module, self._at)
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):  # or a kill would lose what it keeps in memory
                logger.experiment.flush()
        self._of_processes = gathered(trainer.lightning_module.metrics.state_dict())  # type: ignore[union-attr]
        trainer.save_checkpoint(self.path, weights_only=False)
        if trainer.is_global_zero:
            self.selection.agreed()
        self.saved, self._since = self._at, time.perf_counter()
        self._cost_s = self._since - began
        if trainer.is_global_zero and not self._tried:
            self._tried = True
            self._try()

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add what Lightning leaves out, and bring its counters to a place between two batches."""
        settle(checkpoint["loops"]["fit_loop"], self._at, counts_steps=trainer.max_steps != -1)
        checkpoint[NODE] = {
            "format": FORMAT,
            **self.identity,
            "epoch": self._at.epoch,
            "batch": self._at.batch,
            "over": self._over,
            "max_epochs": trainer.max_epochs,
            "stopped": self._over and trainer.should_stop,
            "logged_steps": batches_that_stepped(trainer),
            "threads": torch.get_num_threads(),
            "metrics_of_processes": self._of_processes[1:],
            "metrics": {name: float(value) for name, value in trainer.callback_metrics.items()},
            "random": random_state(),
            "resumed": self.resumed,
        }

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Let the recordings begin where the training stood."""
        self._loaded = checkpoint[NODE]
        data = trainer.datamodule  # type: ignore[attr-defined]
        assert isinstance(data, EventDataModule)
        data.begins = Position(self._loaded["epoch"], self._loaded["batch"])

    def _due(self, trainer: L.Trainer) -> bool:
        """Return whether it is time, by the clock of the first process."""
        if self._at == (0, 0) or (self._at.batch and self.every_s is None):
            return False
        return largest(trainer.is_global_zero and self._is_time()) > 0

    def _is_time(self) -> bool:
        since = time.perf_counter() - self._since
        within = self.every_s is not None and since >= self.every_s
        return (self._at.batch == 0 or within) and (self.every_s == 0 or since * _PART >= self._cost_s)

    def _try(self) -> None:
        """Read the first checkpoint back: a callback or a schedule of the user's may keep what cannot be read."""
        try:
            read_checkpoint(self.path)
        except RecordError as error:
            _log.warning("this training could not be resumed: %s", error)


def require_finite(module: L.LightningModule, at: Position) -> None:
    """Raise if a parameter is not finite.

    Raises:
        DivergedError: naming the first.
    """
    from snnlab.training.divergence import DivergedError

    for name, values in module.named_parameters():
        if not torch.isfinite(values).all():
            raise DivergedError(f"{name.removeprefix('network.')} is no longer finite in {at}")


def random_state() -> dict[str, Any]:
    """Return the states of Python's, NumPy's and torch's generators, those of the GPUs too."""
    version, numbers, gauss = random.getstate()
    state = np.random.get_state(legacy=False)
    assert isinstance(state, dict)
    return {
        "python": [version, list(numbers), gauss],
        "numpy": {**state, "state": {"key": state["state"]["key"].tolist(), "pos": int(state["state"]["pos"])}},
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Bring all generators back to where `random_state` saw them; those of GPUs where there are as many."""
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))
    of_numpy = state["numpy"]
    key = np.array(of_numpy["state"]["key"], np.uint32)
    np.random.set_state({**of_numpy, "state": {"key": key, "pos": of_numpy["state"]["pos"]}})
    torch.set_rng_state(state["torch"].cpu())
    if torch.cuda.is_available() and torch.cuda.device_count() == len(state["cuda"]):
        torch.cuda.set_rng_state_all([one.cpu() for one in state["cuda"]])
