"""Poker-DVS: the pips of playing cards that are browsed before an event camera."""

from __future__ import annotations

from snnlab.data.formats import Reading
from snnlab.data.registry import DATASETS
from snnlab.data.sources.files import Part, RecordingFiles
from snnlab.events import SensorSize


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
    sensor_size: SensorSize = (35, 35, 2)
    num_classes = 4
    reading = Reading(time_origin="first", sort=True, columns=("t", "x", "y", "p"))
    holds = "cl/*.npy, he/*.npy, di/*.npy and sp/*.npy"
