"""A dataset's recordings, packed in columns: the writing side."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from snnlab import __version__
from snnlab.events.manifest import ARRAYS, FORMAT, VALUES, Manifest, column_types, content_hash
from snnlab.events.recording import Events, SensorSize, empty_events
from snnlab.events.targets import kind_of


class StoreWriter:
    """Append recordings to the columns of a new store, one at a time, in bounded memory.

    Args:
        folder: An empty folder.
        sensor_size: `[W, H, P]` (pixels, pixels, polarities); y is kept for H > 1.
    """

    def __init__(self, folder: Path, sensor_size: SensorSize) -> None:
        self.folder = folder
        self.sensor_size = sensor_size
        self._types = column_types(sensor_size[2])
        keys = [key for key in self._types if key != "y" or sensor_size[1] > 1]
        self._files = {key: (folder / f"{key}.bin").open("wb") for key in keys}
        self._hashes = {key: hashlib.sha256() for key in keys}
        self._sizes: list[int] = []
        self._last_t: list[int] = []
        self._contents: list[int] = []
        self._bad: list[list[Any]] = []

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # `finish` has flushed; after an error, closing would only fail for the same reason and hide it.
        for file in self._files.values():
            with suppress(OSError):
                file.close()

    def append(self, events: Events) -> None:
        """Write one checked recording."""
        content = hashlib.blake2b(digest_size=8)
        for key, file in self._files.items():
            column = np.ascontiguousarray(getattr(events, key), dtype=self._types[key])
            file.write(column.data)
            self._hashes[key].update(column.data)
            content.update(column.data)
        self._contents.append(int.from_bytes(content.digest(), "little"))
        self._sizes.append(events.t.size)
        self._last_t.append(int(events.t[-1]) if events.t.size else -1)

    def append_bad(self, reason: str) -> None:
        """Write a recording without events in the place of one that cannot be used."""
        self._bad.append([len(self._sizes), reason])
        self.append(empty_events(self.sensor_size))

    def finish(self, source: dict[str, Any], targets: np.ndarray, split: np.ndarray, groups: np.ndarray | None) -> None:
        """Write what is known per recording, and the manifest last."""
        for file in self._files.values():
            file.flush()
        values = {
            "offsets": np.concatenate([[0], np.cumsum(self._sizes)]),
            "targets": targets,
            "split": split,
            "groups": groups,
            "last_t": self._last_t,
            "hashes": self._contents,
        }
        types = ARRAYS | ({"targets": VALUES} if kind_of(targets) == "value" else {})
        arrays = {key: np.ascontiguousarray(value, types[key]) for key, value in values.items() if value is not None}
        for key, array in arrays.items():
            np.save(self.folder / f"{key}.npy", array, allow_pickle=False)
        sha256 = {key: value.hexdigest() for key, value in self._hashes.items()}
        sha256 |= {key: hashlib.sha256(array.data).hexdigest() for key, array in arrays.items()}
        Manifest(
            format=FORMAT,
            source=source,
            recordings=len(self._sizes),
            events=sum(self._sizes),
            sensor_size=list(self.sensor_size),
            dtypes={key: (self._types | types)[key] for key in sha256},
            sha256=sha256,
            content=content_hash(sha256),
            bad=self._bad,
            versions={"snnlab": __version__, "numpy": np.__version__},
        ).write(self.folder)
