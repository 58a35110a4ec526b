"""The packed store of a dataset: memory-mapped columns of events, and a manifest."""

from __future__ import annotations

import hashlib
import json
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from snnlab.data.events.camera import CameraPath
from snnlab.data.events.recording import Events, SensorSize, check_sensor_size
from snnlab.errors import ConfigError, DataError, StoreError, one_line
from snnlab.files import load_array, open_regular
from snnlab.spec.interval import NonNegative
from snnlab.spec.signatures import check_settings
from snnlab.target_kinds import NO_END, gather_targets, targets_problem

FORMAT = 2
COLUMNS = {"t": "<i8", "x": "<i2", "y": "<i2", "p": "|b1"}
"""Per event, in raw files `<key>.bin`."""
ARRAYS = {"offsets": "<i8", "targets": "<i8", "split": "|u1", "groups": "<i8", "last_t": "<i8", "hashes": "<u8"}
"""Per recording, in `<key>.npy`; targets may also be values `[R, D]` or `[R, T, D]`, or segments `[S, 4]`."""
VALUES = "<f4"
"""Type of value targets."""
DERIVED = ("last_t", "hashes")
"""Arrays that follow from the columns."""
REPLACEABLE = ("split", "groups")
"""Arrays that users may change without changing a recording."""
REBUILD_HINT = "delete this folder, the next run packs the recordings again"


def column_types(polarities: int) -> dict[str, str]:
    """Return the types of the events' columns; more than two polarities, for example colours, are numbered."""
    return COLUMNS if polarities <= 2 else COLUMNS | {"p": "|u1"}


