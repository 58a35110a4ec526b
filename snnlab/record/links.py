"""A folder that is written to holds no links: what a stranger has packed would lead to files of the user's."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from snnlab.errors import RecordError


def require_no_links(folder: Path) -> None:
    """Raise if something in a folder is a link, or neither a file nor a folder; the folder itself may be linked.

    Args:
        folder: Of a run, a search or a suite, or one that is not there yet. Other runs in it are looked at by whoever
            writes them.

    Raises:
        RecordError: naming the first one.
    """
    for entry in _entries(folder):
        if entry.is_symlink() or not (entry.is_file() or entry.is_dir()):
            what = "a link" if entry.is_symlink() else "neither a file nor a folder"
            raise RecordError(f"{entry.path}: is {what}, and nothing is written through it; remove it")


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    if not folder.is_dir():
        return
    with os.scandir(folder) as found:
        for entry in sorted(found, key=lambda one: one.name):
            yield entry
            # Folders of a run's own, and of a search's; those of further runs hold a page, and are runs of their own.
            if entry.is_dir(follow_symlinks=False) and not Path(entry.path, "config.yaml").exists():
                yield from _entries(Path(entry.path))
