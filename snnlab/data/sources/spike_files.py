"""Datasets of a few HDF5 files with many recordings each: SHD, SSC, N-TIDIGITS18."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from snnlab.data.dataset import DATASETS
from snnlab.data.events import Events, SensorSize
from snnlab.data.fetching import fetch_missing
from snnlab.data.formats import ReadOptions, events_from_columns
from snnlab.data.hdf5_files import get_local
from snnlab.data.sources.recordings import DatasetPart, partial_notes
from snnlab.errors import DataError
from snnlab.printable import printable

READ_ERRORS = (OSError, KeyError, ValueError, TypeError, RuntimeError)


class PartContents(NamedTuple):
    """The recordings of a part: key of each in its file, classes, speakers if known, names of classes."""

    keys: Sequence[Any]
    targets: np.ndarray
    speakers: np.ndarray | None = None
    names: Sequence[str] = ()


class SpikeFiles(ABC):
    """Spike recordings in a few HDF5 files, read one by one on access.

    Args:
        root: Folder that holds the dataset's folder.
        download: Whether missing files are downloaded.
        archives: Files to download: a name, an md5 and a url each, from the dataset's host or a mirror.

    Raises:
        DataError: if a file is missing or damaged, or a download fails.
    """

    label: str
    folder_name: str
    parts: tuple[DatasetPart, ...]  # `folder` is a file here
    sensor_size: SensorSize
    num_classes: int
    reading = ReadOptions("s", "zero", sort=True)

    def __init__(self, root: str | None, download: bool = True, archives: Sequence[Mapping[str, Any]] = ()) -> None:
        self.folder = self.origin = Path(root or "data").expanduser() / self.folder_name
        whole = {part.folder: part.whole for part in self.parts}
        fetch_missing(archives, self.folder, self._count, whole, download=download)
        self._opened: tuple[int, Path, h5py.File] | None = None
        contents = [self._discover_part(part) for part in self.parts]
        sizes = [len(content.keys) for content in contents]
        self._sources = [
            (self.folder / part.folder, key)
            for part, content in zip(self.parts, contents, strict=True)
            for key in content.keys
        ]
        self.targets = np.concatenate([content.targets for content in contents]).astype(np.int64)
        self.class_names = names if len(names := contents[0].names) == self.num_classes else None
        self.split = np.repeat(np.array([part.use for part in self.parts], np.uint8), sizes)
        self.groups = _groups([content.speakers for content in contents])
        self.notes = partial_notes(self.label, self.folder, self.parts, sizes)

    @abstractmethod
    def discover(self, file: h5py.File, part: DatasetPart) -> PartContents:
        """List the recordings of a part."""

    @abstractmethod
    def columns(self, file: h5py.File, key: Any) -> dict[str, np.ndarray]:
        """Return the times t and the channels x of a recording."""

    def fingerprint(self) -> dict[str, Any]:
        """Return every file's name, size and modification time."""
        paths = dict.fromkeys(part.folder for part in self.parts)
        stats = [(name, (self.folder / name).stat()) for name in paths]
        return {"dataset": self.label, "files": [f"{name} {stat.st_size} {stat.st_mtime_ns}" for name, stat in stats]}

    def __len__(self) -> int:
        return len(self._sources)

    def name(self, index: int) -> str:
        """Return the file, and the key of the recording in it."""
        path, key = self._sources[index]
        return f"{path} ({key})"

    def read(self, index: int) -> Events:
        """Read one recording.

        Raises:
            DataError: if the file is damaged.
        """
        path, key = self._sources[index]
        try:
            columns = self.columns(self._open(path), key)
        except READ_ERRORS as error:
            raise DataError(self.name(index), f"cannot be read ({error})") from error
        return events_from_columns(columns, self.reading, self.sensor_size, self.name(index))

    def __getstate__(self) -> dict[str, Any]:
        """Pickle without the open file."""
        return vars(self) | {"_opened": None}

    def _open(self, path: Path) -> h5py.File:
        """Return the file, which stays open while recordings of it are read one after the other in this process."""
        # A forked process must not share the file position with its parent.
        if self._opened is None or self._opened[:2] != (os.getpid(), path):
            self._opened = os.getpid(), path, h5py.File(path, "r")
        return self._opened[2]

    def _discover_part(self, part: DatasetPart) -> PartContents:
        path = self.folder / part.folder
        if not path.is_file():
            raise DataError(
                "data.root",
                f"there is no {path}",
                f"set data.root to the folder that holds {self.folder_name}, or data.download=true with data.archives",
            )
        try:
            return self.discover(self._open(path), part)
        except READ_ERRORS as error:
            raise DataError(path, f"cannot be read ({error})", "fetch it again, or remove it") from error

    def _count(self) -> dict[str, int]:
        """Count an existing file as complete, since a smaller copy may be intended."""
        return {part.folder: part.whole if (self.folder / part.folder).is_file() else 0 for part in self.parts}


