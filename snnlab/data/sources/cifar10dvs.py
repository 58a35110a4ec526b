"""CIFAR10-DVS: pictures of CIFAR-10 that move on a screen before an event camera."""

from __future__ import annotations

from snnlab.data.formats import Reading
from snnlab.data.registry import DATASETS
from snnlab.data.sources.files import Part, UnsplitFiles
from snnlab.events import SensorSize

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


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
    class_folders = CLASSES
    class_names = CLASSES
    sensor_size: SensorSize = (128, 128, 2)
    num_classes = 10
    reading = Reading(time_origin="first", sort=True)
    holds = "airplane/*.aedat4 to truck/*.aedat4"
