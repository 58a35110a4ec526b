"""A training stopped from outside: which signal it was, and what its folder keeps."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import lightning as L
from lightning.pytorch.utilities.exceptions import SIGTERMException

from snnlab.errors import Interrupted
from snnlab.training.resuming.stopping import StoppedError


def received_signal(error: BaseException) -> signal.Signals | None:
    """Return the signal that an exception stands for, or None if it is any other trouble.

    While the network trains it is ours. Around that, Lightning turns Ctrl-C into `sys.exit(1)`, and SIGTERM into an
    exit of its own.
    """
    if isinstance(error, StoppedError | Interrupted):
        return signal.Signals(error.signum)
    if isinstance(error, SIGTERMException):
        return signal.SIGTERM
    if isinstance(error, SystemExit) and isinstance(error.__context__, KeyboardInterrupt | Interrupted):
        return received_signal(error.__context__)
    return signal.SIGINT if isinstance(error, KeyboardInterrupt) else None


@contextmanager
def ctrl_c_comes_back() -> Iterator[None]:
    """Let Ctrl-C work again afterwards: Lightning switches it off for good when it shuts down."""
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGINT) is not before:
            signal.signal(signal.SIGINT, before)


def interrupted(
    which: signal.Signals, trainer: L.Trainer, folder: Path, chosen: int | None, repeats: str = ""
) -> Interrupted:
    """Return what the user is told.

    Args:
        chosen: The epoch in `best.ckpt`, from 0; None where there is none.
        repeats: What will be trained again, in words.
    """
    done, total = trainer.current_epoch, trainer.max_epochs
    of = f" of {total}" if total and total > 0 else ""
    if not done:
        kept = "its configuration and its log; no epoch was over"
    elif chosen is None:
        kept = "the last epoch's weights, metrics and log"
    else:
        kept = f"the weights of the last epoch and of the best (epoch {chosen + 1}), metrics and log"
    words = f"interrupted after {done}{of} epochs, nothing was tested; {folder} keeps {kept}"
    words += f"\n  {repeats}" if repeats else ""
    words += f"\n  snnlab train resume={folder} goes on"
    return Interrupted(words, which)
