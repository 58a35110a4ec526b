"""Datasets by their names."""

from snnlab.data.sources import folder as folder
from snnlab.data.sources import ntidigits as ntidigits
from snnlab.data.sources import recordings as recordings
from snnlab.data.sources import saccade_digits as saccade_digits
from snnlab.data.sources import saccade_images as saccade_images
from snnlab.data.sources import saccade_mnist as saccade_mnist
from snnlab.data.sources import shd as shd
from snnlab.data.sources import smnist as smnist
from snnlab.data.sources import spike_patterns as spike_patterns
