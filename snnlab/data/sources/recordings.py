"""Datasets with one file per recording."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np

from snnlab.data.dataset import DATASETS
from snnlab.data.events import Events, SensorSize
from snnlab.data.fetching import fetch_missing
from snnlab.data.formats import ReadOptions, events_from_columns, read_file
from snnlab.data.reading_process import read_apart
from snnlab.data.splits import draw_test_part
from snnlab.errors import DataError
from snnlab.spec.interval import between

TestRule = Literal["random", "last"]


class DatasetPart(NamedTuple):
    """A part of a dataset: its folder, its use (0 training, 1 test, 2 validation), its number of recordings."""

    folder: str
    use: int
    whole: int


class RecordingFile(NamedTuple):
    """A recording's file, its `stat` result, its class, and its person or session (-1: unknown)."""

    path: Path
    stat: os.stat_result
    target: int
    group: int = -1


class RecordingFiles:
    """A dataset with one file per recording, in one folder per class below the dataset's folder.

    Args:
        root: Folder that holds the dataset's folder.
        download: Whether missing files are downloaded.
        archives: Files to download: a name, an md5 and a url each, from the dataset's host or a mirror.

    Raises:
        DataError: if there are no recordings, or a download fails.
    """

    label: str
    folder_name: str
    parts: tuple[DatasetPart, ...]
    suffix: str
    class_folders: Sequence[str]
    sensor_size: SensorSize
    num_classes: int
    class_names: Sequence[str] | None = None
    reading = ReadOptions()
    expected_files: str  # the expected files in a part's folder, for a message
    manual_download = ""  # how to download the dataset by hand, if no program can
    requires_test = True  # False: a copy without test recordings is accepted

    def __init__(self, root: str | None, download: bool = True, archives: Sequence[Mapping[str, Any]] = ()) -> None:
        self.folder = self.origin = Path(root or "data").expanduser() / self.folder_name
        whole = {part.folder: part.whole for part in self.parts}
        fetch_missing(archives, self.folder, self._count, whole, download=download)
        found = {part.folder: self.find(self.folder / part.folder) for part in self.parts}
        for part in self.parts:
            if not found[part.folder] and (self.requires_test or part.use == 0):
                raise self._missing_error(part, download, bool(archives))
        self._files = [file for part in self.parts for file in found[part.folder]]
        self.targets = np.array([file.target for file in self._files], np.int64)
        uses, sizes = [part.use for part in self.parts], [len(found[part.folder]) for part in self.parts]
        self.split = np.repeat(np.array(uses, np.uint8), sizes)
        groups = np.array([file.group for file in self._files], np.int64)
        self.groups = None if (groups < 0).all() else groups
        self.notes = partial_notes(self.label, self.folder, self.parts, sizes)

    def find(self, folder: Path) -> list[RecordingFile]:
        """List the recordings of a part, sorted by class and name."""
        return [
            RecordingFile(path, stat, target)
            for target, name in enumerate(self.class_folders)
            for path, stat in list_files(folder / name, self.suffix)
        ]

    def fingerprint(self) -> dict[str, Any]:
        """Return every file's name, size and modification time."""
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

    def _missing_error(self, part: DatasetPart, download: bool, archives: bool) -> DataError:
        hint = "data.download=true"
        if download:
            hint = "set another URL in data.archives" if archives else "data.download=true with data.archives"
        return DataError(
            "data.root",
            f"no recordings in {self.folder / part.folder}, which should hold {self.expected_files}\n"
            f"  set data.root to the folder that holds {self.folder_name}, or {self.manual_download or hint}",
        )


class UnsplitFiles(RecordingFiles):
    """A dataset with one file per recording and without a test part, so that a split file may define one.

    Args:
        test_rule: Choice of the test recordings: `random` ones of each class, the same for everyone, or the `last` of
            each class in the order of their names.
        test_fraction: Fraction of each class for testing.

    Raises:
        DataError: if there are no recordings, or a download fails.
    """

    has_no_test_part = True

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
        self.split = choose_test(self.targets, test_rule, test_fraction)


def partial_notes(label: str, folder: Path, parts: Sequence[DatasetPart], sizes: Sequence[int]) -> list[str]:
    """Return a line for each part of which recordings are missing.

    Args:
        label: Short name of the dataset.
        folder: The dataset's own folder.
        parts: Its parts.
        sizes: Number of recordings found of each part.
    """
    return [
        f"{label}: a partial copy, {size:,} of {part.whole:,} recordings in {folder / part.folder}"
        for part, size in zip(parts, sizes, strict=True)
        if size < part.whole
    ]


