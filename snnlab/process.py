"""A process and its system: streams, signals, working folder, address space."""

from __future__ import annotations

import atexit
import codecs
import errno
import io
import os
import re
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn, TextIO

from snnlab.errors import Interrupted

if sys.platform != "win32":
    import resource

# What loaders say of a library for which there is no room left, each in its own words.
_NO_ROOM = ("failed to map segment", "could not find/load shared object", "cannot allocate memory", "can't allocate")
# What `Path.expanduser` says.
_NO_HOME = "Could not determine home directory."


def missing_folder() -> str | None:
    """Return in words that the working folder was deleted, which PyTorch does not survive; None where it is there."""
    try:
        os.getcwd()
    except FileNotFoundError:
        return "the working folder is gone; cd to another one"
    return None


def explained(error: Exception) -> str | None:
    """Return in words that an error comes from what the process was given, or None where it does not."""
    if isinstance(error, RuntimeError) and str(error) == _NO_HOME:
        user = next((found[0] for word in sys.argv if (found := re.search(r"~[^/=]+", word))), "~")
        return f"{user}: there is no such user's home; write the path in full"
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    short = isinstance(error, MemoryError) or any(words in str(error).lower() for words in _NO_ROOM)
    if short and limit != resource.RLIM_INFINITY:
        return f"out of memory: {limit / 1e9:.1f} GB of addresses, which is all that ulimit -v gives, are too little"
    return None


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


# What shells say of a program that a broken pipe has ended.
_BROKEN_PIPE = 141
_REPLACED = "snnlab_replaced"


class OutputLostError(Exception):
    """Nobody takes what is written to stdout any more; no OSError, which libraries would take for their own."""


class Output(io.TextIOWrapper):
    """A stream whose trouble ends no training: after a first failed write everything goes nowhere.

    Args:
        stream: The one that Python made.

    Attributes:
        lost: The error of the first write that failed.
        raises: Whether a failed write raises `OutputLostError`.
    """

    def __init__(self, stream: TextIO) -> None:
        buffered = isinstance(stream, io.TextIOWrapper) and stream.line_buffering
        super().__init__(stream.buffer, stream.encoding, errors=_REPLACED, line_buffering=buffered)
        self._before = stream  # else it would close the buffer
        self.lost: OSError | None = None
        self.raises = False

    def write(self, text: str) -> int:
        """Write, or note that it failed."""
        try:
            return super().write(text)
        except OSError as error:
            self._lose(error)
            return len(text)

    def flush(self) -> None:
        """Flush, or note that it failed."""
        try:
            super().flush()
        except OSError as error:
            self._lose(error)

    def _lose(self, error: OSError) -> None:
        self.lost = self.lost or error
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.fileno())  # what is still in its buffer goes there
        os.close(nowhere)
        if self.raises:
            raise OutputLostError from error


def open_streams() -> None:
    """Give this process its three streams, whatever it was started with."""
    codecs.register_error(_REPLACED, _replaced)
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:  # closed: else the next file that is opened would take its place
            os.open(os.devnull, os.O_RDWR)
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115  # they stay open
    sys.stdout = Output(sys.stdout or open(1, "w", closefd=False))  # noqa: SIM115
    sys.stderr = Output(sys.stderr or open(2, "w", buffering=1, closefd=False))  # noqa: SIM115


@contextmanager
def until_nobody_reads() -> Iterator[None]:
    """Print as long as somebody reads: `snnlab list layers | head` ends early, and without a word."""
    out = sys.stdout
    if isinstance(out, Output):
        out.raises = True
    try:
        yield
        out.flush()
    except OutputLostError:
        pass
    except BrokenPipeError:  # of a stream that is not ours, in a program around us
        os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())  # or Python tries once more at its end
    finally:
        if isinstance(out, Output):
            out.raises = False


def spare_other_packages() -> None:
    """Let `python -W error` be for snnlab's own warnings: what others warn of at their import is no mistake of ours."""
    if any(option.partition(":")[0] == "error" for option in sys.warnoptions):
        warnings.filterwarnings("default", module=r"(?!snnlab(\.|$))")


def leave(status: int) -> NoReturn:
    """End this process at once: the interpreter takes a second to give back what the system takes anyway.

    Args:
        status: The exit status; one of 0 becomes that of a broken pipe, or 2, where stdout took not all.
    """
    sys.stdout.flush()
    lost = sys.stdout.lost if isinstance(sys.stdout, Output) else None
    if lost is not None and lost.errno == errno.EPIPE:
        status = status or _BROKEN_PIPE
    elif lost is not None:
        print(f"snnlab: stdout cannot be written: {lost.strerror}", file=sys.stderr)
        status = status or 2
    sys.stderr.flush()
    if any(not thread.daemon for thread in threading.enumerate() if thread is not threading.main_thread()):
        sys.exit(status)  # Python waits for it
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _replaced(error: UnicodeError) -> tuple[str | bytes, int]:
    """Return what is written for characters that an encoding has not: a name's own bytes, or a question mark."""
    assert isinstance(error, UnicodeEncodeError)
    characters = error.object[error.start : error.end]
    byte = b"".join(bytes([ord(one) - 0xDC00]) if 0xDC80 <= ord(one) <= 0xDCFF else b"?" for one in characters)
    return byte, error.end
