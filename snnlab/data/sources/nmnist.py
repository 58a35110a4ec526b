"""N-MNIST, read by tonic; a partial copy is used as far as it goes, and what is missing is said."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from snnlab.data.fetching import fetch
from snnlab.data.formats import Reading, read_file
from snnlab.data.registry import DATASETS
from snnlab.errors import DataError
from snnlab.events import Events, SensorSize

PARTS = (("Train", 60_000), ("Test", 10_000))
READING = Reading(time_origin="zero")


@DATASETS.register("nmnist")
class NMNIST:
    """N-MNIST: MNIST digits recorded by a moving ATIS camera, 60,000 for training and 10,000 for testing.

    Args:
        root: Folder that holds `NMNIST/Train/0..9/*.bin` and `NMNIST/Test/0..9/*.bin`.
        download: Whether tonic fetches what is missing.

    Raises:
        DataError: if there are no recordings, or a download fails.

    Source: Orchard et al., Converting static image datasets to spiking neuromorphic datasets using saccades, 2015.
    """

    label = "nmnist"
    sensor_size: SensorSize = (34, 34, 2)
    num_classes = 10
    groups = None
    class_names = None

    def __init__(self, root: str | None, download: bool = True) -> None:
        self.folder = Path(root or "data").expanduser() / "NMNIST"
        files = {part: _find(self.folder / part) for part, _ in PARTS}
        if download and any(len(files[part]) < full for part, full in PARTS):
            have = ", ".join(f"{len(files[part]):,} of {full:,} in {self.folder / part}" for part, full in PARTS)
            fetch("NMNIST", self.folder, have)
            files = {part: _find(self.folder / part) for part, _ in PARTS}
        for part, _ in PARTS:
            if not files[part]:
                raise DataError(
                    f"data.root: no recordings in {self.folder / part}, which should hold 0/*.bin to 9/*.bin;"
                    " set data.root to the folder that holds NMNIST, or data.download=true"
                )
        self._files = [file for part, _ in PARTS for file in files[part]]
        self.targets = np.array([int(path.parent.name) for path, _ in self._files], np.int64)
        self.split = np.repeat(np.array([0, 1], np.uint8), [len(files[part]) for part, _ in PARTS])
        self.notes = [
            f"nmnist: a partial copy, {len(files[part]):,} of {full:,} recordings in {self.folder / part}"
            for part, full in PARTS
            if len(files[part]) < full
        ]

    def fingerprint(self) -> dict[str, Any]:
        """Return every file's name, size and time of change."""
        stats = [
            f"{path.relative_to(self.folder).as_posix()} {stat.st_size} {stat.st_mtime_ns}"
            for path, stat in self._files
        ]
        return {"dataset": self.label, "files": stats}

    def __len__(self) -> int:
        return len(self._files)

    def name(self, index: int) -> str:
        """Return the file."""
        return str(self._files[index][0])

    def read(self, index: int) -> Events:
        """Read one file of 5 bytes an event.

        Raises:
            DataError: if the file is truncated.
        """
        return read_file(self._files[index][0], READING, self.sensor_size)


def _find(folder: Path) -> list[tuple[Path, os.stat_result]]:
    """Return the recordings below `folder/0` to `folder/9`, sorted by name, with what the file system says of each."""
    found = []
    for digit in range(10):
        below = folder / str(digit)
        if below.is_dir():
            with os.scandir(below) as entries:
                files = sorted((e.name, e.stat()) for e in entries if e.name.endswith(".bin"))
            found += [(below / name, stat) for name, stat in files]
    return found
