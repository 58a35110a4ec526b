"""The packed copies of a dataset that a folder holds: today's, and those of the recordings as they were before."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from snnlab.errors import StoreError
from snnlab.events.build import ORIGIN, locked

# What a store's name ends in: so many characters of a fingerprint.
_KEY = "?" * 12
_BUILDING = ".building"


class Copy(NamedTuple):
    """A packed copy.

    Attributes:
        path: Its folder.
        label: The dataset's short name.
        origin: The folder that its recordings lay in; None where nothing says.
        size: Bytes.
    """

    path: Path
    label: str
    origin: str | None
    size: int


def copies(store_dir: Path) -> list[Copy]:
    """Return all packed copies in a folder, and what killed processes have left of some, sorted by path."""
    found = sorted([*store_dir.glob(f"*-{_KEY}"), *store_dir.glob(f"*-{_KEY}{_BUILDING}")])
    return [Copy(path, path.name.rpartition("-")[0], _origin(path), size_of(path)) for path in found if path.is_dir()]


def copies_of(store_dir: Path, label: str, origin: str | None) -> list[Copy]:
    """Return the packed copies of a dataset's recordings, whatever these were when they were packed.

    Args:
        store_dir: Where stores are kept.
        label: The dataset's short name.
        origin: The folder that the recordings lie in; copies of the same label that do not say theirs are among them.
    """
    return [copy for copy in copies(store_dir) if copy.label == label and copy.origin in (None, origin)]


def remove_copies(found: list[Copy]) -> Iterator[Copy]:
    """Delete packed copies, and yield each that is gone.

    Raises:
        StoreError: if one cannot be deleted.
    """
    for copy in found:
        try:
            with locked(copy.path.with_name(copy.path.name.removesuffix(_BUILDING))):
                shutil.rmtree(copy.path)
        except FileNotFoundError:  # another process was quicker
            continue
        except OSError as error:
            raise StoreError(copy.path, f"cannot be deleted ({error.strerror or error})") from error
        yield copy


def size_of(path: Path) -> int:
    """Return how many bytes the files of a folder have."""
    return sum(file.stat().st_size for file in path.iterdir()) if path.is_dir() else 0


def _origin(path: Path) -> str | None:
    try:
        return (path / ORIGIN).read_text(encoding="utf-8", errors="surrogateescape")
    except (OSError, ValueError):
        return None
