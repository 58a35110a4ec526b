"""Datasets, one file each."""

from snnlab.data.sources import asldvs as asldvs
from snnlab.data.sources import cifar10dvs as cifar10dvs
from snnlab.data.sources import dvsgesture as dvsgesture
from snnlab.data.sources import dvslip as dvslip
from snnlab.data.sources import folder as folder
from snnlab.data.sources import ncaltech101 as ncaltech101
from snnlab.data.sources import ncars as ncars
from snnlab.data.sources import nmnist as nmnist
from snnlab.data.sources import ntidigits as ntidigits
from snnlab.data.sources import pokerdvs as pokerdvs
from snnlab.data.sources import saccade_digits as saccade_digits
from snnlab.data.sources import saccade_images as saccade_images
from snnlab.data.sources import saccade_mnist as saccade_mnist
from snnlab.data.sources import shd as shd
from snnlab.data.sources import smnist as smnist
from snnlab.data.sources import spike_patterns as spike_patterns
from snnlab.data.sources import ssc as ssc
