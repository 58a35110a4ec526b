"""Datasets by their names."""

from snnlab.data.sources import folder as folder
from snnlab.data.sources import ntidigits as ntidigits
from snnlab.data.sources import recordings as recordings
from snnlab.data.sources import saccades as saccades
from snnlab.data.sources import shd as shd
from snnlab.data.sources import smnist as smnist
from snnlab.data.sources import spike_patterns as spike_patterns
