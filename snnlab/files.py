"""Files and folders: written whole or not at all; read safely if they are a stranger's; lists that survive removal."""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
import socket
import stat
import time
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from io import BufferedReader
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, BinaryIO
from zipfile import BadZipFile

import numpy as np

from snnlab.errors import RunFolderError, one_line

# `.NAME.HOST_PID_RANDOM.writing`, with the first letters of a long NAME: a file name has 255 bytes at most.
_TEMPORARY = re.compile(r"\.(?P<host>[^.]*)_(?P<pid>\d+)_[0-9a-f]{8}\.writing")
_NAME_LETTERS = 48
# A process of another machine cannot be checked: its temporary file counts as in use for this long, seconds.
_OTHER_HOST_S = 24 * 3600.0


def folders_at(root: Path, depth: int) -> list[Path]:
    """Return the folders `depth` levels below a folder, also through links.

    Folders that vanish meanwhile, or that cannot be read, have no folders below them.

    Raises:
        RunFolderError: if the folder itself cannot be read.
    """
    found = [root]
    for _ in range(depth):
        found = [path for above in found for path in _subfolders(above, above == root)]
    return found


def _subfolders(folder: Path, required: bool) -> list[Path]:
    try:
        return [Path(folder, name) for name in os.listdir(folder) if os.path.isdir(os.path.join(folder, name))]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        if required:
            raise RunFolderError(folder, f"cannot be read ({error.strerror})") from error
        return []


def files_below(folder: Path) -> Iterator[Path]:
    """Yield all files below a folder, not through links to folders; without those of folders that cannot be read."""
    for above, _, names in os.walk(folder):
        yield from (Path(above, name) for name in names)


def open_regular(path: Path) -> BufferedReader:
    """Open a regular file for reading.

    Raises:
        OSError: if it cannot be read, or is something else, such as a FIFO, for whose writer `open` would wait.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    kind = os.fstat(descriptor).st_mode
    if stat.S_ISREG(kind):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    if stat.S_ISDIR(kind):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    raise OSError(errno.EINVAL, "it is not a regular file", str(path))


def read_text(path: Path) -> str:
    """Return the text of a regular file, UTF-8.

    Raises:
        OSError: as `open_regular`.
        UnicodeDecodeError: if it is no UTF-8.
    """
    with open_regular(path) as file:
        return file.read().decode("utf-8")


def write_atomically(path: Path, write: Callable[[BinaryIO], Any]) -> None:
    """Write a temporary file in the same folder and rename it when it is complete.

    The temporary name is unique, so that two processes may write the same file at once: the later one wins. Temporary
    files of this path that killed processes left are removed.
    """
    temporary = _temporary_path(path)
    try:
        with open(temporary, "xb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _remove_stale(path)


def _temporary_path(path: Path) -> Path:
    unique = f"{_host()}_{os.getpid()}_{secrets.token_hex(4)}"
    return path.with_name(f".{path.name[:_NAME_LETTERS]}.{unique}.writing")


def _remove_stale(path: Path) -> None:
    """Remove the temporary files of a path whose processes have ended."""
    prefix = f".{path.name[:_NAME_LETTERS]}"
    for name in os.listdir(path.parent):
        found = _TEMPORARY.fullmatch(name, len(prefix)) if name.startswith(prefix) else None
        if found and not _is_writing(path.with_name(name), found["host"], int(found["pid"])):
            path.with_name(name).unlink(missing_ok=True)


def _is_writing(temporary: Path, host: str, pid: int) -> bool:
    if host != _host():
        try:
            return time.time() - temporary.stat().st_mtime < _OTHER_HOST_S
        except OSError:  # it was renamed meanwhile
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
    """Write a JSON file; NaN and infinity become null, which every reader accepts."""
    write_text(path, json_text(value))


def json_text(value: Any) -> str:
    """Return the text that `write_json` writes."""
    return json.dumps(_finite_or_none(value), indent=2, allow_nan=False) + "\n"


def write_npz(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write arrays to a compressed .npz file."""
    write_atomically(path, lambda file: np.savez_compressed(file, **arrays))  # type: ignore[arg-type]


def load_array(path: Path) -> np.ndarray:
    """Return the array of a `.npy` file; no file can run code.

    Raises:
        OSError: if it cannot be read.
        ValueError: with the reason, in one line, if it holds no array, or is damaged.
    """
    found = _load(path)
    if not isinstance(found, np.ndarray):
        raise ValueError("it is an archive of arrays, whose name ends in .npz")
    return found


def load_arrays(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of an `.npz` file by name; no file can run code.

    Raises:
        OSError: if it cannot be read.
        ValueError: with the reason, in one line, if it holds no arrays, or is damaged.
    """
    found = _load(path)
    if isinstance(found, np.ndarray):
        raise ValueError("it is one array, whose name ends in .npy")
    return found


# The most that zip's usual compression can save.
_MOST_COMPRESSION = 1100


# Errors whose texts are about the file, and not about Python.
_SAY_THE_REASON = (ValueError, EOFError, MemoryError, BadZipFile, zlib.error)


def _load(path: Path) -> np.ndarray | dict[str, np.ndarray]:
    with open_regular(path) as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of headers: Python 2 wrote some in another way, and so does damage
        try:
            found = np.load(file, allow_pickle=False)
            if isinstance(found, np.ndarray):
                return found
            size = sum(part.file_size for part in found.zip.infolist())
            if size > _MOST_COMPRESSION * path.stat().st_size:
                raise ValueError(f"it claims to hold {size:,} bytes")
            return {name: found[name] for name in found.files}
        except OSError:
            raise
        # A damaged header reaches NumPy's tokenizer, parser and dtypes, whose errors are of any type.
        except Exception as error:
            reason = one_line(error) if isinstance(error, _SAY_THE_REASON) else "its header is damaged"
            # NumPy takes unknown files for pickles, and says how to allow these.
            raise ValueError("it holds no array of numbers" if "pickle" in reason else reason) from error


def unwritable(folder: Path, error: OSError, setting: str = "output_dir") -> RunFolderError:
    """Return the error for a folder that cannot be written, with the setting that names the folder."""
    return RunFolderError(setting, f"{folder} cannot be written ({error.strerror})", f"set {setting}=FOLDER")


def remove_empty(folder: Path, parents: int) -> None:
    """Remove a folder and up to `parents` of its parents, as far as they are empty."""
    for path in (folder, *folder.parents[:parents]):
        if not path.is_dir() or any(path.iterdir()):
            return
        path.rmdir()


def require_writable(folder: Path) -> None:
    """Check that a folder can be created and written; the check leaves no file or folder."""
    if not _is_utf8(folder):
        raise RunFolderError("output_dir", f"{folder} has a name that is not in UTF-8", "set output_dir=FOLDER")
    missing = [path for path in (folder, *folder.parents) if not os.path.exists(path)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        existing = next(path for path in (folder, *folder.parents) if os.path.exists(path))
        raise unwritable(existing, error) from error
    finally:
        for path in missing:
            with suppress(OSError):  # not created, or in use meanwhile
                path.rmdir()


def _is_utf8(path: Path) -> bool:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def _finite_or_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite_or_none(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite_or_none(inner) for inner in value]
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
