"""Signals that end a command raise, as Ctrl-C does, so that what it has begun is cleaned up, and a line is said."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from snnlab.errors import Interrupted

# Beside Ctrl-C: what `kill` and a scheduler send, and what a terminal sends when it is closed or its line breaks.
ENDING = (signal.SIGTERM, signal.SIGHUP)


@contextmanager
def raised_signals() -> Iterator[None]:
    """Let signals that would end this process raise `Interrupted` within.

    One that is ignored, as `nohup` has it, stays ignored. Where one has come, the process takes no further one until it
    is gone: it would disturb what is written, and change the exit status.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, _raise) for number in ENDING if signal.getsignal(number) == signal.SIG_DFL}
    try:
        yield
    finally:
        for number, handler in before.items():
            if signal.getsignal(number) is _raise:
                signal.signal(number, handler)


def end_undisturbed() -> None:
    """Let no further signal raise within `raised_signals`, and no Ctrl-C: one has come, and its record is written."""
    if threading.current_thread() is not threading.main_thread():
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _hear_no_other()


def _hear_no_other() -> None:
    for number in ENDING:
        if signal.getsignal(number) is _raise:
            signal.signal(number, signal.SIG_IGN)


def _raise(number: int, frame: FrameType | None) -> None:
    _hear_no_other()
    raise Interrupted(f"stopped by {signal.Signals(number).name}", number)
