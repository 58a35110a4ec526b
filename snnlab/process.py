"""A process and its system: streams, signals, working folder, address space."""

from __future__ import annotations

import atexit
import codecs
import errno
import gc
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
from snnlab.printable import printable

if sys.platform != "win32":
    import resource

# Messages of loaders that have no memory left for a library.
_NO_MEMORY = ("failed to map segment", "could not find/load shared object", "cannot allocate memory", "can't allocate")
# Message of `Path.expanduser`.
_NO_HOME = "Could not determine home directory."
# New objects after which a program that starts looks for garbage; Python has 700 or 2,000.
_OBJECTS_OF_A_START = 100_000
# The number before `collect_rarely`, until `collect_as_usual` takes it.
_USUAL_THRESHOLD: list[int] = []


def working_folder_problem() -> str | None:
    """Return a message if the working folder was deleted, which makes PyTorch crash, else None."""
    try:
        os.getcwd()
    except FileNotFoundError:
        return "the working folder was deleted; cd to another one"
    return None


def numba_problem() -> str | None:
    """Return a message if numba would end this process because of a variable of the environment, else None."""
    threads = os.environ.get("NUMBA_NUM_THREADS", "1")
    if not threads.strip().isdecimal() or not int(threads):
        return f"NUMBA_NUM_THREADS={threads}: expected a whole number above 0; set another one, or unset it"
    features = os.environ.get("NUMBA_CPU_FEATURES", "")
    if not all(part[:1] in ("+", "-") for part in features.split(",") if part):
        return f"NUMBA_CPU_FEATURES={features}: each feature begins with + or -; set others, or unset it"
    return None


def environment_problem(error: Exception) -> str | None:
    """Return a message if the environment of the process caused an error (home folder, `ulimit -v`), else None."""
    if isinstance(error, RuntimeError) and str(error) == _NO_HOME:
        user = next((found[0] for word in sys.argv if (found := re.search(r"~[^/=]+", word))), "~")
        return f"{user}: this user has no home folder; write the path in full"
    if isinstance(error, RuntimeError) and "NUMBA_" in str(error):
        return str(error)  # it names a variable of the environment and its value
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    no_memory = isinstance(error, MemoryError) or any(message in str(error).lower() for message in _NO_MEMORY)
    if no_memory and limit != resource.RLIM_INFINITY:
        return f"out of memory: the {limit / 1e9:.1f} GB of address space that ulimit -v allows are too little"
    return None


# Signals of `kill` and schedulers, and of a terminal that is closed or disconnected; Ctrl-C is handled by Python.
ENDING_SIGNALS = (signal.SIGTERM, signal.SIGHUP)


