"""Ctrl-C, SIGTERM, SIGHUP and a cluster's signal end a training between two batches, after a checkpoint."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Checkpoint

from snnlab.training.processes.team import largest
from snnlab.training.resuming.snapshots import Snapshots


class StoppedError(Exception):
    """A signal ended the training; its checkpoint is made, but for a stop in a validation.

    Args:
        signum: The signal.
        repeats: What will be trained again, in words; nothing where the checkpoint is made.
    """

    def __init__(self, signum: signal.Signals, repeats: str = "") -> None:
        super().__init__(signum.name)
        self.signum, self.repeats = signum, repeats


def stop_signals() -> tuple[signal.Signals, ...]:
    """Return the signals that end a training; in a job of SLURM also the one that it may send before its time is up.

    A terminal that is closed sends SIGHUP, of which `nohup` wants nobody to hear.
    """
    of_cluster = (signal.SIGUSR1,) if "SLURM_JOB_ID" in os.environ else ()
    of_terminal = () if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN else (signal.SIGHUP,)
    return (signal.SIGINT, signal.SIGTERM, *of_terminal, *of_cluster)


class StopAtOnce(L.Callback):
    """Ends an evaluation of several processes on SIGTERM: Lightning would let the first wait for all others."""

    def __init__(self) -> None:
        self._before: Any = None

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Listen, in place of Lightning."""
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, self._stop)

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)
            self._before = None

    def _stop(self, number: int, frame: FrameType | None) -> None:
        raise StoppedError(signal.Signals(number))


class StopOnSignal(Checkpoint):
    """Ends the training at the first place where it can be saved; a second Ctrl-C ends it at once.

    A Checkpoint only because Lightning calls those last: it must come after the checkpoints.

    Args:
        snapshots: What saves.
    """

    def __init__(self, snapshots: Snapshots) -> None:
        self.snapshots = snapshots
        self.received: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Listen, in place of Lightning."""
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._receive) for number in stop_signals()}

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Save and stop, if a signal came to any of the processes."""
        if (received := self._agreed()) is not None and self.snapshots.possible:
            if self.snapshots.saved != (trainer.current_epoch, batch_idx):
                self.snapshots.save(trainer)
            raise StoppedError(received)

    def on_validation_batch_start(
        self, trainer: L.Trainer, pl_module: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Stop in a validation: what was trained since the last checkpoint is trained again.

        Raises:
            StoppedError: if a signal came.
        """
        if (received := self._agreed()) is not None:
            saved = self.snapshots.saved
            since = "the last checkpoint" if saved is None else str(saved)
            raise StoppedError(received, f"a validation was cut short: what was trained since {since} is trained again")

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._restore()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        self._restore()

    def _agreed(self) -> signal.Signals | None:
        """Return the signal that came to one of the processes, to each of which they come at another time."""
        number = largest(self.received or 0)
        return signal.Signals(number) if number else None

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = signal.Signals(number)

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
