"""N-MNIST; a partial copy is used as far as it goes, and what is missing is said."""

from __future__ import annotations

from snnlab.data.formats import Reading
from snnlab.data.registry import DATASETS
from snnlab.data.sources.files import Part, RecordingFiles
from snnlab.events import SensorSize


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
    sensor_size: SensorSize = (34, 34, 2)
    num_classes = 10
    reading = Reading(time_origin="zero")
    holds = "0/*.bin to 9/*.bin"