@contextmanager
def raise_on_signals() -> Iterator[None]:
    """Make signals that would end this process raise `Interrupted` within the context.

    An ignored signal, as under `nohup`, stays ignored. After the first signal the process ignores further ones until it
    ends: they would interrupt the writing of files, and change the exit status.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {
        number: signal.signal(number, _raise) for number in ENDING_SIGNALS if signal.getsignal(number) == signal.SIG_DFL
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            if signal.getsignal(number) is _raise:
                signal.signal(number, handler)


def ignore_further_signals() -> None:
    """Ignore further signals and Ctrl-C after the first one, while the run folder is written."""
    if threading.current_thread() is not threading.main_thread():
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _ignore_ending_signals()


def _ignore_ending_signals() -> None:
    for number in ENDING_SIGNALS:
        if signal.getsignal(number) is _raise:
            signal.signal(number, signal.SIG_IGN)


def _raise(number: int, frame: FrameType | None) -> None:
    _ignore_ending_signals()
    raise Interrupted(f"stopped by {signal.Signals(number).name}", number)


# Exit status that shells report for a program that a broken pipe has ended.
_BROKEN_PIPE = 141
_ERROR_HANDLER = "snnlab_replaced"


class OutputClosedError(Exception):
    """stdout cannot be written any more; not an OSError, because libraries handle those as their own."""


# Bytes of a file name that is not in UTF-8, which a later command needs; those below 0xa0 are control characters.
_BYTES = "[\udca0-\udcff]+"
_KEPT = re.compile(f"({_BYTES})")
# Packages that draw tables and bars, and what they do it with: colours, a line drawn again, a hidden cursor.
_DRAWING = ("rich", "tqdm", "click", "wandb", "ray")
_KEPT_DRAWING = re.compile(rf"({_BYTES}|\x1b\[[0-9;]*m|\x1b\[[0-9]*[ABCDGK]|\x1b\[\?25[hl]|\r)")


class Output(io.TextIOWrapper):
    """A stream of this process for texts of any origin: names of folders, errors, warnings of any library.

    Characters that a terminal would act on are escaped; only what draws tables and bars may use a few. Errors end no
    training: after the first failed write, all output goes to /dev/null.

    Args:
        stream: Python's own stream.

    Attributes:
        lost: The error of the first write that failed.
        raises: Whether a failed write raises `OutputClosedError`.
    """

    def __init__(self, stream: TextIO) -> None:
        buffered = isinstance(stream, io.TextIOWrapper) and stream.line_buffering
        super().__init__(stream.buffer, stream.encoding, errors=_ERROR_HANDLER, line_buffering=buffered)
        self._stream = stream  # a reference: without it, Python would close the buffer
        self.lost: OSError | None = None
        self.raises = False

    def write(self, text: str) -> int:
        """Write a text, or handle the error; return its length."""
        try:
            caller = sys._getframe().f_back  # None: Python itself, which shows an error that nothing has caught
            super().write(_shown(text, "" if caller is None else caller.f_globals.get("__name__", "")))
            return len(text)
        except OSError as error:
            self._lose(error)
            return len(text)

    def flush(self) -> None:
        """Flush, or handle the error."""
        try:
            super().flush()
        except OSError as error:
            self._lose(error)

    def _lose(self, error: OSError) -> None:
        self.lost = self.lost or error
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, self.fileno())  # the rest of the buffer goes there
        os.close(devnull)
        if self.raises:
            raise OutputClosedError from error


def _shown(text: str, writer: str) -> str:
    """Return a text of a module as a stream shows it."""
    kept = _KEPT_DRAWING if writer.partition(".")[0] in _DRAWING else _KEPT
    return "".join(part if n % 2 else printable(part, "\n\t") for n, part in enumerate(kept.split(text)))


def open_streams() -> None:
    """Open stdin, stdout and stderr of this process where it was started without them."""
    codecs.register_error(_ERROR_HANDLER, _replace)
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:  # closed: the next opened file would get this number
            os.open(os.devnull, os.O_RDWR)
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115  # the streams stay open
    sys.stdout = Output(sys.stdout or open(1, "w", closefd=False))  # noqa: SIM115
    sys.stderr = Output(sys.stderr or open(2, "w", buffering=1, closefd=False))  # noqa: SIM115


@contextmanager
def until_pipe_closes() -> Iterator[None]:
    """End the printing without a message when the reader closes the pipe: `snnlab list layers | head`."""
    out = sys.stdout
    if isinstance(out, Output):
        out.raises = True
    try:
        yield
        out.flush()
    except OutputClosedError:
        pass
    except BrokenPipeError:  # of another stream, in a program that imports snnlab
        os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())  # else Python tries to write again at exit
    finally:
        if isinstance(out, Output):
            out.raises = False


def limit_warning_errors() -> None:
    """Limit `python -W error` to warnings of snnlab: warnings of other packages at their import are not our errors."""
    if any(option.partition(":")[0] == "error" for option in sys.warnoptions):
        warnings.filterwarnings("default", module=r"(?!snnlab(\.|$))")


def collect_rarely() -> None:
    """Let Python look for garbage rarely, until `collect_as_usual`.

    A start imports half a million objects, which all stay: to look at them again and again took a fifth of it.
    """
    threshold, *others = gc.get_threshold()
    _USUAL_THRESHOLD.append(threshold)
    gc.set_threshold(_OBJECTS_OF_A_START, *others)


def collect_as_usual() -> None:
    """End `collect_rarely`: garbage of a training holds much memory. What was imported is never looked at again."""
    if _USUAL_THRESHOLD:
        gc.freeze()
        gc.set_threshold(_USUAL_THRESHOLD.pop(), *gc.get_threshold()[1:])


def exit_at_once(status: int) -> NoReturn:
    """End this process at once, without the interpreter's cleanup, which takes a second.

    Args:
        status: The exit status; 0 becomes 141 (broken pipe) or 2 if not all of stdout was written.
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


def _replace(error: UnicodeError) -> tuple[str | bytes, int]:
    """Replace characters that an encoding lacks: by the original bytes of a file name, or by a question mark."""
    assert isinstance(error, UnicodeEncodeError)
    characters = error.object[error.start : error.end]
    replacement = b"".join(bytes([ord(c) - 0xDC00]) if 0xDC80 <= ord(c) <= 0xDCFF else b"?" for c in characters)
    return replacement, error.end


def available_cpus() -> int:
    """Return the number of CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
