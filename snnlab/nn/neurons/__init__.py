"""Neurons: one file each, all temporal layers, registered by name."""

from snnlab.nn.neurons.base import Neuron as Neuron
from snnlab.nn.neurons.cuba_li import CubaLI as CubaLI
from snnlab.nn.neurons.cuba_li import CubaLIState as CubaLIState
from snnlab.nn.neurons.cuba_lif import CubaLIF as CubaLIF
from snnlab.nn.neurons.cuba_lif import CubaLIFState as CubaLIFState
from snnlab.nn.neurons.iaf import IAF as IAF
from snnlab.nn.neurons.iaf import IAFState as IAFState
from snnlab.nn.neurons.li import LI as LI
from snnlab.nn.neurons.li import LIState as LIState
from snnlab.nn.neurons.lif import LIF as LIF
from snnlab.nn.neurons.lif import LIFState as LIFState
from snnlab.nn.neurons.recurrent import Recurrent as Recurrent
from snnlab.nn.neurons.recurrent import RecurrentState as RecurrentState
from snnlab.nn.neurons.registry import NEURONS as NEURONS
