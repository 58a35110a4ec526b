"""ASL-DVS: letters of American Sign Language before an event camera."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from snnlab.data.formats import Reading
from snnlab.data.formats.columns import events_of
from snnlab.data.registry import DATASETS
from snnlab.data.sources.files import Found, Part, UnsplitFiles
from snnlab.errors import DataError
from snnlab.events import Events, SensorSize

LETTERS = tuple("abcdefghiklmnopqrstuvwxy")  # j and z are movements
_NAME = re.compile(r"([a-y])_\d+\.mat")


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
    sensor_size: SensorSize = (240, 180, 2)
    num_classes = 24
    reading = Reading(time_origin="first", sort=True)
    holds = "a_0001.mat to y_4200.mat, in any folders"
    by_hand = (
        "fetch ICCV2019_DVS_dataset.zip by hand, as https://github.com/PIX2NVS/NVS2Graph tells, and unpack it and the"
        " archives in it into ASLDVS"
    )

    def find(self, folder: Path) -> list[Found]:
        """List the recordings by letter and name, in whatever folders they are."""
        named = ((_NAME.fullmatch(path.name), path) for path in folder.rglob("*.mat"))
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
            raise DataError(f"{name}: cannot be read ({str(error) or type(error).__name__})") from error
        # Of a wider type first: what is below row 0 would wrap.
        columns["y"] = self.sensor_size[1] - 1 - columns["y"].astype(np.int64)
        return events_of(columns, self.reading, self.sensor_size, name)
