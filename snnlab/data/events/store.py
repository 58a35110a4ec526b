"""The packed recordings of one dataset: memory-mapped columns of events.

A store is a cache. Its folder's name is a checksum of all that decides its events, and the folder appears by a rename
when it is complete: a store that opens is the right one, and one that does not open is packed again.
"""

from __future__ import annotations

import hashlib
import json
import operator
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from snnlab.data.events.camera import CameraPath
from snnlab.data.events.recording import Events, SensorSize
from snnlab.errors import StoreError, one_line
from snnlab.files import load_array
from snnlab.target_kinds import NO_END, gather_targets

FORMAT = 3
INDEX = ("offsets", "last_t", "hashes")
"""Arrays per recording, in `<key>.npy`."""


def column_types(sensor_size: SensorSize) -> dict[str, str]:
    """Return the types of the events' columns, raw in `<key>.bin`; y for H > 1, p a number for more than two."""
    rows = {"y": "<i2"} if sensor_size[1] > 1 else {}
    return {"t": "<i8", "x": "<i2", **rows, "p": "|b1" if sensor_size[2] <= 2 else "|u1"}


def canonical_hash(value: Any) -> str:
    """Return the sha256 of the value's JSON with sorted keys and no spaces."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def checksum(array: np.ndarray) -> str:
    """Return the sha256 of a contiguous array's values."""
    return hashlib.sha256(array.data).hexdigest()


