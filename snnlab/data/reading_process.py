"""Reads what other libraries decode in one process of its own, since damaged files crash some of them."""

from __future__ import annotations

import atexit
import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from snnlab.data.hdf5_files import read_columns
from snnlab.errors import DataError, MissingPackageError, one_line
from snnlab.files import open_regular

Columns = dict[str, np.ndarray]

# Time for any file, and for each MB of it, s.
_SECONDS, _SECONDS_PER_MB = 60, 1
_AGAIN = "fetch the file again, or remove it"


def read_apart(path: Path, form: str) -> Columns:
    """Return the arrays of a file by name; cameras' files have `t`, `x`, `y`, `p`, `size` and `others`.

    Args:
        path: The file.
        form: Its format, a key of `_READERS`.

    Raises:
        DataError: if it is damaged.
        MissingPackageError: if the library that reads it is not installed.
        OSError: if it cannot be opened.
    """
    if form == "camera" and find_spec("faery") is None:
        raise MissingPackageError(path, "needs faery", "pip install 'snnlab-train[formats]'")
    with open_regular(path):
        limit = _SECONDS + _SECONDS_PER_MB * path.stat().st_size // 10**6
    process = _process()
    timer = threading.Timer(limit, process.kill)
    timer.start()
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps([form, str(path.resolve())]).encode() + b"\n")
        process.stdin.flush()
        problem, size, names = json.loads(process.stdout.readline())
        content = process.stdout.read(size)
        if len(content) < size:
            raise EOFError
    except BaseException as error:
        stop_reading_process()  # its next answer would be that to this file
        if isinstance(error, (BrokenPipeError, EOFError, ValueError)):
            problem = f"is damaged: the program that reads it crashes, or takes more than {limit} s"
            raise DataError(path, problem, _AGAIN) from None
        raise
    finally:
        timer.cancel()
    if problem:
        raise DataError(path, f"cannot be read ({problem})", _AGAIN)
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        return dict(zip(names, archive.values(), strict=True))


@cache
def _process() -> subprocess.Popen[bytes]:
    """Return the process that reads; it ends with this one."""
    # sys.path, not PYTHONPATH: a package may be in a folder that the caller's script has added.
    search = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "snnlab.data.reading_process"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": search},
        start_new_session=True,  # the terminal's Ctrl-C is for this process alone
    )
    atexit.register(_end, process)
    return process


def stop_reading_process() -> None:
    """End the process that reads; the next file starts another one."""
    _end(_process())
    _process.cache_clear()


def _end(process: subprocess.Popen[bytes]) -> None:
    with process:  # closes its pipes
        process.kill()


def _read_mat(path: str) -> Columns:
    from scipy.io import loadmat  # takes half a second

    arrays = {name: values for name, values in loadmat(path).items() if isinstance(values, np.ndarray)}
    return {name: values for name, values in arrays.items() if values.dtype.kind in "biufS"}


def _read_camera(path: str) -> Columns:
    import faery  # pyright: ignore[reportMissingImports] # an extra

    if Path(path).suffix.lower() == ".es":
        stream = faery.events_stream_from_file(path, file_type="es")
        packets, size, others = list(stream), stream.dimensions(), 0
    else:
        decoder: Any = faery.aedat.Decoder(path)
        cameras = [track for track in decoder.tracks() if track.data_type == "events"]
        if len(cameras) != 1:
            raise ValueError(f"has the events of {len(cameras)} cameras; DV exports those of one to a file of its own")
        every = [(track.data_type, packet) for track, packet in decoder]
        packets, size = [packet for kind, packet in every if kind == "events"], cameras[0].dimensions
        others = len(every) - len(packets)
    columns = {
        name: np.concatenate([np.empty(0, kind), *(packet[key].astype(kind) for packet in packets)])
        for name, key, kind in (("t", "t", "i8"), ("x", "x", "i2"), ("y", "y", "i2"), ("p", "on", "u1"))
    }
    return columns | {"size": np.array(size), "others": np.array(others)}


_READERS: dict[str, Callable[[str], Columns]] = {"mat": _read_mat, "hdf5": read_columns, "camera": _read_camera}


def main() -> None:
    """Read the files that the lines of stdin name, and write their arrays, or what is wrong, to stdout."""
    stdout, sys.stdout = sys.stdout.buffer, sys.stderr  # libraries that print would write into an answer
    for line in sys.stdin:
        form, path = json.loads(line)
        content, problem, arrays = io.BytesIO(), "", Columns()
        try:
            arrays = _READERS[form](path)
            np.savez(content, *arrays.values())
        except DataError as error:
            problem = f"{error.message}; {error.hint}"
        except Exception as error:  # of any type, for bytes of any kind
            problem = f"{type(error).__name__}: {one_line(error)}"
        head = json.dumps([problem, content.getbuffer().nbytes, list(arrays)])
        stdout.write(head.encode() + b"\n" + content.getvalue())
        stdout.flush()


if __name__ == "__main__":
    main()
