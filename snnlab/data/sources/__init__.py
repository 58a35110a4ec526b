"""Datasets, one file each."""

from snnlab.data.sources import dvsgesture as dvsgesture
from snnlab.data.sources import folder as folder
from snnlab.data.sources import nmnist as nmnist
from snnlab.data.sources import saccade_digits as saccade_digits
from snnlab.data.sources import saccade_images as saccade_images
from snnlab.data.sources import saccade_mnist as saccade_mnist
from snnlab.data.sources import smnist as smnist
from snnlab.data.sources import spike_patterns as spike_patterns
