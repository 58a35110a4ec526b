"""DVS128 Gesture, as tonic keeps it; a partial copy is used as far as it goes, and what is missing is said."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from snnlab.data.fetching import fetch
from snnlab.data.formats import Reading, read_file
from snnlab.data.registry import DATASETS
from snnlab.errors import DataError
from snnlab.events import Events, SensorSize

PARTS = (("ibmGestureTrain", 1077), ("ibmGestureTest", 264))
# tonic's own answer with nothing; these give the same files, and tonic compares the same checksums.
ADDRESSES = {
    "train_url": "https://api.figshare.com/v2/file/download/38022171",
    "test_url": "https://api.figshare.com/v2/file/download/38020584",
}
READING = Reading("ms", "zero", columns=("x", "y", "p", "t"))
_USER = re.compile(r"user(\d+)_")


@DATASETS.register("dvsgesture")
class DVSGesture:
    """DVS128 Gesture: 11 gestures of 29 people under 3 kinds of light, cut into 1,077 and 264 recordings.

    People are groups: none is in two of training, validation and test. Times are in whole ms. A mirrored gesture, and
    one that runs backwards, is of another class.

    Args:
        root: Folder that holds `DVSGesture/ibmGestureTrain/user01_fluorescent/0.npy`, ...
        download: Whether tonic fetches what is missing.

    Raises:
        DataError: if there are no recordings, or a download fails.

    Source: Amir et al., A low power, fully event-based gesture recognition system, CVPR 2017.
    """

    label = "dvsgesture"
    sensor_size: SensorSize = (128, 128, 2)
    num_classes = 11
    class_names = (
        "hand clapping",
        "right hand wave",
        "left hand wave",
        "right arm clockwise",
        "right arm counter-clockwise",
        "left arm clockwise",
        "left arm counter-clockwise",
        "arm roll",
        "air drums",
        "air guitar",
        "other",
    )

    def __init__(self, root: str | None, download: bool = True) -> None:
        self.folder = Path(root or "data").expanduser() / "DVSGesture"
        files = self._find()
        if download and any(len(files[part]) < full for part, full in PARTS):
            have = ", ".join(f"{len(files[part]):,} of {full:,} in {self.folder / part}" for part, full in PARTS)
            fetch("DVSGesture", self.folder, have, ADDRESSES)
            files = self._find()
        if not files[PARTS[0][0]]:
            raise DataError(
                f"data.root: no recordings in {self.folder / PARTS[0][0]}, which should hold user01_fluorescent/0.npy"
                " and others; set data.root to the folder that holds DVSGesture, or data.download=true"
            )
        self._files = [path for part, _ in PARTS for path in files[part]]
        self.targets = np.array([int(path.stem) for path in self._files], np.int64)
        self.groups = np.array([_user(path) for path in self._files], np.int64)
        self.split = np.repeat(np.array([0, 1], np.uint8), [len(files[part]) for part, _ in PARTS])
        self.notes = [
            f"dvsgesture: a partial copy, {len(files[part]):,} of {full:,} recordings in {self.folder / part}"
            for part, full in PARTS
            if len(files[part]) < full
        ]

    def fingerprint(self) -> dict[str, Any]:
        """Return every file's name, size and time of change."""
        stats = [(path, path.stat()) for path in self._files]
        files = [
            f"{path.relative_to(self.folder).as_posix()} {stat.st_size} {stat.st_mtime_ns}" for path, stat in stats
        ]
        return {"dataset": self.label, "files": files}

    def __len__(self) -> int:
        return len(self._files)

    def name(self, index: int) -> str:
        """Return the file."""
        return str(self._files[index])

    def read(self, index: int) -> Events:
        """Read one file of rows x, y, p, t.

        Raises:
            DataError: if the file is truncated.
        """
        return read_file(self._files[index], READING, self.sensor_size)

    def _find(self) -> dict[str, list[Path]]:
        """Return the recordings of each part, sorted by person, light and gesture."""
        return {
            part: sorted(
                (path for path in (self.folder / part).glob("user*_*/*.npy") if path.stem.isdecimal()),
                key=lambda path: (_user(path), path.parent.name, int(path.stem)),
            )
            for part, _ in PARTS
        }


def _user(path: Path) -> int:
    found = _USER.match(path.parent.name)
    if found is None:
        raise DataError(f"{path.parent}: its name should be such as user01_fluorescent")
    return int(found[1])
