"""Reads files whose library crashes on damaged ones, one after the other, in a process of its own.

scipy's reader of .mat accesses memory that is not its own: no code of the same process survives that. The process is
started at the first such file, ends with the one that asks, and is started again after a file that has killed it.
"""

from __future__ import annotations

import atexit
import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO

import numpy as np

from snnlab.errors import DataError, MissingPackageError, one_line
from snnlab.files import open_regular

Columns = dict[str, np.ndarray]

# Time for any file, and for each MB of it, s.
_SECONDS, _SECONDS_PER_MB = 60, 1
_AGAIN = "fetch the file again, or remove it"
_process: subprocess.Popen[bytes] | None = None


def read_apart(path: Path, form: str) -> Columns:
    """Return the columns of a file, read in another process.

    Args:
        path: The file.
        form: Its format, a key of `_READERS`.

    Raises:
        DataError: if it is damaged.
        OSError: if it cannot be opened.
    """
    with open_regular(path):
        limit = _SECONDS + _SECONDS_PER_MB * path.stat().st_size // 10**6
    process = _start()
    assert process.stdin is not None
    assert process.stdout is not None
    timer = threading.Timer(limit, process.kill)
    timer.start()
    try:
        process.stdin.write(json.dumps([form, str(path.resolve())]).encode() + b"\n")
        process.stdin.flush()
        answer = _read_answer(process.stdout)
    except BrokenPipeError:  # it was killed since the last file
        answer = None
    except BaseException:  # its next answer would be that to this file
        stop_reading_process()
        raise
    finally:
        timer.cancel()
    if answer is None:
        stop_reading_process()
        raise DataError(path, f"is damaged: the program that reads it crashes, or takes more than {limit} s", _AGAIN)
    error, content = answer
    if error.startswith("ImportError"):
        raise MissingPackageError(path, f"needs a package that cannot be imported ({error})", "install it again")
    if error:
        raise DataError(path, f"cannot be read ({error})", _AGAIN)
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def _start() -> subprocess.Popen[bytes]:
    """Return the process that reads."""
    global _process
    if _process is None:
        # sys.path, not PYTHONPATH: a package may be in a folder that the caller's script has added.
        search = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
        _process = subprocess.Popen(
            [sys.executable, "-P", "-m", "snnlab.data.reading_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": search},
            start_new_session=True,  # the terminal's Ctrl-C is for this process, which then ends the other one
        )
        atexit.register(stop_reading_process)
    return _process


def stop_reading_process() -> None:
    """End the process that reads, if there is one."""
    global _process
    process, _process = _process, None
    atexit.unregister(stop_reading_process)
    if process is not None:
        with process:  # closes its pipes
            process.kill()


def _read_answer(stream: IO[bytes]) -> tuple[str, bytes] | None:
    """Return the error, or an empty text, and the arrays; None if the process has died."""
    head = stream.readline()
    if not head.endswith(b"\n"):
        return None
    error, size = json.loads(head)
    content = stream.read(size)
    return None if len(content) < size else (error, content)


def _read_mat(path: str) -> Columns:
    from scipy.io import loadmat  # takes half a second

    return {name: np.ravel(values) for name, values in loadmat(path).items() if isinstance(values, np.ndarray)}


_READERS: dict[str, Callable[[str], Columns]] = {"mat": _read_mat}


def main() -> None:
    """Read the files that the lines of stdin name, and write their columns, or an error, to stdout."""
    # Libraries that print would write into an answer.
    stdout, sys.stdout = sys.stdout.buffer, sys.stderr
    for line in sys.stdin:
        form, path = json.loads(line)
        content, reason = io.BytesIO(), ""
        try:
            np.savez(content, **_READERS[form](path))  # type: ignore[arg-type]
        except Exception as error:  # of any type, for bytes of any kind; raised as a DataError by the one that asks
            kind = "ImportError" if isinstance(error, ImportError) else type(error).__name__
            content, reason = io.BytesIO(), f"{kind}: {one_line(error)}"
        stdout.write(json.dumps([reason, content.getbuffer().nbytes]).encode() + b"\n" + content.getvalue())
        stdout.flush()


if __name__ == "__main__":
    main()
