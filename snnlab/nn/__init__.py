"""Spiking layers and networks in plain PyTorch: time first, state explicit, no Hydra, Lightning or tonic."""

from snnlab.nn import layers as layers
from snnlab.nn.build import BuiltNetwork as BuiltNetwork, build_network as build_network
from snnlab.nn.layers.registry import LAYERS as LAYERS
from snnlab.nn.network import Network as Network
from snnlab.nn.neurons import (
    LI as LI,
    LIF as LIF,
    NEURONS as NEURONS,
    CubaLIF as CubaLIF,
    CubaLIFState as CubaLIFState,
    LIFState as LIFState,
    LIState as LIState,
    Neuron as Neuron,
)
from snnlab.nn.surrogate import SURROGATES as SURROGATES, Surrogate as Surrogate
from snnlab.nn.temporal import TemporalLayer as TemporalLayer
