"""N-Caltech101: pictures of things before a moving event camera."""

from __future__ import annotations

from pathlib import Path

from snnlab.data.formats import Reading
from snnlab.data.registry import DATASETS
from snnlab.data.sources.files import Found, Part, UnsplitFiles
from snnlab.events import SensorSize

_NAMES = """
BACKGROUND_Google Faces_easy Leopards Motorbikes accordion airplanes anchor ant barrel bass beaver binocular bonsai
brain brontosaurus buddha butterfly camera cannon car_side ceiling_fan cellphone chair chandelier cougar_body
cougar_face crab crayfish crocodile crocodile_head cup dalmatian dollar_bill dolphin dragonfly electric_guitar
elephant emu euphonium ewer ferry flamingo flamingo_head garfield gerenuk gramophone grand_piano hawksbill headphone
hedgehog helicopter ibis inline_skate joshua_tree kangaroo ketch lamp laptop llama lobster lotus mandolin mayfly
menorah metronome minaret nautilus octopus okapi pagoda panda pigeon pizza platypus pyramid revolver rhino rooster
saxophone schooner scissors scorpion sea_horse snoopy soccer_ball stapler starfish stegosaurus stop_sign strawberry
sunflower tick trilobite umbrella watch water_lilly wheelchair wild_cat windsor_chair wrench yin_yang
"""
CLASSES = tuple(_NAMES.split())


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
    class_folders = CLASSES
    class_names = CLASSES
    sensor_size: SensorSize = (240, 180, 2)
    num_classes = 101
    reading = Reading(time_origin="zero", sort=True)
    holds = "accordion/*.bin to yin_yang/*.bin"

    def find(self, folder: Path) -> list[Found]:
        """List the pictures by class and name, below Caltech101 or, in some copies, beside it."""
        return super().find(folder) or super().find(folder.parent)
