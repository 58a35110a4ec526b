"""Datasets of one file a recording: where their files are, what is in them, and who made them."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from snnlab.data.formats import Reading
from snnlab.data.formats.columns import events_of
from snnlab.data.registry import DATASETS
from snnlab.data.sources.files import Found, Part, RecordingFiles, UnsplitFiles, listed
from snnlab.errors import DataError
from snnlab.events import Events


@DATASETS.register("nmnist")
class NMNIST(RecordingFiles):
    """N-MNIST: MNIST digits recorded by a moving ATIS camera, 60,000 for training and 10,000 for testing.

    Args:
        root: Folder that holds `NMNIST/Train/0..9/*.bin` and `NMNIST/Test/0..9/*.bin`.

    Source: Orchard et al., Converting static image datasets to spiking neuromorphic datasets using saccades, 2015.
    """

    label = "nmnist"
    folder_name = "NMNIST"
    parts = (Part("Train", 0, 60_000), Part("Test", 1, 10_000))
    suffix = ".bin"
    class_folders = tuple("0123456789")
    sensor_size = (34, 34, 2)
    num_classes = 10
    reading = Reading(time_origin="zero")
    holds = "0/*.bin to 9/*.bin"


@DATASETS.register("pokerdvs")
class PokerDVS(RecordingFiles):
    """Poker-DVS: pips of clubs, hearts, diamonds and spades, of 20 to 30 ms each, for a first try within seconds.

    Time 0 is a recording's first event.

    Args:
        root: Folder that holds `POKERDVS/pips_train/cl/*.npy`, and the same of he, di, sp and of pips_test.

    Source: Serrano-Gotarredona and Linares-Barranco, Poker-DVS and MNIST-DVS, 2015; cut as tonic has it.
    """

    label = "pokerdvs"
    folder_name = "POKERDVS"
    parts = (Part("pips_train", 0, 1), Part("pips_test", 1, 1))  # how many there are is nowhere said
    suffix = ".npy"
    class_folders = ("cl", "he", "di", "sp")
    class_names = ("clubs", "hearts", "diamonds", "spades")
    sensor_size = (35, 35, 2)
    num_classes = 4
    reading = Reading(time_origin="first", sort=True, columns=("t", "x", "y", "p"))
    holds = "cl/*.npy, he/*.npy, di/*.npy and sp/*.npy"


# Where copies have a part: as archives are unpacked side by side, and as the archives in them are.
WITHIN = ("", "Prophesee_Dataset_n_cars")


@DATASETS.register("ncars")
class NCars(RecordingFiles):
    """N-Cars: 12,336 cars and 11,693 pieces of background, 100 ms each, cut out of an ATIS camera's view of roads.

    Cuts have different sizes, and lie at the upper left of a sensor as large as the largest.

    Args:
        root: Folder that holds `NCARS/n-cars_train/cars/*.dat`, `NCARS/n-cars_train/background/*.dat` and the same of
            n-cars_test; there may be a folder train, or test, between, or in place of n-cars_train.

    Source: Sironi et al., HATS: Histograms of averaged time surfaces for robust event-based object classification,
        CVPR 2018.
    """

    label = "ncars"
    folder_name = "NCARS"
    parts = (Part("n-cars_train", 0, 15_422), Part("n-cars_test", 1, 8607))
    suffix = ".dat"
    class_folders = ("background", "cars")
    class_names = ("background", "car")
    sensor_size = (120, 100, 2)
    num_classes = 2
    reading = Reading(time_origin="zero", sort=True)
    holds = "cars/*.dat and background/*.dat"

    def find(self, folder: Path) -> list[Found]:
        """List the recordings of a part, in the first of the folders in which copies have it."""
        short = folder.name.removeprefix("n-cars_")
        above = [folder.parent / within for within in WITHIN]
        for place in [one for top in above for one in (top / folder.name, top / folder.name / short, top / short)]:
            if found := super().find(place):
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
    """DVS-Lip: the mouths of 40 people who say 100 words, of which 25 pairs sound alike; others speak in the test.

    The files do not say who speaks, and so validation shares people with training.

    Args:
        root: Folder that holds `DVSLip/DVS-Lip/train/WORD/*.npy` and `DVSLip/DVS-Lip/test/WORD/*.npy`.

    Source: Tan et al., Multi-grained spatio-temporal features perceived network for event-based lip-reading, 2022.
    """

    label = "dvslip"
    folder_name = "DVSLip"
    parts = (Part("DVS-Lip/train", 0, 14_896), Part("DVS-Lip/test", 1, 4975))
    suffix = ".npy"
    class_folders = class_names = WORDS
    sensor_size = (128, 128, 2)
    num_classes = 100
    reading = Reading(time_origin="first", sort=True)
    holds = "accused/*.npy to young/*.npy"
    by_hand = (
        "fetch DVS-Lip.zip by hand, as https://sites.google.com/view/event-based-lipreading tells, and put it into"
        " DVSLip"
    )


_USER = re.compile(r"user(\d+)_")


@DATASETS.register("dvsgesture")
class DVSGesture(RecordingFiles):
    """DVS128 Gesture: 11 gestures of 29 people under 3 kinds of light, cut into 1,077 and 264 recordings.

    People are groups: none is in two of training, validation and test. Times are in whole ms. A mirrored gesture, and
    one that runs backwards, is of another class.

    Args:
        root: Folder that holds `DVSGesture/ibmGestureTrain/user01_fluorescent/0.npy`, ...

    Source: Amir et al., A low power, fully event-based gesture recognition system, CVPR 2017.
    """

    label = "dvsgesture"
    folder_name = "DVSGesture"
    parts = (Part("ibmGestureTrain", 0, 1077), Part("ibmGestureTest", 1, 264))
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
    reading = Reading("ms", "zero", columns=("x", "y", "p", "t"))
    needs_test = False
    holds = "user01_fluorescent/0.npy and others"

    def find(self, folder: Path) -> list[Found]:
        """List the recordings of a part by person, light and gesture."""
        people = sorted(folder.glob("user*_*/"), key=lambda place: (_user(place), place.name))
        return [
            Found(path, stat, int(path.stem), _user(place))
            for place in people
            for path, stat in sorted(listed(place, self.suffix), key=lambda file: (len(file[0].stem), file[0].stem))
            if path.stem.isdecimal()
        ]


def _user(place: Path) -> int:
    found = _USER.match(place.name)
    if found is None:
        raise DataError(place, "its name should be such as user01_fluorescent")
    return int(found[1])


@DATASETS.register("cifar10dvs")
class CIFAR10DVS(UnsplitFiles):
    """CIFAR10-DVS: 1,000 pictures of each class of CIFAR-10, moved in circles on a screen and recorded by a DVS128.

    Time 0 is a recording's first event: the files' own times are those of a clock. The order of `last` is that of the
    files' names as text, `..._10` before `..._2`, as SpikingJelly has it.

    Args:
        root: Folder that holds `CIFAR10DVS/airplane/*.aedat4` to `CIFAR10DVS/truck/*.aedat4`.

    Source: Li et al., CIFAR10-DVS: an event-stream dataset for object classification, 2017.
    """

    label = "cifar10dvs"
    folder_name = "CIFAR10DVS"
    parts = (Part("", 0, 10_000),)
    suffix = ".aedat4"
    class_folders = class_names = (
        *("airplane", "automobile", "bird", "cat", "deer"),
        *("dog", "frog", "horse", "ship", "truck"),
    )
    sensor_size = (128, 128, 2)
    num_classes = 10
    reading = Reading(time_origin="first", sort=True)
    holds = "airplane/*.aedat4 to truck/*.aedat4"


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
    """N-Caltech101: 8,709 pictures of 100 sorts of things, and of none of them, recorded by a moving ATIS camera.

    Pictures have different sizes, and lie at the upper left of the sensor. Places are as the files have them: taking
    each recording's least x and y from them, as tonic does, would move a picture by where its first noise is.

    Args:
        root: Folder that holds `NCALTECH101/Caltech101/CLASS/*.bin`.

    Source: Orchard et al., Converting static image datasets to spiking neuromorphic datasets using saccades, 2015.
    """

    label = "ncaltech101"
    folder_name = "NCALTECH101"
    parts = (Part("Caltech101", 0, 8709),)
    suffix = ".bin"
    class_folders = class_names = THINGS
    sensor_size = (240, 180, 2)
    num_classes = 101
    reading = Reading(time_origin="zero", sort=True)
    holds = "accordion/*.bin to yin_yang/*.bin"

    def find(self, folder: Path) -> list[Found]:
        """List the pictures by class and name, below Caltech101 or, in some copies, beside it."""
        return super().find(folder) or super().find(folder.parent)


LETTERS = tuple("abcdefghiklmnopqrstuvwxy")  # j and z are movements
_LETTER = re.compile(r"([a-y])_\d+\.mat")


@DATASETS.register("asldvs")
class ASLDVS(UnsplitFiles):
    """ASL-DVS: 4,200 recordings of 100 ms of each of 24 letters, held before a DAVIS240C by five people.

    j and z are not among the letters, which are numbered without them. The files count rows from below; here they are
    counted from above, as everywhere. They do not say whose hand it is, so that all parts share people.

    Args:
        root: Folder that holds `ASLDVS`, and anywhere in that `a_0001.mat` to `y_4200.mat`.

    Source: Bi et al., Graph-based object classification for neuromorphic vision sensing, ICCV 2019.
    """

    label = "asldvs"
    folder_name = "ASLDVS"
    parts = (Part("", 0, 100_800),)
    class_names = LETTERS
    sensor_size = (240, 180, 2)
    num_classes = 24
    reading = Reading(time_origin="first", sort=True)
    holds = "a_0001.mat to y_4200.mat, in any folders"
    by_hand = (
        "fetch ICCV2019_DVS_dataset.zip by hand, as https://github.com/PIX2NVS/NVS2Graph tells, and unpack it and the"
        " archives in it into ASLDVS"
    )

    def find(self, folder: Path) -> list[Found]:
        """List the recordings by letter and name, in whatever folders they are."""
        named = ((_LETTER.fullmatch(path.name), path) for path in folder.rglob("*.mat"))
        letters = sorted((match[1], path.name, path) for match, path in named if match and match[1] in LETTERS)
        return [Found(path, path.stat(), LETTERS.index(letter)) for letter, _, path in letters]

    def read(self, index: int) -> Events:
        """Read one file with the columns ts, x, y and pol.

        Raises:
            DataError: if the file is damaged.
        """
        from scipy.io import loadmat
        from scipy.io.matlab import MatReadError

        name = self.name(index)
        try:
            held = loadmat(name)
            columns = {
                ours: np.ravel(held[theirs]) for ours, theirs in zip("txyp", ("ts", "x", "y", "pol"), strict=True)
            }
        except (OSError, ValueError, TypeError, KeyError, EOFError, NotImplementedError, MatReadError) as error:
            raise DataError(name, f"cannot be read ({str(error) or type(error).__name__})") from error
        # Of a wider type first: what is below row 0 would wrap.
        columns["y"] = self.sensor_size[1] - 1 - columns["y"].astype(np.int64)
        return events_of(columns, self.reading, self.sensor_size, name)