@dataclass(frozen=True)
class Manifest:
    """The contents of a store and the source from which it was packed.

    Args:
        format: Version of the layout.
        source: The source's fingerprint.
        recordings: Number of recordings.
        events: Number of events of all recordings.
        sensor_size: `[W, H, P]` (pixels, pixels, polarities).
        dtypes: NumPy type of each file's values, by key.
        sha256: Checksum of each file's values, by key.
        content: Checksum of all values: the data's fingerprint in a run folder.
        bad: Index of each recording that could not be used and is stored without events, and the reason.
        versions: Versions of snnlab and NumPy at packing; for information, never compared.
    """

    format: int
    source: Mapping[str, Any]
    recordings: NonNegative
    events: NonNegative
    sensor_size: SensorSize
    dtypes: Mapping[str, str]
    sha256: Mapping[str, str]
    content: str
    bad: Sequence[tuple[int, str]]
    versions: Mapping[str, str]

    def write(self, folder: Path) -> None:
        """Write `manifest.json` into the folder."""
        text = json.dumps(asdict(self), indent=2, allow_nan=False)
        (folder / "manifest.json").write_text(text + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Read `manifest.json` of the folder.

        Raises:
            StoreError: If it is missing, not JSON, of another format, or has missing, unknown or invalid entries.
        """
        try:
            with open_regular(folder / "manifest.json") as file:
                entries = json.load(file)
        except (OSError, ValueError, RecursionError) as error:
            raise StoreError(folder, f"manifest.json cannot be read ({one_line(error)})", REBUILD_HINT) from error
        found = entries.get("format") if isinstance(entries, dict) else None
        if found != FORMAT:
            raise StoreError(folder, f"has format {found}, this snnlab reads {FORMAT}", REBUILD_HINT)
        try:
            check_settings(cls, entries, "", "it")
            manifest = cls(**entries)
            manifest._check()
        except (ConfigError, DataError) as error:
            raise StoreError(folder, f"manifest.json: {one_line(error)}", REBUILD_HINT) from error
        return manifest

    def _check(self) -> None:
        """Raise a DataError if entries of the right types contradict each other."""
        check_sensor_size(self.sensor_size)
        known = column_types(self.sensor_size[2]) | ARRAYS
        optional = {"groups"} if self.sensor_size[1] > 1 else {"groups", "y"}
        if self.dtypes.get("targets") == VALUES:
            known["targets"] = VALUES
        if not known.keys() - optional <= self.dtypes.keys() or self.dtypes != {
            key: known.get(key) for key in self.dtypes
        }:
            raise DataError("dtypes", "are not those of a store")
        if self.sha256.keys() != self.dtypes.keys() or not all(isinstance(one, str) for one in self.sha256.values()):
            raise DataError("sha256", "has no checksum of each file")
        if not all(0 <= index < self.recordings for index, _ in self.bad):
            raise DataError("bad", f"names recordings outside 0 .. {self.recordings - 1}")


def canonical_hash(value: Any) -> str:
    """Return the sha256 of the value's JSON with sorted keys and no spaces."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def content_hash(sha256: dict[str, str]) -> str:
    """Return one checksum of all files that cannot be computed from others."""
    return canonical_hash({key: value for key, value in sha256.items() if key not in DERIVED})


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

    Shape:
        `[N]` for t, x, y, p; `[B + 1]` for offsets; `[B]` for targets, index and start.
    """

    t: np.ndarray
    x: np.ndarray
    y: np.ndarray | None
    p: np.ndarray
    offsets: np.ndarray
    targets: np.ndarray
    index: np.ndarray  # pyright: ignore[reportIncompatibleMethodOverride]
    start: np.ndarray | None = None


class Store:
    """The packed recordings of one dataset; made by `open_or_build`, opened by `Store.open`.

    Args:
        path: The store's folder.
        manifest: The store's manifest.
        columns: t, x, y, p of all recordings, `[N]` each.
        arrays: offsets `[R + 1]`, split, groups, last_t, hashes `[R]`, and targets `[R]`, `[R, D]`, `[R, T, D]` or
            `[S, 4]`.
        camera: The camera motion that is subtracted from recordings on reading; None: none is.
    """

    def __init__(
        self,
        path: Path,
        manifest: Manifest,
        columns: dict[str, np.ndarray],
        arrays: dict[str, np.ndarray],
        camera: CameraPath | None = None,
    ) -> None:
        self.path = path
        self.camera = camera
        self.manifest = manifest
        self.sensor_size: SensorSize = (*manifest.sensor_size,)
        self.targets = arrays["targets"]
        self.split = arrays["split"]
        self.groups = arrays.get("groups")
        self._columns = columns
        self._arrays = arrays
        self._offsets = arrays["offsets"]

    @classmethod
    def open(cls, path: Path) -> Store:
        """Open a store after checking the sizes of its files.

        Raises:
            StoreError: If a file is missing, has another size than the manifest says, or another format.
        """
        manifest = Manifest.read(path)
        arrays = {key: _load_array(path, key, manifest) for key in ARRAYS if key in manifest.dtypes}
        offsets = arrays["offsets"]
        if offsets[0] != 0 or offsets[-1] != manifest.events or (np.diff(offsets) < 0).any():
            raise StoreError(path, f"offsets.npy does not fit {manifest.events} events", REBUILD_HINT)
        columns = {key: _map_column(path, key, manifest) for key in COLUMNS if key in manifest.dtypes}
        last_t, sizes = arrays["last_t"], np.diff(offsets)
        longest = int(np.argmax(last_t)) if last_t.size else None
        ends = -1 if longest is None or not sizes[longest] else int(columns["t"][offsets[longest + 1] - 1])
        if ((last_t < 0) != (sizes == 0)).any() or last_t.max(initial=-1) != ends:
            raise StoreError(path, "last_t.npy does not fit the events", REBUILD_HINT)
        return cls(path, manifest, columns, arrays)

    def __reduce__(self) -> tuple[object, tuple[Path, CameraPath | None]]:
        """Pickle the path alone, for a loader's worker: pickling a memory map would copy the whole dataset."""
        return _reopen, (self.path, self.camera)

    def stabilize(self, camera: CameraPath) -> Store:
        """Return a view of this store that subtracts a camera's motion from its recordings."""
        return Store(self.path, self.manifest, self._columns, self._arrays, camera)

    def with_split(self, split: np.ndarray, groups: np.ndarray | None) -> Store:
        """Return this store with another split and groups, identical to a store packed with them.

        Args:
            split: 0 for training, 1 for test, 2 for validation.
            groups: User or speaker of each recording, or None.

        Shape:
            split, groups: `[R]`.
        """
        changed = {"split": split, **({} if groups is None else {"groups": groups})}
        arrays = {key: array for key, array in self._arrays.items() if key not in REPLACEABLE}
        arrays |= {key: np.ascontiguousarray(array, ARRAYS[key]) for key, array in changed.items()}
        sums = {key: value for key, value in self.manifest.sha256.items() if key not in REPLACEABLE}
        sums |= {key: hashlib.sha256(arrays[key].data).hexdigest() for key in changed}
        manifest = replace(self.manifest, content=content_hash(sums))
        return Store(self.path, manifest, self._columns, arrays, self.camera)

    def __len__(self) -> int:
        return self.manifest.recordings

    def __getitem__(self, index: int) -> Events:
        """Return one recording, as read-only views of the memory maps unless a camera motion is subtracted."""
        events = self._packed(index)
        return events if self.camera is None else self.camera.stabilize(events, self.sensor_size)

    def _packed(self, index: int) -> Events:
        recording = operator.index(index)
        recording += len(self) if recording < 0 else 0
        if not 0 <= recording < len(self):
            raise IndexError(f"{self.path}: recording {index} of {len(self)}")
        rows = slice(int(self._offsets[recording]), int(self._offsets[recording + 1]))
        columns = self._columns
        y = columns["y"][rows] if "y" in columns else None
        return Events(columns["t"][rows], columns["x"][rows], y, columns["p"][rows])

    @property
    def num_events(self) -> int:
        """Total number of events."""
        return self.manifest.events

    @property
    def sizes(self) -> np.ndarray:
        """Number of events of each recording, `[R]`."""
        return np.diff(self._offsets)

    @property
    def last_t(self) -> np.ndarray:
        """Time of each recording's last event, us; -1 if it has none; `[R]`."""
        return self._arrays["last_t"]

    @property
    def bad(self) -> dict[int, str]:
        """The reasons why recordings could not be used, by index; they are stored without events."""
        return {int(index): str(reason) for index, reason in self.manifest.bad}

    @property
    def time_unit(self) -> str | None:
        """The unit in which times of files were read; None if it is no setting of the dataset."""
        reading = self.manifest.source.get("reading")
        return reading.get("time_unit") if isinstance(reading, Mapping) else None

    @property
    def hashes(self) -> np.ndarray:
        """Checksum of each recording's events, `[R]`, uint64."""
        return self._arrays["hashes"]

    @property
    def fingerprint(self) -> str:
        """Checksum of all values, for the run folder."""
        return self.manifest.content

    def gather(self, indices: np.ndarray, start_us: np.ndarray | None = None, duration_us: int | None = None) -> Packed:
        """Copy the given recordings, or a window of each, in the given order.

        Events outside the window are not read: time and memory depend on the windows, not on the recordings.

        Args:
            indices: Indices into the store; repeats are allowed.
            start_us: Start of each window (us), the new time 0; None: 0.
            duration_us: Length of the windows (us); None: to the end of each recording.

        Shape:
            indices, start_us: `[B]`; B may be 0.
        """
        index = self._checked_indices(indices)
        begins = np.zeros(index.size, np.int64) if start_us is None else start_us
        starts, stops = self._windows(index, begins, duration_us)
        offsets = np.zeros(index.size + 1, np.int64)
        np.cumsum(stops - starts, out=offsets[1:])
        rows = [slice(*bounds) for bounds in zip(starts.tolist(), stops.tolist(), strict=True)]
        block = {key: _concatenate(column, rows) for key, column in self._columns.items()}
        events = Events(block["t"], block["x"], block.get("y"), block["p"])
        sizes = stops - starts
        if self.camera is not None:
            events, inside = self.camera.subtract_motion(events, self.sensor_size)
            kept = np.concatenate([[0], np.cumsum(inside)])[offsets]
            events, offsets, sizes = events.take(inside), kept, np.diff(kept)
        if start_us is not None:
            np.subtract(events.t, np.repeat(start_us, sizes), out=events.t)
        return Packed(*events, offsets, gather_targets(self.targets, index, begins, duration_us), index, start_us)

    def _windows(self, index: np.ndarray, begins: np.ndarray, duration_us: int | None) -> tuple[np.ndarray, np.ndarray]:
        """Return the first event of each recording's window, and the first event after it."""
        t = self._columns["t"]
        starts, stops = self._offsets[index], self._offsets[index + 1]
        firsts, lasts = starts.copy(), stops.copy()
        # A recording that ends within the window, as most do, needs no search for the end.
        duration_us = NO_END if duration_us is None else duration_us
        ends_later = self.last_t[index] - begins >= duration_us
        for row in np.flatnonzero(ends_later | (begins > 0)).tolist():
            start, stop, begin = int(starts[row]), int(stops[row]), int(begins[row])
            firsts[row] = start + np.searchsorted(t[start:stop], begin)
            if ends_later[row]:
                lasts[row] = start + np.searchsorted(t[start:stop], begin + duration_us)
        return firsts, lasts

    def count(self, indices: np.ndarray, start_us: np.ndarray | None = None, duration_us: int | None = None) -> int:
        """Count the events of recordings, or of a window of each; the arguments are those of `gather`."""
        index = self._checked_indices(indices)
        begins = np.zeros(index.size, np.int64) if start_us is None else start_us
        starts, stops = self._windows(index, begins, duration_us)
        return int((stops - starts).sum())

    def count_outside(self, indices: np.ndarray, duration_us: int) -> int:
        """Count the events outside of a window `[0, duration_us)`.

        Args:
            indices: Indices into the store, `[B]`.
            duration_us: Length of the window (us).
        """
        return self.count(indices) - self.count(indices, None, duration_us)

    @contextmanager
    def report_damage(self, indices: Callable[[], np.ndarray]) -> Iterator[None]:
        """Turn an error inside into a StoreError if the recordings no longer pass the checks made at packing.

        Args:
            indices: Returns the indices of the recordings that are used inside, `[B]`; called after an error only,
                since they may be on a GPU.

        Raises:
            StoreError: If events of these recordings are outside the sensor; else the original error is raised.
        """
        try:
            yield
        except (DataError, IndexError, ValueError) as error:
            if problem := self._find_outside(indices()):
                raise StoreError(
                    self.path,
                    f"the packed copy is damaged: {problem}",
                    f"{REBUILD_HINT} (snnlab data clean deletes it)",
                ) from error
            raise

    def _find_outside(self, indices: np.ndarray) -> str | None:
        """Return a text about events outside the sensor, which no recording had when it was packed, or None."""
        for recording in np.unique(indices).tolist():
            events = self._packed(recording)
            for key, size in zip("xyp", self.sensor_size, strict=True):
                column: np.ndarray | None = getattr(events, key)
                if column is None or not column.size or column.dtype == np.bool_:
                    continue
                if column.min() < 0 or column.max() >= size:
                    span = f"{column.min()}..{column.max()}"
                    return f"{key} of recording {recording} spans {span}, and the sensor has 0..{size - 1}"
        return None

    def verify(self) -> None:
        """Read all files and compare them with the manifest's checksums.

        Raises:
            StoreError: If a file's values have changed since they were packed.
        """
        manifest = Manifest.read(self.path)
        arrays = {key: _load_array(self.path, key, manifest) for key in ARRAYS if key in manifest.dtypes}
        found = {key: hashlib.sha256(array.data).hexdigest() for key, array in arrays.items()}
        for key in self._columns:
            # Read from the file, not through its map, whose pages would fill the memory.
            with (self.path / f"{key}.bin").open("rb") as file:
                found[key] = hashlib.file_digest(file, "sha256").hexdigest()
        damaged = sorted(key for key in found if found[key] != manifest.sha256[key])
        if damaged:
            raise StoreError(self.path, f"the checksum of {', '.join(damaged)} is wrong", REBUILD_HINT)
        if content_hash(found) != manifest.content:
            raise StoreError(self.path, "the manifest's content checksum is wrong", REBUILD_HINT)

    def _checked_indices(self, indices: np.ndarray) -> np.ndarray:
        index = np.asarray(indices)
        if index.size and not np.issubdtype(index.dtype, np.integer):
            raise TypeError(f"indices of recordings must be integers, not {index.dtype}")
        index = index.astype(np.int64)
        if index.size and (index.min() < 0 or index.max() >= len(self)):
            raise IndexError(f"{self.path}: recordings {index.min()}..{index.max()} of {len(self)}")
        return index


def _reopen(path: Path, camera: CameraPath | None) -> Store:
    store = Store.open(path)
    return store if camera is None else store.stabilize(camera)


def _concatenate(column: np.ndarray, rows: list[slice]) -> np.ndarray:
    # NumPy cannot concatenate an empty list, hence the empty slice.
    return np.concatenate([column[part] for part in rows] or [column[:0]])


def _load_array(path: Path, key: str, manifest: Manifest) -> np.ndarray:
    try:
        array = load_array(path / f"{key}.npy")
    except (OSError, ValueError) as error:
        raise StoreError(path, f"{key}.npy cannot be read ({error})", REBUILD_HINT) from error
    dtype, size = manifest.dtypes[key], manifest.recordings + (key == "offsets")
    if key == "targets":
        if array.dtype != dtype or targets_problem(array, manifest.recordings):
            raise StoreError(path, f"targets.npy does not fit {manifest.recordings} recordings", REBUILD_HINT)
        return array
    if array.shape != (size,) or array.dtype != dtype:
        raise StoreError(path, f"{key}.npy is {array.dtype} {array.shape}, expected {dtype} ({size},)", REBUILD_HINT)
    return array


def _map_column(path: Path, key: str, manifest: Manifest) -> np.ndarray:
    file, dtype = path / f"{key}.bin", np.dtype(column_types(manifest.sensor_size[2])[key])
    expected = manifest.events * dtype.itemsize
    found = file.stat().st_size if file.is_file() else None
    if found != expected:
        what = "is missing" if found is None else f"has {found} bytes, expected {expected}"
        raise StoreError(path, f"{file.name} {what}", REBUILD_HINT)
    if not expected:
        return np.empty(0, dtype)
    try:
        # A plain array over the map: slicing np.memmap itself costs several microseconds per call.
        return np.asarray(np.memmap(file, dtype=dtype, mode="r"))
    except OSError as error:
        raise StoreError(path, f"{file.name} cannot be read ({error})") from error
