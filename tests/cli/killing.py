"""A plugin that kills the process at a point of the training that the environment names, and a function that runs it.

SNNLAB_TEST_KILL=batch:1:3      when batch 3 of epoch 1 is over, both from 0
                 start:1        when epoch 1 begins
                 end:1          when the batches and the validation of epoch 1 are over
                 validation:1   in the validation of epoch 1
                 saving:5       when the fifth file is written, before it is moved to its place
                 built          when the trainer is built, before the run has a folder
                 setup          when the trainer is set up, before the first batch
                 over           when the training is over, before the test
                 full:5         no kill: from the fifth file on, the disk is full
                 TERM@batch:1:3 another signal, at this point
SNNLAB_TEST_KILL_RANK=1         the rank of the killed process; default 0
"""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import lightning as L

from snnlab import files

PLACE, RANK = "SNNLAB_TEST_KILL", "SNNLAB_TEST_KILL_RANK"
# The fork server of the runs imports these once; the imports compute nothing.
PRELOADED = ["snnlab.session.fit", "snnlab.session.training", "hydra", "snnlab.data", "tests.cli.killing"]


class Kill(L.Callback):
    """Kills this process at a point of the training."""

    def __init__(self) -> None:
        name, _, self.place = os.environ.get(PLACE, "").rpartition("@")
        self.signal = signal.Signals[f"SIG{name or 'KILL'}"]
        kind, _, last = self.place.partition(":")
        if kind in ("saving", "full"):
            self._count_files(kind, int(last))
        if kind == "built":
            os.kill(os.getpid(), self.signal)

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        self._at(trainer, "setup")

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._at(trainer, f"start:{trainer.current_epoch}")

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._at(trainer, f"batch:{trainer.current_epoch}:{batch_idx}")

    def on_validation_batch_end(self, trainer: L.Trainer, *args: Any, **kwargs: Any) -> None:
        self._at(trainer, f"validation:{trainer.current_epoch}")

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._at(trainer, f"end:{trainer.current_epoch}")

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._at(trainer, "over")

    def _at(self, trainer: L.Trainer, place: str) -> None:
        if place == self.place and trainer.global_rank == int(os.environ.get(RANK, "0")):
            os.kill(os.getpid(), self.signal)

    def _count_files(self, kind: str, last: int) -> None:
        left = last

        def fsync(number: int) -> None:
            nonlocal left
            left -= 1
            if left <= 0 and kind == "full":
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if left <= 0:
                os.kill(os.getpid(), self.signal)

        files.os.fsync = fsync  # type: ignore[assignment]


def run(arguments: list[str], log: Path, place: str = "", **environment: str) -> int:
    """Run `snnlab` in a forked process with its slow imports done; return its exit code."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    process = context.Process(target=_call, args=(arguments, str(log), os.getcwd(), {PLACE: place, **environment}))
    process.start()
    process.join(120)
    if process.exitcode is None:
        process.kill()
        raise TimeoutError(log.read_text())
    return process.exitcode


def _call(arguments: list[str], log: str, folder: str, environment: dict[str, str]) -> None:
    multiprocessing.set_start_method("fork", force=True)  # as in a process that the server is no ancestor of
    os.environ.update(environment)
    os.chdir(folder)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", buffering=1, closefd=False)
    sys.argv = ["snnlab", *arguments]
    # Lightning starts the other ranks of a training as this process seems to have been started: python -m snnlab.
    sys.modules["__main__"] = ModuleType("__main__")
    sys.modules["__main__"].__spec__ = find_spec("snnlab.__main__")
    os.environ["PYTHONPATH"] = str(Path(__file__).parents[2])
    from snnlab.cli import main

    sys.exit(main.main())
