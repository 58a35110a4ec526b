"""Datasets, one file each."""

from snnlab.data.sources import nmnist as nmnist, saccade_digits as saccade_digits
