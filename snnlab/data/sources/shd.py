"""The Spiking Heidelberg Digits and the Spiking Speech Commands: words as spikes of a model of the ear."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from snnlab.data.formats.hdf5 import own
from snnlab.data.registry import DATASETS
from snnlab.data.sources.files import Part
from snnlab.data.sources.spike_files import Listing, SpikeFiles
from snnlab.events import SensorSize
from snnlab.printable import printable

if TYPE_CHECKING:
    import h5py


class Heidelberg(SpikeFiles):
    """Spikes of 700 channels: `spikes/times` (s), `spikes/units`, `labels` and `extra/speaker`, a row a recording.

    `extra/keys` are the names of the classes.
    """

    sensor_size: SensorSize = (700, 1, 1)

    def listing(self, file: h5py.File, part: Part) -> Listing:
        labels = np.asarray(own(file, "labels"))
        keys = np.asarray(own(file, "extra/keys")) if "extra/keys" in file else np.array([])
        return Listing(range(labels.size), labels, names=[printable(key.decode()) for key in keys.tolist()])

    def columns(self, file: h5py.File, key: Any) -> dict[str, np.ndarray]:
        """Return a row's times and channels."""
        return {"t": _row(file, "spikes/times", key), "x": _row(file, "spikes/units", key)}


@DATASETS.register("shd")
class SHD(Heidelberg):
    """SHD: 8,156 and 2,264 spoken digits in English and German of 12 speakers, two of whom speak in the test alone.

    Speakers are groups, so that whole ones are held out for validation. The other ten speak in the official test too:
    there they have numbers of their own.

    Args:
        root: Folder that holds `SHD/shd_train.h5` and `SHD/shd_test.h5`.

    Source: Cramer et al., The Heidelberg spiking data sets for the systematic evaluation of spiking neural networks,
        2020.
    """

    label = "shd"
    folder_name = "SHD"
    parts = (Part("shd_train.h5", 0, 8156), Part("shd_test.h5", 1, 2264))
    num_classes = 20

    def listing(self, file: h5py.File, part: Part) -> Listing:
        """List the rows with their speakers."""
        return super().listing(file, part)._replace(speakers=np.asarray(own(file, "extra/speaker")))


def _row(file: h5py.File, name: str, key: Any) -> np.ndarray:
    return np.asarray(own(file, name)[key])


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
    parts = (Part("ssc_train.h5", 0, 75_466), Part("ssc_valid.h5", 2, 9981), Part("ssc_test.h5", 1, 20_382))
    num_classes = 35
