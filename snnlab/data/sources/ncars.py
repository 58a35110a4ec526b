"""N-Cars: cars and what is none, seen by an event camera behind a windscreen."""

from __future__ import annotations

from pathlib import Path

from snnlab.data.formats import Reading
from snnlab.data.registry import DATASETS
from snnlab.data.sources.files import Found, Part, RecordingFiles
from snnlab.events import SensorSize

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
    sensor_size: SensorSize = (120, 100, 2)
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