class Manifest(NamedTuple):
    """What `manifest.json` says of a store.

    Attributes:
        source: The source's fingerprint.
        origin: Folder of the original recordings, or None.
        sha256: Checksum of the columns and of the offsets, by key.
        bad: Index of each recording that could not be used and is stored without events, and the reason.
    """

    source: dict[str, Any]
    origin: str | None
    sha256: dict[str, str]
    bad: list[tuple[int, str]]

    def write(self, folder: Path) -> None:
        (folder / "manifest.json").write_text(json.dumps(self._asdict(), indent=2) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        return cls(**json.loads((folder / "manifest.json").read_text(encoding="utf-8")))


class Packed(NamedTuple):
    """Copies of several recordings, one after the other.

    Args:
        t: Time since each recording's start (us), int64.
        x: Column, int16.
        y: Row, int16, or None.
        p: Polarity, bool.
        offsets: Recording b is `[offsets[b], offsets[b + 1])`, int64.
        targets: Class of each recording, int64; or values float32 `[B, D]` or `[B, T, D]`, or segments int64 `[S, 4]`.
        index: Index of each recording in the store, int64.
        start: Start of each window in its recording (us), int64; None for whole recordings.
    """

    t: np.ndarray
    x: np.ndarray
    y: np.ndarray | None
    p: np.ndarray
    offsets: np.ndarray
    targets: np.ndarray
    index: np.ndarray  # pyright: ignore[reportIncompatibleMethodOverride]
    start: np.ndarray | None = None


class Labels(NamedTuple):
    """What a source says of its recordings and a store does not hold: see `Source`."""

    sensor_size: SensorSize
    targets: np.ndarray
    split: np.ndarray
    groups: np.ndarray | None


class Store:
    """The packed recordings of a source, opened or made by `open_or_build`.

    Args:
        camera: The camera motion that is subtracted from recordings on reading, or None.

    Attributes:
        last_t: Time of each recording's last event, us; -1 if it has none; `[R]`.
        hashes: Checksum of each recording's events, `[R]`, uint64.

    Raises:
        StoreError: if a file is missing or truncated.
    """

    def __init__(self, path: Path, labels: Labels, camera: CameraPath | None = None) -> None:
        self.path, self.labels, self.camera = path, labels, camera
        self.sensor_size, self.targets, self.split, self.groups = labels
        try:
            self.manifest = Manifest.read(path)
            self._offsets, self.last_t, self.hashes = (load_array(path / f"{key}.npy") for key in INDEX)
            self.num_events = int(self._offsets[-1])
            self._columns = {
                key: _map_column(path / f"{key}.bin", dtype, self.num_events)
                for key, dtype in column_types(self.sensor_size).items()
            }
        except (OSError, ValueError, TypeError, IndexError) as error:
            raise StoreError(path, f"cannot be opened ({one_line(error)})", "snnlab data clean deletes it") from error

    def __reduce__(self) -> tuple[object, tuple[Path, Labels, CameraPath | None]]:
        """Pickle no events, for a loader's worker: pickling a memory map would copy the whole dataset."""
        return Store, (self.path, self.labels, self.camera)

    def stabilize(self, camera: CameraPath) -> Store:
        """Return a view of this store that subtracts a camera's motion from its recordings."""
        return Store(self.path, self.labels, camera)

    def __len__(self) -> int:
        return self.last_t.size

    def __getitem__(self, index: int) -> Events:
        """Return one recording, as read-only views of the memory maps unless a camera motion is subtracted."""
        recording = range(len(self))[operator.index(index)]
        rows = slice(int(self._offsets[recording]), int(self._offsets[recording + 1]))
        columns = self._columns
        y = columns["y"][rows] if "y" in columns else None
        events = Events(columns["t"][rows], columns["x"][rows], y, columns["p"][rows])
        return events if self.camera is None else self.camera.stabilize(events, self.sensor_size)

    @property
    def sizes(self) -> np.ndarray:
        """Number of events of each recording, `[R]`."""
        return np.diff(self._offsets)

    @property
    def bad(self) -> dict[int, str]:
        """The reasons why recordings could not be used, by index; they are stored without events."""
        return {int(index): reason for index, reason in self.manifest.bad}

    @property
    def time_unit(self) -> str | None:
        """The unit in which times of files were read; None if it is no setting of the dataset."""
        reading = self.manifest.source.get("reading")
        return reading.get("time_unit") if isinstance(reading, Mapping) else None

    @property
    def fingerprint(self) -> str:
        """Checksum of events, targets, split and groups, for the run folder."""
        arrays = {"targets": self.targets, "split": self.split, "groups": self.groups}
        labels = {key: checksum(array) for key, array in arrays.items() if array is not None}
        return canonical_hash(self.manifest.sha256 | labels)

    def verify(self) -> None:
        """Raise a StoreError if events have changed since they were packed."""
        sha256 = {"offsets": checksum(self._offsets)}
        for key in self._columns:  # from the file, not through its map, whose pages would fill the memory
            with (self.path / f"{key}.bin").open("rb") as file:
                sha256[key] = hashlib.file_digest(file, "sha256").hexdigest()
        if damaged := sorted(key for key in sha256 if sha256[key] != self.manifest.sha256[key]):
            message = f"the checksum of {', '.join(damaged)} is wrong"
            raise StoreError(self.path, message, "snnlab data clean deletes it, the next run packs it again")

    def gather(self, indices: np.ndarray, start_us: np.ndarray | None = None, duration_us: int | None = None) -> Packed:
        """Copy the given recordings, or a window of each, in the given order; events outside are not read.

        Args:
            indices: Indices into the store; repeats are allowed.
            start_us: Start of each window (us), the new time 0; None: 0.
            duration_us: Length of the windows (us); None: to the end of each recording.
        """
        index, begins, starts, stops = self._windows(indices, start_us, duration_us)
        sizes = stops - starts
        rows = [slice(*bounds) for bounds in zip(starts.tolist(), stops.tolist(), strict=True)]
        block = {
            key: np.concatenate([column[part] for part in rows] or [column[:0]])
            for key, column in self._columns.items()
        }
        events = Events(block["t"], block["x"], block.get("y"), block["p"])
        offsets = np.concatenate([[0], np.cumsum(sizes)])
        if self.camera is not None:
            events, inside = self.camera.subtract_motion(events, self.sensor_size)
            offsets = np.concatenate([[0], np.cumsum(inside)])[offsets]
            events, sizes = events.take(inside), np.diff(offsets)
        if start_us is not None:
            np.subtract(events.t, np.repeat(start_us, sizes), out=events.t)
        return Packed(*events, offsets, gather_targets(self.targets, index, begins, duration_us), index, start_us)

    def count(self, indices: np.ndarray, start_us: np.ndarray | None = None, duration_us: int | None = None) -> int:
        """Count the events of recordings, or of a window of each; the arguments are those of `gather`."""
        _, _, starts, stops = self._windows(indices, start_us, duration_us)
        return int((stops - starts).sum())

    def count_outside(self, indices: np.ndarray, duration_us: int) -> int:
        """Count the events outside of a window `[0, duration_us)`."""
        return self.count(indices) - self.count(indices, None, duration_us)

    def _windows(
        self, indices: np.ndarray, start_us: np.ndarray | None, duration_us: int | None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return index and begin of each window, its first event, and the first event after it."""
        index = np.asarray(indices)
        if index.size and not np.issubdtype(index.dtype, np.integer):
            raise TypeError(f"indices of recordings must be integers, not {index.dtype}")
        index = index.astype(np.int64)
        if index.size and (index.min() < 0 or index.max() >= len(self)):
            raise IndexError(f"{self.path}: recordings {index.min()}..{index.max()} of {len(self)}")
        begins = np.zeros(index.size, np.int64) if start_us is None else start_us
        t, starts, stops = self._columns["t"], self._offsets[index], self._offsets[index + 1]
        firsts, lasts = starts.copy(), stops.copy()
        # A recording that ends within the window, as most do, needs no search for the end.
        duration_us = NO_END if duration_us is None else duration_us
        ends_later = self.last_t[index] - begins >= duration_us
        for row in np.flatnonzero(ends_later | (begins > 0)).tolist():
            start, stop, begin = int(starts[row]), int(stops[row]), int(begins[row])
            firsts[row] = start + np.searchsorted(t[start:stop], begin)
            if ends_later[row]:
                lasts[row] = start + np.searchsorted(t[start:stop], begin + duration_us)
        return index, begins, firsts, lasts


def _map_column(file: Path, dtype: str, events: int) -> np.ndarray:
    # A plain array over the map: slicing np.memmap itself costs several microseconds per call.
    return np.asarray(np.memmap(file, dtype, "r", shape=(events,))) if events else np.empty(0, dtype)