def choose_test(targets: np.ndarray, rule: TestRule, fraction: float) -> np.ndarray:
    """Choose the test recordings of each class.

    Args:
        targets: Class of each recording, in the order of their names.
        rule: `random` or `last`.
        fraction: The fraction for testing; each class contributes its rounded share.

    Shape:
        targets: `[R]`; returns `[R]`, uint8, 1 for testing.
    """
    chosen = draw_test_part(targets, fraction)
    if rule == "last":
        shares = {label: int(chosen[targets == label].sum()) for label in np.unique(targets).tolist()}
        chosen = np.zeros(targets.size, np.uint8)
        for label, share in shares.items():
            members = np.flatnonzero(targets == label)
            chosen[members[members.size - share :]] = 1
    return chosen


def list_files(folder: Path, suffix: str) -> list[tuple[Path, os.stat_result]]:
    """Return a folder's files with a suffix, sorted by name, with their `stat` results; empty if there is no folder.

    Args:
        folder: The folder.
        suffix: Ending of the file names; names that begin with a dot are skipped.
    """
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        found = sorted((e.name, e.stat()) for e in entries if e.name.endswith(suffix) and not e.name.startswith("."))
    return [(folder / name, stat) for name, stat in found]


@DATASETS.register("nmnist")
class NMNIST(RecordingFiles):
    """N-MNIST: MNIST digits recorded by a moving ATIS camera, 60,000 for training and 10,000 for testing.

    Args:
        root: Folder that holds `NMNIST/Train/0..9/*.bin` and `NMNIST/Test/0..9/*.bin`.

    Source: Orchard et al., Converting static image datasets to spiking neuromorphic datasets using saccades, 2015.
    """

    label = "nmnist"
    folder_name = "NMNIST"
    parts = (DatasetPart("Train", 0, 60_000), DatasetPart("Test", 1, 10_000))
    suffix = ".bin"
    class_folders = tuple("0123456789")
    sensor_size = (34, 34, 2)
    num_classes = 10
    reading = ReadOptions(time_origin="zero")
    expected_files = "0/*.bin to 9/*.bin"


@DATASETS.register("pokerdvs")
class PokerDVS(RecordingFiles):
    """Poker-DVS: pips of clubs, hearts, diamonds and spades, 20 to 30 ms each, a dataset for a first try in seconds.

    Time 0 is a recording's first event.

    Args:
        root: Folder that holds `POKERDVS/pips_train/cl/*.npy`, and the same of he, di, sp and of pips_test.

    Source: Serrano-Gotarredona and Linares-Barranco, Poker-DVS and MNIST-DVS, 2015; cut as in tonic.
    """

    label = "pokerdvs"
    folder_name = "POKERDVS"
    parts = (
        DatasetPart("pips_train", 0, 1),
        DatasetPart("pips_test", 1, 1),
    )  # the official number of recordings is unknown
    suffix = ".npy"
    class_folders = ("cl", "he", "di", "sp")
    class_names = ("clubs", "hearts", "diamonds", "spades")
    sensor_size = (35, 35, 2)
    num_classes = 4
    reading = ReadOptions(time_origin="first", sort=True, columns=("t", "x", "y", "p"))
    expected_files = "cl/*.npy, he/*.npy, di/*.npy and sp/*.npy"


# Folders in which copies have the parts, depending on how the archives were unpacked.
WITHIN = ("", "Prophesee_Dataset_n_cars")


@DATASETS.register("ncars")
class NCars(RecordingFiles):
    """N-Cars: 12,336 cars and 11,693 background samples, 100 ms each, cut out of an ATIS camera's view of roads.

    Samples have different sizes, and are at the upper left of a sensor as large as the largest.

    Args:
        root: Folder that holds `NCARS/n-cars_train/cars/*.dat`, `NCARS/n-cars_train/background/*.dat` and the same for
            n-cars_test; a folder train or test may be between them, or replace n-cars_train.

    Source: Sironi et al., HATS: Histograms of averaged time surfaces for robust event-based object classification,
        CVPR 2018.
    """

    label = "ncars"
    folder_name = "NCARS"
    parts = (DatasetPart("n-cars_train", 0, 15_422), DatasetPart("n-cars_test", 1, 8607))
    suffix = ".dat"
    class_folders = ("background", "cars")
    class_names = ("background", "car")
    sensor_size = (120, 100, 2)
    num_classes = 2
    reading = ReadOptions(time_origin="zero", sort=True)
    expected_files = "cars/*.dat and background/*.dat"

    def find(self, folder: Path) -> list[RecordingFile]:
        """List the recordings of a part, in the first known folder that has any."""
        short = folder.name.removeprefix("n-cars_")
        above = [folder.parent / within for within in WITHIN]
        for candidate in [one for top in above for one in (top / folder.name, top / folder.name / short, top / short)]:
            if found := super().find(candidate):
                return found
        return []


