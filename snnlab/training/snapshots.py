"""Checkpoints of a training: the best epoch, and the last state, from which an interrupted run resumes."""

from __future__ import annotations

import io
import logging
import math
import os
import random
import signal
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any, Literal

import lightning as L
import numpy as np
import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.loggers import TensorBoardLogger

from snnlab.compat import batches_that_stepped
from snnlab.data.data_module import EventDataModule
from snnlab.errors import DivergedError, RunFolderError
from snnlab.files import write_atomically
from snnlab.training.checkpoints import read_checkpoint, weights_hash, write_weights
from snnlab.training.distributed import all_gather, all_reduce_max
from snnlab.training.module import EpochCallback, SpikingModule
from snnlab.training.resuming import Position, align_loop_state

_log = logging.getLogger(__name__)

SelectionRule = Literal["lowest_val_loss", "best_val_accuracy", "last"]


def rank_of_epoch(rule: SelectionRule, values: Mapping[str, float]) -> tuple[float, ...]:
    """Return a key that is smaller for a better epoch; a loss that is not a number is the worst."""
    if rule == "last":
        return ()
    loss = values["val/loss"] if math.isfinite(values["val/loss"]) else math.inf
    return (loss,) if rule == "lowest_val_loss" else (-values["val/accuracy"], loss)


