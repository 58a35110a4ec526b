"""The Spiking Speech Commands: spoken words as spikes of a model of the ear."""

from __future__ import annotations

from snnlab.data.registry import DATASETS
from snnlab.data.sources.files import Part
from snnlab.data.sources.shd import Heidelberg


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
