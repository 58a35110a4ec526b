"""Files that are there whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, BinaryIO

import numpy as np

from snnlab.errors import RecordError


def write_atomically(path: Path, write: Callable[[BinaryIO], Any]) -> None:
    """Write a file beside its place and rename it when it is whole."""
    beside = path.with_name(f".{path.name}.writing")
    try:
        with open(beside, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


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
    return RecordError(f"{setting}: cannot write {folder}: {error.strerror}; set {setting}=FOLDER")


def require_writable(folder: Path, setting: str = "output_dir") -> None:
    """Refuse a folder that cannot be made or written; nothing is left of the try.

    Args:
        folder: It may be there, or not yet.
        setting: What names it.

    Raises:
        RecordError: if it cannot.
    """
    if not _is_text(folder):
        raise RecordError(f"{setting}: {folder} has a name that is not in UTF-8; set {setting}=FOLDER")
    missing = [path for path in (folder, *folder.parents) if not os.path.exists(path)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        there = next(path for path in (folder, *folder.parents) if os.path.exists(path))
        raise unwritable(there, error, setting) from error
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