class BestCheckpoint(EpochCallback):
    """Saves the weights of the best epoch, by validation metrics, in `best.ckpt`.

    The process may be killed between writing this file and the checkpoint that the run resumes from. So the previous
    best file is kept until the next checkpoint is written.

    Attributes:
        weights: `weights_hash` of the file, on rank 0.

    Args:
        folder: Folder of the checkpoints.
        rule: `lowest_val_loss`; `best_val_accuracy`, ties by loss; or `last`. The earlier of two equal epochs is kept;
            an epoch without validation only until the first validation.
    """

    state_key = "selection"  # type: ignore[assignment]

    def __init__(self, folder: Path, rule: SelectionRule) -> None:
        self.best_path, self.last_path = folder / "best.ckpt", folder / "last.ckpt"
        self._previous_path = folder / ".best_before.ckpt"
        self.rule: SelectionRule = rule
        self.epoch: int | None = None
        self.values: dict[str, float] = {}
        self.weights: str | None = None
        self._key: tuple[float, ...] | None = None

    def on_epoch_logged(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save the epoch if it is the best."""
        values = {
            name: float(trainer.callback_metrics[name])
            for name in ("val/loss", "val/accuracy")
            if name in trainer.callback_metrics
        }
        key = rank_of_epoch(self.rule, values) if values or self.rule == "last" else None
        if self._key is None or self.rule == "last" or (key is not None and key < self._key):
            self._key, self.values, self.epoch = key, values, trainer.current_epoch
            if trainer.is_global_zero and self.best_path.is_file() and not self._previous_path.is_file():
                os.replace(self.best_path, self._previous_path)
            trainer.save_checkpoint(self.best_path, weights_only=True)
            self.weights = weights_hash(self.best_path) if trainer.is_global_zero else None

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Warn if no epoch was validated."""
        if self.rule != "last" and self._key is None:
            _log.warning("no epoch was validated; best.ckpt is the last one")

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save the initial weights of a training of no epoch."""
        if trainer.max_epochs == 0 and trainer.is_global_zero:
            assert isinstance(pl_module, SpikingModule)
            write_weights(self.best_path, pl_module.network.state_dict())
            self.weights = weights_hash(self.best_path)

    def drop_previous(self) -> None:
        """Delete the previous best file: the latest checkpoint refers to the new one."""
        self._previous_path.unlink(missing_ok=True)

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Make `best.ckpt` agree with the checkpoint that the training resumes from.

        Raises:
            RunFolderError: if the file of that epoch is missing.
        """
        if not trainer.is_global_zero:
            return
        if self.epoch is None:
            self.best_path.unlink(missing_ok=True)
        elif not self._is_chosen(self.best_path):
            if not self._is_chosen(self._previous_path):
                why = f"is not of epoch {self.epoch + 1}, the best one of this run"
                raise RunFolderError(self.best_path, why, "copy this run's own file back")
            os.replace(self._previous_path, self.best_path)
        self.drop_previous()

    def _is_chosen(self, path: Path) -> bool:
        if not path.is_file() or read_checkpoint(path).get("epoch") != self.epoch:
            return False
        return weights_hash(path) == self.weights

    def state_dict(self) -> dict[str, Any]:
        return {"epoch": self.epoch, "values": self.values, "key": self._key, "weights": self.weights}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        key = state_dict["key"]
        self.epoch, self.values = state_dict["epoch"], state_dict["values"]
        self.weights = state_dict["weights"]
        self._key = None if key is None else tuple(key)


FORMAT = 1
NODE = "snnlab"
# Largest fraction of time for saving: a slow disk, or epochs below a second, make checkpoints rarer.
_MAX_TIME_FRACTION = 0.01


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes checkpoints atomically and reads them safely, for Lightning."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write a checkpoint to a temporary file, and rename it when it is complete on the disk."""
        # To memory first: if torch itself writes to a full disk, its error does not say so.
        content = io.BytesIO()
        torch.save(checkpoint, content)
        Path(path).parent.mkdir(parents=True, exist_ok=True)  # as Lightning does: a ModelCheckpoint may use any folder
        write_atomically(Path(path), lambda file: file.write(content.getbuffer()))

    def load_checkpoint(self, path: Any, map_location: Any = "cpu", weights_only: bool | None = True) -> dict[str, Any]:
        """Return the contents of a checkpoint; nothing in the file is executed."""
        return read_checkpoint(Path(path))


class Snapshots(L.Callback):
    """Saves the state of the training between two batches: after each epoch, every `every_s` seconds, and at the end.

    Saving before the end takes at most a hundredth of the time.

    A checkpoint is written when a batch begins, after schedule steps, validation and logs of the batch before. It is
    postponed to a later batch while accumulated gradients are unused, or within an epoch right after a validation.

    The session puts it behind all callbacks whose state it saves.

    Args:
        selection: The callback that keeps the best epoch; `drop_previous` is called after each checkpoint.
        every_s: Seconds between checkpoints within an epoch; None: only between epochs; 0: before each batch.
        identity: Hashes and settings that must be equal when the checkpoint is read.
        resumed: One entry for each time that the run was resumed.
        warnings: Warnings so far; the run adds to them.

    Attributes:
        can_save: Whether the training can be saved before the current batch.
        saved_position: Position of the last checkpoint.
    """

    def __init__(
        self,
        selection: BestCheckpoint,
        every_s: float | None,
        identity: Mapping[str, Any],
        resumed: list[dict[str, Any]],
        warnings: list[str],
    ) -> None:
        self.selection, self.every_s, self.identity = selection, every_s, dict(identity)
        self.resumed, self.warnings = resumed, warnings
        self.path = selection.last_path
        self.can_save = False
        self.saved_position: Position | None = None
        self._position = Position(0, 0)
        self._finished = self._validated = self._verified = False
        self._loaded: dict[str, Any] = {}
        self._metrics_by_rank: list[dict[str, Any]] = []
        self._since, self._cost_s = time.perf_counter(), 0.0

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Restore the metrics that Lightning does not save, and whether the training was finished."""
        self._since = time.perf_counter()
        if self._loaded:
            trainer.callback_metrics.update({k: torch.tensor(v) for k, v in self._loaded["metrics"].items()})
            trainer.should_stop = self._loaded["stopped"]

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Restore the random state, and on ranks above 0 the metrics of this rank."""
        if self._loaded:
            set_random_state(self._loaded["random"])
            if trainer.global_rank:
                of_others = self._loaded["metrics_of_processes"]
                pl_module.metrics.load_state_dict(of_others[trainer.global_rank - 1])  # type: ignore[union-attr]

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Store that a validation precedes the next batch."""
        self._validated = True

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._position = Position(trainer.current_epoch, batch_idx)
        validated, self._validated = self._validated, False
        self.can_save = batch_idx == 0 or (not validated and batch_idx % trainer.accumulate_grad_batches == 0)
        if self.can_save and self._due(trainer):
            self.save(trainer)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save the end of the training."""
        self._position, self._finished = Position(trainer.current_epoch, 0), True
        self.save(trainer)

    def save(self, trainer: L.Trainer) -> None:
        """Save the state of the training; all ranks must call it, and rank 0 writes."""
        began = time.perf_counter()
        module = trainer.lightning_module
        assert isinstance(module, SpikingModule)
        require_finite(module, self._position)
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):  # a kill would lose its buffered events
                logger.experiment.flush()
        self._metrics_by_rank = all_gather(module.metrics.state_dict())
        trainer.save_checkpoint(self.path, weights_only=False)
        if trainer.is_global_zero:
            self.selection.drop_previous()
        self.saved_position, self._since = self._position, time.perf_counter()
        self._cost_s = self._since - began
        if trainer.is_global_zero and not self._verified:
            self._verified = True
            self._verify_readable()

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add the state that Lightning does not save, and set its counters to a position between two batches."""
        align_loop_state(checkpoint["loops"]["fit_loop"], self._position, counts_steps=trainer.max_steps != -1)
        checkpoint[NODE] = {
            "format": FORMAT,
            **self.identity,
            "epoch": self._position.epoch,
            "batch": self._position.batch,
            "over": self._finished,
            "max_epochs": trainer.max_epochs,
            "stopped": self._finished and trainer.should_stop,
            "logged_steps": batches_that_stepped(trainer),
            "threads": torch.get_num_threads(),
            "metrics_of_processes": self._metrics_by_rank[1:],
            "metrics": {name: float(value) for name, value in trainer.callback_metrics.items()},
            "random": random_state(),
            "resumed": self.resumed,
            "warnings": list(self.warnings),
        }

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Set the data to the position of the training."""
        self._loaded = checkpoint[NODE]
        data = trainer.datamodule  # type: ignore[attr-defined]
        assert isinstance(data, EventDataModule)
        data.resume_from = Position(self._loaded["epoch"], self._loaded["batch"])

    def _due(self, trainer: L.Trainer) -> bool:
        """Return whether a checkpoint is due, by the clock of rank 0."""
        if self._position == (0, 0) or (self._position.batch and self.every_s is None):
            return False
        return all_reduce_max(trainer.is_global_zero and self._is_due_here()) > 0

    def _is_due_here(self) -> bool:
        since = time.perf_counter() - self._since
        within = self.every_s is not None and since >= self.every_s
        return (self._position.batch == 0 or within) and (
            self.every_s == 0 or since * _MAX_TIME_FRACTION >= self._cost_s
        )

    def _verify_readable(self) -> None:
        """Read the first checkpoint back: the state of a user-defined callback or schedule may be unreadable."""
        try:
            read_checkpoint(self.path)
        except RunFolderError as error:
            _log.warning("this run cannot be resumed: %s", error)


