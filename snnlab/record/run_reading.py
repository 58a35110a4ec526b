"""What a run's folder holds, read back."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from snnlab.errors import RecordError
from snnlab.printable import cleaned, printable
from snnlab.record.run_folder import RESULT


@dataclass(frozen=True)
class Recorded:
    """What a finished, failed or interrupted run recorded.

    Attributes:
        folder: The run's folder.
        page: What `result.json` holds.
    """

    folder: Path
    page: dict[str, Any]

    @property
    def metrics(self) -> dict[str, float]:
        """`test/accuracy`, `val/loss`, ...; nothing of a run that failed before the end."""
        return self.page.get("metrics") or {}

    def epochs(self) -> dict[str, np.ndarray]:
        """Return the columns of `metrics.csv`, a row an epoch, NaN where there is nothing.

        Raises:
            RecordError: if it cannot be read.
        """
        path = self.folder / "metrics.csv"
        try:
            with path.open(encoding="utf-8", newline="") as file:
                rows = list(csv.DictReader(file))
            names = rows[0] if rows else ()
            return {printable(name): np.array([float(row[name] or "nan") for row in rows]) for name in names}
        except (OSError, ValueError) as error:
            raise RecordError(f"{path}: cannot be read ({error})") from error

    def predictions(self) -> dict[str, np.ndarray]:
        """Return the arrays of `predictions.npz`.

        Raises:
            RecordError: if it cannot be read.
        """
        path = self.folder / "predictions.npz"
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return {name: arrays[name] for name in arrays.files}
        except (OSError, ValueError) as error:
            raise RecordError(f"{path}: cannot be read ({error})") from error


def read_run(folder: Path) -> Recorded:
    """Read a run's result.

    Raises:
        RecordError: if the folder is no run's, or it has not ended.
    """
    path = folder / RESULT
    try:
        page = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        what = "this run has not ended" if (folder / "config.yaml").is_file() else "is no run's folder"
        raise RecordError(f"{folder}: {what}, there is no {RESULT} in it") from None
    except (OSError, ValueError) as error:
        raise RecordError(f"{path}: cannot be read ({error})") from error
    if not isinstance(page, dict) or "status" not in page:
        raise RecordError(f"{path}: is not what a run recorded")
    return Recorded(folder, cleaned(page))


def find_runs(root: Path) -> Iterator[Path]:
    """Yield the folders of runs below `root`, those that have not ended too, oldest first.

    Args:
        root: Such as `outputs`; or the folder of one run.
    """
    if (root / "config.yaml").is_file():
        yield root
        return
    found = {path.parent for pattern in ("*/config.yaml", "*/*/config.yaml") for path in root.glob(pattern)}
    yield from sorted(found, key=lambda path: (path.name, path.parent.name))
