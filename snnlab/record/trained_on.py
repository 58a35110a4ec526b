"""trained_on.npy: checksums of all recordings that a run's weights have seen, those of the runs it began with too."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from snnlab.errors import RecordError
from snnlab.files import write_atomically

FILE = "trained_on.npy"


def write_trained_on(folder: Path, checksums: np.ndarray) -> None:
    """Write the checksums of recordings' events.

    Args:
        checksums: See `Store.hashes`.

    Shape:
        checksums: uint64 `[N]`.
    """
    values = np.unique(checksums).astype("<u8")
    write_atomically(folder / FILE, lambda file: np.save(file, values, allow_pickle=False))


def read_trained_on(folder: Path) -> np.ndarray | None:
    """Return the checksums, uint64 `[N]`; None where an older run wrote none.

    Raises:
        RecordError: if the file cannot be read.
    """
    path = folder / FILE
    try:
        found = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, EOFError) as error:
        raise RecordError(path, f"cannot be read ({error})") from error
    if found.ndim != 1 or found.dtype != np.uint64:
        raise RecordError(path, "is not what a run recorded")
    return found
