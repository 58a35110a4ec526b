"""What datasets of one file a recording have in common: listing, a fingerprint, notes on a partial copy."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np

from snnlab.data.fetching import fetch_missing
from snnlab.data.formats import Reading, read_file
from snnlab.data.splits import held_out
from snnlab.errors import DataError
from snnlab.events import Events, SensorSize
from snnlab.intervals import between
from snnlab.seeds import Stream, generator

TestRule = Literal["random", "last"]
# The recordings for testing are the same for everyone, whatever seeds a run has.
TEST_SEED = 0


class Part(NamedTuple):
    """A part of a dataset: its folder, what it is for (0 training, 1 test, 2 validation), its number of recordings."""

    folder: str
    use: int
    whole: int


class Found(NamedTuple):
    """A recording's file, what the file system says of it, its class, and its person or session if one is known."""

    path: Path
    stat: os.stat_result
    target: int
    group: int = -1


class RecordingFiles:
    """Recordings of one file each, below a dataset's own folder and there below a folder for each class.

    Args:
        root: Folder that holds the dataset's own.
        download: Whether what is missing is fetched.
        archives: What is fetched: a name, an md5 and a url each, of the dataset's own host or of a mirror.

    Raises:
        ConfigError: if an archive's settings cannot be used.
        DataError: if there are no recordings, or a download fails.
    """

    label: str
    folder_name: str
    parts: tuple[Part, ...]
    suffix: str
    class_folders: Sequence[str]
    sensor_size: SensorSize
    num_classes: int
    class_names: Sequence[str] | None = None
    reading = Reading()
    holds: str  # what a part's folder should hold, for a message
    by_hand = ""  # how to get it, where no program can
    needs_test = True  # whether a copy without test recordings is refused

    def __init__(self, root: str | None, download: bool = True, archives: Sequence[Mapping[str, Any]] = ()) -> None:
        self.folder = self.origin = Path(root or "data").expanduser() / self.folder_name
        whole = {part.folder: part.whole for part in self.parts}
        fetch_missing(archives, self.folder, self._count, whole, download=download)
        found = {part.folder: self.find(self.folder / part.folder) for part in self.parts}
        for part in self.parts:
            if not found[part.folder] and (self.needs_test or part.use == 0):
                raise self._missing(part, download, bool(archives))
        self._files = [file for part in self.parts for file in found[part.folder]]
        self.targets = np.array([file.target for file in self._files], np.int64)
        uses, sizes = [part.use for part in self.parts], [len(found[part.folder]) for part in self.parts]
        self.split = np.repeat(np.array(uses, np.uint8), sizes)
        groups = np.array([file.group for file in self._files], np.int64)
        self.groups = None if (groups < 0).all() else groups
        self.notes = partial_notes(self.label, self.folder, self.parts, sizes)

    def find(self, folder: Path) -> list[Found]:
        """List the recordings of a part, here by class and name."""
        return [
            Found(path, stat, target)
            for target, name in enumerate(self.class_folders)
            for path, stat in listed(folder / name, self.suffix)
        ]

    def fingerprint(self) -> dict[str, Any]:
        """Return every file's name, size and time of change."""
        files = [
            f"{file.path.relative_to(self.folder).as_posix()} {file.stat.st_size} {file.stat.st_mtime_ns}"
            for file in self._files
        ]
        return {"dataset": self.label, "files": files}

    def __len__(self) -> int:
        return len(self._files)

    def name(self, index: int) -> str:
        """Return the file."""
        return str(self._files[index].path)

    def read(self, index: int) -> Events:
        """Read one file.

        Raises:
            DataError: if the file is damaged.
        """
        return read_file(self._files[index].path, self.reading, self.sensor_size)

    def _count(self) -> dict[str, int]:
        return {part.folder: len(self.find(self.folder / part.folder)) for part in self.parts}

    def _missing(self, part: Part, download: bool, archives: bool) -> DataError:
        cure = "data.download=true"
        if download:
            cure = "name another address under data.archives" if archives else "data.download=true with data.archives"
        return DataError(
            "data.root",
            f"no recordings in {self.folder / part.folder}, which should hold {self.holds}\n"
            f"  set data.root to the folder that holds {self.folder_name}, or {self.by_hand or cure}",
        )


class UnsplitFiles(RecordingFiles):
    """Recordings of one file each, of which the dataset does not say which are for testing, so that a split file may.

    Args:
        root: Folder that holds the dataset's own.
        download: Whether what is missing is fetched.
        archives: What is fetched: a name, an md5 and a url each, of the dataset's own host or of a mirror.
        test_rule: Which are for testing: `random` ones of each class, the same for everyone, or the `last` of each
            class in the order of their names.
        test_fraction: Part of each class that is for testing.

    Raises:
        ConfigError: if an archive's settings cannot be used.
        DataError: if there are no recordings, or a download fails.
        ValueError: if the part is out of its range.
    """

    draws_test = True

    def __init__(
        self,
        root: str | None,
        download: bool = True,
        archives: Sequence[Mapping[str, Any]] = (),
        test_rule: TestRule = "random",
        test_fraction: Annotated[float, between(0, 1, with_high=False)] = 0.1,
    ) -> None:
        super().__init__(root, download, archives)
        self.test_rule, self.test_fraction = test_rule, test_fraction
        self.split = for_testing(self.targets, test_rule, test_fraction)

    def fingerprint(self) -> dict[str, Any]:
        """Return every file's name, size and time of change, and which are for testing."""
        test = [self.test_rule, self.test_fraction, TEST_SEED, int(Stream.TEST)]
        return {**super().fingerprint(), "test": test}


def partial_notes(label: str, folder: Path, parts: Sequence[Part], sizes: Sequence[int]) -> list[str]:
    """Return a line for each part of which recordings are missing.

    Args:
        label: Short name of the dataset.
        folder: The dataset's own folder.
        parts: Its parts.
        sizes: Recordings found of each.
    """
    return [
        f"{label}: a partial copy, {size:,} of {part.whole:,} recordings in {folder / part.folder}"
        for part, size in zip(parts, sizes, strict=True)
        if size < part.whole
    ]


def for_testing(targets: np.ndarray, rule: TestRule, fraction: float) -> np.ndarray:
    """Choose a part of each class for testing.

    Args:
        targets: Class of each recording, in the order of their names.
        rule: `random` or `last`.
        fraction: The part; each class gives its share rounded.

    Shape:
        targets: `[R]`; returns `[R]`, uint8, 1 for testing.
    """
    chosen = held_out(targets, fraction, generator(TEST_SEED, Stream.TEST))
    if rule == "last":
        shares = {label: int(chosen[targets == label].sum()) for label in np.unique(targets).tolist()}
        chosen = np.zeros(targets.size, bool)
        for label, share in shares.items():
            members = np.flatnonzero(targets == label)
            chosen[members[members.size - share :]] = True
    return chosen.astype(np.uint8)


def listed(folder: Path, suffix: str) -> list[tuple[Path, os.stat_result]]:
    """Return a folder's files of a kind, sorted by name, with what the file system says of each; none if it is missing.

    Args:
        folder: The folder.
        suffix: How their names end; a name that begins with a dot is none of them.
    """
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        found = sorted((e.name, e.stat()) for e in entries if e.name.endswith(suffix) and not e.name.startswith("."))
    return [(folder / name, stat) for name, stat in found]
