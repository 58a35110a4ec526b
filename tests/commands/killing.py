"""A plugin that kills the process at a place of the training that the environment names, and what runs it.

    SNNLAB_TEST_KILL=batch:1:3      when batch 3 of epoch 1 is over, both from 0
                     start:1        when epoch 1 begins
                     end:1          when the batches and the validation of epoch 1 are over
                     validation:1   in the validation of epoch 1
                     saving:5       when the fifth file is written, and not yet in its place
                     over           when the training is over, and nothing tested
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from pathlib import Path
from typing import Any

import lightning as L

from snnlab.record import files

PLACE = "SNNLAB_TEST_KILL"
# The server that the runs are forked from imports these once; none of them computes anything by that.
PRELOADED = ["snnlab.commands.fit", "snnlab.commands.resume", "hydra", "snnlab.data", "tests.commands.killing"]


class Kill(L.Callback):
    """Kills this process at a place."""

    def __init__(self) -> None:
        self.place = os.environ.get(PLACE, "")
        if self.place.startswith("saving:"):
            self._count_files(int(self.place.removeprefix("saving:")))

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._at(f"start:{trainer.current_epoch}")

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
        self._at(f"batch:{trainer.current_epoch}:{args[3]}")

    def on_validation_batch_end(self, trainer: L.Trainer, *args: Any, **kwargs: Any) -> None:
        self._at(f"validation:{trainer.current_epoch}")

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._at(f"end:{trainer.current_epoch}")

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._at("over")

    def _at(self, place: str) -> None:
        if place == self.place:
            kill()

    def _count_files(self, last: int) -> None:
        left = last

        def fsync(number: int) -> None:
            nonlocal left
            left -= 1
            if not left:
                kill()

        files.os.fsync = fsync  # type: ignore[assignment]


def kill() -> None:
    """End this process at once."""
    os.kill(os.getpid(), signal.SIGKILL)


def run(arguments: list[str], log: Path, place: str = "") -> int:
    """Run `snnlab` in a process of its own, with what is slow to import there already; return its exit code."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    process = context.Process(target=_call, args=(arguments, str(log), place, os.getcwd()))
    process.start()
    process.join(120)
    if process.exitcode is None:
        process.kill()
        raise TimeoutError(log.read_text())
    return process.exitcode


def _call(arguments: list[str], log: str, place: str, folder: str) -> None:
    multiprocessing.set_start_method("fork", force=True)  # as in a process that the server is no ancestor of
    os.environ[PLACE] = place
    os.chdir(folder)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", buffering=1, closefd=False)
    sys.argv = ["snnlab", *arguments]
    from snnlab import cli

    sys.exit(cli.main())
