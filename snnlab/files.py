"""Files that are there whole or not at all."""

from __future__ import annotations

import json
import os
import re
import secrets
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, BinaryIO

import numpy as np

from snnlab.errors import RecordError

# `.NAME.HOST_PID_RANDOM.writing`: of a long name the beginning, since a file's name has 255 bytes at most.
_BESIDE = re.compile(r"\.(?P<host>[^.]*)_(?P<pid>\d+)_[0-9a-f]{8}\.writing")
_LETTERS = 48
# Whether a process of another machine is alive cannot be seen: what it writes is left alone for so long.
_FOREIGN_S = 24 * 3600.0


def write_atomically(path: Path, write: Callable[[BinaryIO], Any]) -> None:
    """Write a file beside its place and rename it when it is whole.

    The name beside is this process's own, so that two may write the same file at once: the later one's stays. What a
    killed process left of this file is removed.
    """
    beside = beside_of(path)
    try:
        with open(beside, "xb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    _remove_left_behind(path)


def beside_of(path: Path) -> Path:
    """Return a name in the same folder that no other process has, for a file until it is whole."""
    own = f"{_host()}_{os.getpid()}_{secrets.token_hex(4)}"
    return path.with_name(f".{path.name[:_LETTERS]}.{own}.writing")


def _remove_left_behind(path: Path) -> None:
    """Remove what processes that are no more had written of a file."""
    begins = f".{path.name[:_LETTERS]}"
    for name in os.listdir(path.parent):
        found = _BESIDE.fullmatch(name, len(begins)) if name.startswith(begins) else None
        if found and not _is_writing(path.with_name(name), found["host"], int(found["pid"])):
            path.with_name(name).unlink(missing_ok=True)


def _is_writing(beside: Path, host: str, pid: int) -> bool:
    if host != _host():
        try:
            return time.time() - beside.stat().st_mtime < _FOREIGN_S
        except OSError:  # it has its own name by now
            return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    return True


def _host() -> str:
    return re.sub(r"[^\w-]", "-", socket.gethostname())[:64]


def write_text(path: Path, text: str) -> None:
    """Write a text file, UTF-8."""
    write_atomically(path, lambda file: file.write(text.encode()))


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file; NaN and infinity become null, which every reader takes."""
    write_text(path, json_text(value))


def json_text(value: Any) -> str:
    """Return what `write_json` writes."""
    return json.dumps(_finite(value), indent=2, allow_nan=False) + "\n"


def write_npz(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write arrays, compressed."""
    write_atomically(path, lambda file: np.savez_compressed(file, **arrays))  # type: ignore[arg-type]


def unwritable(folder: Path, error: OSError, setting: str = "output_dir") -> RecordError:
    """Return the error for a folder that cannot be written, which a setting names."""
    return RecordError(setting, f"{folder} cannot be written ({error.strerror})", f"set {setting}=FOLDER")


def remove_empty(folder: Path, parents: int) -> None:
    """Remove a folder and so many of its parents, as far as they are empty."""
    for path in (folder, *folder.parents[:parents]):
        if not path.is_dir() or any(path.iterdir()):
            return
        path.rmdir()


def require_writable(folder: Path) -> None:
    """Refuse a folder, which may be there or not yet, that cannot be made or written; nothing is left of the try.

    Raises:
        RecordError: if it cannot.
    """
    if not _is_text(folder):
        raise RecordError("output_dir", f"{folder} has a name that is not in UTF-8", "set output_dir=FOLDER")
    missing = [path for path in (folder, *folder.parents) if not os.path.exists(path)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        there = next(path for path in (folder, *folder.parents) if os.path.exists(path))
        raise unwritable(there, error) from error
    finally:
        for path in missing:
            with suppress(OSError):  # not made, or in use by now
                path.rmdir()


def _is_text(path: Path) -> bool:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
