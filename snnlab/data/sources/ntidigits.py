"""N-TIDIGITS18: spoken digits heard by a silicon cochlea."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from snnlab.data.formats import Reading
from snnlab.data.formats.hdf5 import own
from snnlab.data.registry import DATASETS
from snnlab.data.sources.files import Part
from snnlab.data.sources.spike_files import Listing, SpikeFiles
from snnlab.events import SensorSize

if TYPE_CHECKING:
    import h5py

DIGITS = "o123456789z"  # both o and z are 0
FILE = "n-tidigits.hdf5"


@DATASETS.register("ntidigits")
class NTIDIGITS(SpikeFiles):
    """N-TIDIGITS18: 2,463 and 2,486 single digits of 112 and 113 speakers, as spikes of 64 channels of one ear.

    Speakers are groups; a recording is called such as `man-ah-a-1`, of which the first two are the speaker. Sequences
    of several digits are left out. Time 0 is a recording's first spike.

    Args:
        root: Folder that holds `NTIDIGITS18/n-tidigits.hdf5`.

    Source: Anumula et al., Feature representations for neuromorphic audio spike streams, 2018.
    """

    label = "ntidigits"
    folder_name = "NTIDIGITS18"
    parts = (Part(FILE, 0, 2463), Part(FILE, 1, 2486))
    sensor_size: SensorSize = (64, 1, 1)
    num_classes = len(DIGITS)
    reading = Reading("s", "first", sort=True)

    def listing(self, file: h5py.File, part: Part) -> Listing:
        """List the recordings of one digit."""
        name = ("train", "test")[part.use]
        called = [label.decode().split("-") for label in np.asarray(own(file, f"{name}_labels")).tolist()]
        single = [words for words in called if len(words[-1]) == 1]
        return Listing(
            keys=[f"{name}/{'-'.join(words)}" for words in single],
            targets=np.array([DIGITS.index(words[-1]) for words in single], np.int64),
            speakers=np.array(["-".join(words[:2]) for words in single]),
            names=tuple(DIGITS),
        )

    def columns(self, file: h5py.File, key: Any) -> dict[str, np.ndarray]:
        part, _, called = key.partition("/")
        return {
            "t": np.asarray(own(own(file, f"{part}_timestamps"), called)),
            "x": np.asarray(own(own(file, f"{part}_addresses"), called)),
        }
