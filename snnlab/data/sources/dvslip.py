"""DVS-Lip: spoken words seen by an event camera."""

from __future__ import annotations

from snnlab.data.formats import Reading
from snnlab.data.registry import DATASETS
from snnlab.data.sources.files import Part, RecordingFiles
from snnlab.events import SensorSize

_NAMES = """
accused action allow allowed america american another around attacks banks become being benefit benefits
between billion called capital challenge change chief couple court death described difference different during
economic education election england evening everything exactly general germany giving ground happen happened
having heavy house hundreds immigration judge labour leaders legal little london majority meeting military
million minutes missing needs number numbers paying perhaps point potential press price question really right
russia russian saying security several should significant spend spent started still support syria syrian taken
taking terms these thing think times tomorrow under warning water welcome words worst years young
"""
WORDS = tuple(_NAMES.split())


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
    class_folders = WORDS
    class_names = WORDS
    sensor_size: SensorSize = (128, 128, 2)
    num_classes = 100
    reading = Reading(time_origin="first", sort=True)
    holds = "accused/*.npy to young/*.npy"
    by_hand = (
        "fetch DVS-Lip.zip by hand, as https://sites.google.com/view/event-based-lipreading tells, and put it into"
        " DVSLip"
    )
