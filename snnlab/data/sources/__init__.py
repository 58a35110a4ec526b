"""Datasets by their names."""

from snnlab.data.sources import folder as folder
from snnlab.data.sources import mnist as mnist
from snnlab.data.sources import recordings as recordings
from snnlab.data.sources import simulated as simulated
from snnlab.data.sources import spike_files as spike_files
