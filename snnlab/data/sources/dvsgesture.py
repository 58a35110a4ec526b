"""DVS128 Gesture, cut into recordings as tonic's copy is; a partial copy is used, and what is missing is said."""

from __future__ import annotations

import re
from pathlib import Path

from snnlab.data.formats import Reading
from snnlab.data.registry import DATASETS
from snnlab.data.sources.files import Found, Part, RecordingFiles, listed
from snnlab.errors import DataError
from snnlab.events import SensorSize

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
        raise DataError(f"{place}: its name should be such as user01_fluorescent")
    return int(found[1])