_WORDS = """
accused action allow allowed america american another around attacks banks become being benefit benefits
between billion called capital challenge change chief couple court death described difference different during
economic education election england evening everything exactly general germany giving ground happen happened
having heavy house hundreds immigration judge labour leaders legal little london majority meeting military
million minutes missing needs number numbers paying perhaps point potential press price question really right
russia russian saying security several should significant spend spent started still support syria syrian taken
taking terms these thing think times tomorrow under warning water welcome words worst years young
"""
WORDS = tuple(_WORDS.split())


@DATASETS.register("dvslip")
class DVSLip(RecordingFiles):
    """DVS-Lip: mouths of 40 people who say 100 words, of which 25 pairs sound alike; the test has other people.

    The files do not name the speaker, so validation shares people with training.

    Args:
        root: Folder that holds `DVSLip/DVS-Lip/train/WORD/*.npy` and `DVSLip/DVS-Lip/test/WORD/*.npy`.

    Source: Tan et al., Multi-grained spatio-temporal features perceived network for event-based lip-reading, 2022.
    """

    label = "dvslip"
    folder_name = "DVSLip"
    parts = (DatasetPart("DVS-Lip/train", 0, 14_896), DatasetPart("DVS-Lip/test", 1, 4975))
    suffix = ".npy"
    class_folders = class_names = WORDS
    sensor_size = (128, 128, 2)
    num_classes = 100
    reading = ReadOptions(time_origin="first", sort=True)
    expected_files = "accused/*.npy to young/*.npy"
    manual_download = (
        "download DVS-Lip.zip as described at https://sites.google.com/view/event-based-lipreading and put it into"
        " DVSLip"
    )


_USER = re.compile(r"user(\d+)_")


@DATASETS.register("dvsgesture")
class DVSGesture(RecordingFiles):
    """DVS128 Gesture: 11 gestures of 29 people under 3 kinds of light, cut into 1,077 and 264 recordings.

    People are groups: none is in two of training, validation and test. Times are in whole ms. A mirrored or
    time-reversed gesture is of another class.

    Args:
        root: Folder that holds `DVSGesture/ibmGestureTrain/user01_fluorescent/0.npy`, ...

    Source: Amir et al., A low power, fully event-based gesture recognition system, CVPR 2017.
    """

    label = "dvsgesture"
    folder_name = "DVSGesture"
    parts = (DatasetPart("ibmGestureTrain", 0, 1077), DatasetPart("ibmGestureTest", 1, 264))
    suffix = ".npy"
    sensor_size = (128, 128, 2)
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
    reading = ReadOptions("ms", "zero", columns=("x", "y", "p", "t"))
    requires_test = False
    expected_files = "user01_fluorescent/0.npy and others"

    def find(self, folder: Path) -> list[RecordingFile]:
        """List the recordings of a part, sorted by person, light and gesture."""
        people = sorted(folder.glob("user*_*/"), key=lambda person: (_user_number(person), person.name))
        return [
            RecordingFile(path, stat, int(path.stem), _user_number(person))
            for person in people
            for path, stat in sorted(
                list_files(person, self.suffix), key=lambda file: (len(file[0].stem), file[0].stem)
            )
            if path.stem.isdecimal()
        ]


def _user_number(folder: Path) -> int:
    found = _USER.match(folder.name)
    if found is None:
        raise DataError(folder, "its name should be like user01_fluorescent")
    return int(found[1])


@DATASETS.register("cifar10dvs")
class CIFAR10DVS(UnsplitFiles):
    """CIFAR10-DVS: 1,000 images of each class of CIFAR-10, moved in circles on a screen and recorded by a DVS128.

    Time 0 is a recording's first event: the files have the times of a clock. The order for `last` is that of the file
    names as text, `..._10` before `..._2`, as in SpikingJelly.

    Args:
        root: Folder that holds `CIFAR10DVS/airplane/*.aedat4` to `CIFAR10DVS/truck/*.aedat4`.

    Source: Li et al., CIFAR10-DVS: an event-stream dataset for object classification, 2017.
    """

    label = "cifar10dvs"
    folder_name = "CIFAR10DVS"
    parts = (DatasetPart("", 0, 10_000),)
    suffix = ".aedat4"
    class_folders = class_names = (
        *("airplane", "automobile", "bird", "cat", "deer"),
        *("dog", "frog", "horse", "ship", "truck"),
    )
    sensor_size = (128, 128, 2)
    num_classes = 10
    reading = ReadOptions(time_origin="first", sort=True)
    expected_files = "airplane/*.aedat4 to truck/*.aedat4"


