"""The results that a run had before it went on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from snnlab.errors import DamagedError, RecordError
from snnlab.record.run_folder import DAMAGED_RESULT, EARLIER_RESULT, RESULT
from snnlab.record.run_reading import read_ended, result_page


def archive_result(folder: Path) -> None:
    """Take away the result of a run that is going on; a complete one is kept, and one that cannot be read too.

    `result_before_N.json` and `result_damaged.json`.
    """
    path = folder / RESULT
    try:
        recorded = read_ended(folder)
    except DamagedError:
        path.rename(folder / DAMAGED_RESULT)
        return
    if recorded is None:
        return
    if recorded.status == "completed":
        path.rename(folder / EARLIER_RESULT.format(1 + len(list(folder.glob(EARLIER_RESULT.format("*"))))))
    else:
        path.unlink()


def search_of(folder: Path) -> dict[str, Any] | None:
    """Return what a run's result, or the last one that was kept, says of the search for its settings."""
    return next((said for page in _pages(folder) if (said := page.get("search"))), None)


def _pages(folder: Path) -> Iterator[dict[str, Any]]:
    earlier = sorted(folder.glob(EARLIER_RESULT.format("*")), key=_number, reverse=True)
    for path in (folder / RESULT, *earlier):
        try:
            if path.is_file():
                yield result_page(path)
        except RecordError:  # it says nothing that can be read
            continue


def _number(path: Path) -> int:
    return int(path.stem.rpartition("_")[2])
