"""Let tonic fetch what is missing of a dataset, and say what to do where that fails."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from snnlab.data import tonic_adapter
from snnlab.errors import DataError


def fetch(dataset: str, folder: Path, have: str, addresses: Mapping[str, str] | None = None) -> None:
    """Fetch and unpack a dataset.

    Args:
        dataset: Name of the class in `tonic.datasets`.
        folder: The dataset's own folder, below which tonic puts it.
        have: What was found there, in words.
        addresses: Attributes of the class that hold addresses which work no more, and those that do.

    Raises:
        DataError: if it cannot be reached, or what arrived has another checksum.
    """
    try:
        tonic_adapter.download(dataset, folder.parent, addresses or {})
    except (OSError, RuntimeError) as error:
        raise DataError(
            f"data.root: found {have}; fetching the rest failed ({error})\n"
            f"  data.download=false uses what is there; data.root=FOLDER names the folder that holds {folder.name}"
        ) from error
