"""A process that runs one trial after another, and ends when nobody is left who would ask for the result."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

_LOOK_S = 0.5
_busy = threading.Event()


def prepare(parent: int) -> None:
    """Get this process ready.

    Signals are for a training, which takes them over while it runs; between trainings they end nothing: Ctrl-C in a
    terminal reaches all processes, and the driver closes its workers.

    Args:
        parent: The driver's process.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _ignore)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def work(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function; a driver that dies meanwhile lets its training stop at a checkpoint."""
    _busy.set()
    try:
        return function(*arguments)
    finally:
        _busy.clear()


def _ignore(number: int, frame: Any) -> None:
    pass


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOK_S)
    while _busy.is_set():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(_LOOK_S)
    os._exit(1)
