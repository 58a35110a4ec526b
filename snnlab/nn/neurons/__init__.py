"""Neurons: one file each, all temporal layers, registered by name."""

from snnlab.nn.neurons.base import NEURONS as NEURONS, Neuron as Neuron
from snnlab.nn.neurons.cuba_lif import CubaLIF as CubaLIF, CubaLIFState as CubaLIFState
from snnlab.nn.neurons.li import LI as LI, LIState as LIState
from snnlab.nn.neurons.lif import LIF as LIF, LIFState as LIFState