def require_finite(module: SpikingModule, at: Position) -> None:
    """Require that all parameters are finite.

    Raises:
        DivergedError: naming the first parameter that is not.
    """
    for name, values in module.named_parameters():
        if not torch.isfinite(values).all():
            raise DivergedError(name.removeprefix("network."), f"was no longer finite before {at}", module.rule.remedy)


def random_state() -> dict[str, Any]:
    """Return the states of Python's, NumPy's and torch's random generators, with those of GPUs."""
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
    """Restore all random generators to a `random_state`; those of GPUs only if their number is the same."""
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))
    of_numpy = state["numpy"]
    key = np.array(of_numpy["state"]["key"], np.uint32)
    np.random.set_state({**of_numpy, "state": {"key": key, "pos": of_numpy["state"]["pos"]}})
    torch.set_rng_state(state["torch"].cpu())
    if torch.cuda.is_available() and torch.cuda.device_count() == len(state["cuda"]):
        torch.cuda.set_rng_state_all([one.cpu() for one in state["cuda"]])


class StoppedError(Exception):
    """A signal ended the training; a checkpoint is written, except for a stop in a validation.

    Args:
        signum: The signal.
        repeats: Text about the steps that will be repeated; empty if a checkpoint was written.
    """

    def __init__(self, signum: signal.Signals, repeats: str = "") -> None:
        super().__init__(signum.name)
        self.signum, self.repeats = signum, repeats


def stop_signals() -> tuple[signal.Signals, ...]:
    """Return the signals that end a training; in a SLURM job also SIGUSR1, which may announce its time limit.

    SIGHUP, sent when a terminal closes, is left out under `nohup`, which ignores it.
    """
    of_cluster = (signal.SIGUSR1,) if "SLURM_JOB_ID" in os.environ else ()
    of_terminal = () if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN else (signal.SIGHUP,)
    return (signal.SIGINT, signal.SIGTERM, *of_terminal, *of_cluster)


class StopEvaluationOnSignal(L.Callback):
    """Ends an evaluation of several processes on SIGTERM; in Lightning rank 0 would wait for all others."""

    def __init__(self) -> None:
        self._before: Any = None

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Install the signal handlers in place of Lightning's."""
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, self._stop)

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)
            self._before = None

    def _stop(self, number: int, frame: FrameType | None) -> None:
        raise StoppedError(signal.Signals(number))


class StopOnSignal(L.Callback):
    """Ends the training at the next position that can be saved; a second Ctrl-C ends it at once.

    The session puts it last: it must run after the checkpoints.

    Args:
        snapshots: The callback that saves.
    """

    def __init__(self, snapshots: Snapshots) -> None:
        self.snapshots = snapshots
        self.received: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Install the signal handlers in place of Lightning's."""
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._receive) for number in stop_signals()}

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Save and stop if any rank received a signal."""
        if (received := self._received_by_any()) is not None and self.snapshots.can_save:
            if self.snapshots.saved_position != (trainer.current_epoch, batch_idx):
                self.snapshots.save(trainer)
            raise StoppedError(received)

    def on_validation_batch_start(
        self, trainer: L.Trainer, pl_module: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Stop within a validation: the steps since the last checkpoint will be repeated.

        Raises:
            StoppedError: if a signal was received.
        """
        if (received := self._received_by_any()) is not None:
            saved_position = self.snapshots.saved_position
            since = "the last checkpoint" if saved_position is None else str(saved_position)
            raise StoppedError(received, f"a validation was interrupted: the steps since {since} will be repeated")

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._restore()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        self._restore()

    def _received_by_any(self) -> signal.Signals | None:
        """Return the signal that any rank received; ranks receive signals at different times."""
        number = all_reduce_max(self.received or 0)
        return signal.Signals(number) if number else None

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = signal.Signals(number)

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