_THINGS = """
BACKGROUND_Google Faces_easy Leopards Motorbikes accordion airplanes anchor ant barrel bass beaver binocular bonsai
brain brontosaurus buddha butterfly camera cannon car_side ceiling_fan cellphone chair chandelier cougar_body
cougar_face crab crayfish crocodile crocodile_head cup dalmatian dollar_bill dolphin dragonfly electric_guitar
elephant emu euphonium ewer ferry flamingo flamingo_head garfield gerenuk gramophone grand_piano hawksbill headphone
hedgehog helicopter ibis inline_skate joshua_tree kangaroo ketch lamp laptop llama lobster lotus mandolin mayfly
menorah metronome minaret nautilus octopus okapi pagoda panda pigeon pizza platypus pyramid revolver rhino rooster
saxophone schooner scissors scorpion sea_horse snoopy soccer_ball stapler starfish stegosaurus stop_sign strawberry
sunflower tick trilobite umbrella watch water_lilly wheelchair wild_cat windsor_chair wrench yin_yang
"""
THINGS = tuple(_THINGS.split())


@DATASETS.register("ncaltech101")
class NCaltech101(UnsplitFiles):
    """N-Caltech101: 8,709 images of 100 object classes and a background class, recorded by a moving ATIS camera.

    Images have different sizes, and are at the upper left of the sensor. Coordinates are those of the files: tonic
    subtracts each recording's smallest x and y, which moves an image by the place of its first noise.

    Args:
        root: Folder that holds `NCALTECH101/Caltech101/CLASS/*.bin`.

    Source: Orchard et al., Converting static image datasets to spiking neuromorphic datasets using saccades, 2015.
    """

    label = "ncaltech101"
    folder_name = "NCALTECH101"
    parts = (DatasetPart("Caltech101", 0, 8709),)
    suffix = ".bin"
    class_folders = class_names = THINGS
    sensor_size = (240, 180, 2)
    num_classes = 101
    reading = ReadOptions(time_origin="zero", sort=True)
    expected_files = "accordion/*.bin to yin_yang/*.bin"

    def find(self, folder: Path) -> list[RecordingFile]:
        """List the images by class and name, in Caltech101 or, in some copies, in its parent folder."""
        return super().find(folder) or super().find(folder.parent)


LETTERS = tuple("abcdefghiklmnopqrstuvwxy")  # j and z are movements
_LETTER = re.compile(r"([a-y])_\d+\.mat")


@DATASETS.register("asldvs")
class ASLDVS(UnsplitFiles):
    """ASL-DVS: 4,200 recordings of 100 ms of each of 24 letters, shown to a DAVIS240C by five people.

    j and z are not among the letters, which are numbered without them. The files count rows from the bottom; here they
    are counted from the top, as everywhere. The files do not name the person, so all parts share people.

    Args:
        root: Folder that holds `ASLDVS`, with `a_0001.mat` to `y_4200.mat` in any folders below it.

    Source: Bi et al., Graph-based object classification for neuromorphic vision sensing, ICCV 2019.
    """

    label = "asldvs"
    folder_name = "ASLDVS"
    parts = (DatasetPart("", 0, 100_800),)
    class_names = LETTERS
    sensor_size = (240, 180, 2)
    num_classes = 24
    reading = ReadOptions(time_origin="first", sort=True)
    expected_files = "a_0001.mat to y_4200.mat, in any folders"
    manual_download = (
        "download ICCV2019_DVS_dataset.zip as described at https://github.com/PIX2NVS/NVS2Graph; unpack it and the"
        " archives in it into ASLDVS"
    )

    def find(self, folder: Path) -> list[RecordingFile]:
        """List the recordings by letter and name, in any folders."""
        named = ((_LETTER.fullmatch(path.name), path) for path in folder.rglob("*.mat"))
        letters = sorted((match[1], path.name, path) for match, path in named if match and match[1] in LETTERS)
        return [RecordingFile(path, path.stat(), LETTERS.index(letter)) for letter, _, path in letters]

    def read(self, index: int) -> Events:
        """Read one file with the columns ts, x, y and pol.

        Raises:
            DataError: if the file is damaged.
        """
        name = self.name(index)
        try:
            found = read_apart(Path(name), "mat")
        except OSError as error:
            raise DataError(name, f"cannot be read ({error})") from error
        names = dict(zip("txyp", ("ts", "x", "y", "pol"), strict=True))
        if missing := [column for column in names.values() if column not in found]:
            raise DataError(name, f"cannot be read (it has no column {' and no '.join(missing)})")
        columns = {key: np.ravel(found[column]) for key, column in names.items()}
        # In a wider type first: rows below 0 would wrap.
        columns["y"] = self.sensor_size[1] - 1 - columns["y"].astype(np.int64)
        return events_from_columns(columns, self.reading, self.sensor_size, name)