def _groups(speakers: Sequence[np.ndarray | None]) -> np.ndarray | None:
    """Return a number for each speaker, different ones in each part.

    The official test parts may share speakers with training: the numbers only serve to hold speakers out of training.
    """
    numbers: list[np.ndarray] = []
    first = 0
    for names in speakers:
        if names is None:
            return None
        known, inverse = np.unique(names, return_inverse=True)
        numbers.append(first + inverse)
        first += known.size
    return np.concatenate(numbers).astype(np.int64)


DIGITS = "o123456789z"  # both o and z are 0
FILE = "n-tidigits.hdf5"


@DATASETS.register("ntidigits")
class NTIDIGITS(SpikeFiles):
    """N-TIDIGITS18: 2,463 and 2,486 single digits of 112 and 113 speakers, as spikes of the 64 channels of one ear.

    Speakers are groups; recordings have names like `man-ah-a-1`, of which the first two words are the speaker.
    Sequences of several digits are dropped. Time 0 is a recording's first spike.

    Args:
        root: Folder that holds `NTIDIGITS18/n-tidigits.hdf5`.

    Source: Anumula et al., Feature representations for neuromorphic audio spike streams, 2018.
    """

    label = "ntidigits"
    folder_name = "NTIDIGITS18"
    parts = (DatasetPart(FILE, 0, 2463), DatasetPart(FILE, 1, 2486))
    sensor_size: SensorSize = (64, 1, 1)
    num_classes = len(DIGITS)
    reading = ReadOptions("s", "first", sort=True)

    def discover(self, file: h5py.File, part: DatasetPart) -> PartContents:
        """List the recordings of one digit."""
        name = ("train", "test")[part.use]
        called = [label.decode().split("-") for label in np.asarray(get_local(file, f"{name}_labels")).tolist()]
        single = [words for words in called if len(words[-1]) == 1]
        return PartContents(
            keys=[f"{name}/{'-'.join(words)}" for words in single],
            targets=np.array([DIGITS.index(words[-1]) for words in single], np.int64),
            speakers=np.array(["-".join(words[:2]) for words in single]),
            names=tuple(DIGITS),
        )

    def columns(self, file: h5py.File, key: Any) -> dict[str, np.ndarray]:
        part, _, called = key.partition("/")
        return {
            "t": np.asarray(get_local(get_local(file, f"{part}_timestamps"), called)),
            "x": np.asarray(get_local(get_local(file, f"{part}_addresses"), called)),
        }


class Heidelberg(SpikeFiles):
    """Spikes of 700 channels: `spikes/times` (s), `spikes/units`, `labels` and `extra/speaker`, one row per recording.

    `extra/keys` are the names of the classes.
    """

    sensor_size: SensorSize = (700, 1, 1)

    def discover(self, file: h5py.File, part: DatasetPart) -> PartContents:
        labels = np.asarray(get_local(file, "labels"))
        keys = np.asarray(get_local(file, "extra/keys")) if "extra/keys" in file else np.array([])
        return PartContents(range(labels.size), labels, names=[printable(key.decode()) for key in keys.tolist()])

    def columns(self, file: h5py.File, key: Any) -> dict[str, np.ndarray]:
        """Return a row's times and channels."""
        return {"t": _read_row(file, "spikes/times", key), "x": _read_row(file, "spikes/units", key)}


@DATASETS.register("shd")
class SHD(Heidelberg):
    """SHD: 8,156 and 2,264 spoken digits in English and German of 12 speakers, two of them in the test only.

    Speakers are groups, so all recordings of a speaker are held out together for validation. The other ten speakers are
    also in the official test, with different group numbers there.

    Args:
        root: Folder that holds `SHD/shd_train.h5` and `SHD/shd_test.h5`.

    Source: Cramer et al., The Heidelberg spiking data sets for the systematic evaluation of spiking neural networks,
        2020.
    """

    label = "shd"
    folder_name = "SHD"
    parts = (DatasetPart("shd_train.h5", 0, 8156), DatasetPart("shd_test.h5", 1, 2264))
    num_classes = 20

    def discover(self, file: h5py.File, part: DatasetPart) -> PartContents:
        """List the rows with their speakers."""
        return super().discover(file, part)._replace(speakers=np.asarray(get_local(file, "extra/speaker")))


def _read_row(file: h5py.File, name: str, key: Any) -> np.ndarray:
    return np.asarray(get_local(file, name)[key])


@DATASETS.register("ssc")
class SSC(Heidelberg):
    """SSC: the 35 words of Google's Speech Commands, with an official validation part: 75,466, 9,981 and 20,382.

    Args:
        root: Folder that holds `SSC/ssc_train.h5`, `SSC/ssc_valid.h5` and `SSC/ssc_test.h5`.

    Source: Cramer et al., The Heidelberg spiking data sets for the systematic evaluation of spiking neural networks,
        2020.
    """

    label = "ssc"
    folder_name = "SSC"
    parts = (
        DatasetPart("ssc_train.h5", 0, 75_466),
        DatasetPart("ssc_valid.h5", 2, 9981),
        DatasetPart("ssc_test.h5", 1, 20_382),
    )
    num_classes = 35
