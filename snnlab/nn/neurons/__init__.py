"""Neurons: one file each, all temporal layers, registered by name."""

from snnlab.nn.neurons.base import NEURONS as NEURONS
from snnlab.nn.neurons.base import Neuron as Neuron
from snnlab.nn.neurons.cuba_lif import CubaLIF as CubaLIF
from snnlab.nn.neurons.cuba_lif import CubaLIFState as CubaLIFState
from snnlab.nn.neurons.li import LI as LI
from snnlab.nn.neurons.li import LIState as LIState
from snnlab.nn.neurons.lif import LIF as LIF
from snnlab.nn.neurons.lif import LIFState as LIFState
