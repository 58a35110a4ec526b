"""A network in whole numbers as an ordinary network whose weights, biases, thresholds and bounds are these numbers.

It has the same spikes while no membrane saturates: an `iaf` neuron has no decay that is rounded. Other neurons have.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch

from snnlab.errors import ConfigError
from snnlab.nn.layers.pool import SumPool
from snnlab.nn.network import Network, build_network
from snnlab.nn.neurons.base import Neuron
from snnlab.nn.neurons.nir_node import NIRNode
from snnlab.nn.quantization import groups_of

# Settings of a neuron that are in the unit of its membrane, and names of its coefficients.
_IN_UNITS = ("v_threshold", "floor", "v_reset")
_POOL = ("kernel_size", "stride", "padding")


class IntegerNetwork(NamedTuple):
    """A network whose numbers are whole.

    Attributes:
        network: The network.
        units: What one unit of the numbers of each layer of neurons, and of the weights before it, is.
    """

    network: Network
    units: Mapping[str, float]


def is_whole(network: Network) -> bool:
    """Return whether neurons of a network are in whole numbers."""
    return any(isinstance(module, Neuron) and module.is_quantized for module in network.modules())


@torch.no_grad()
def integer_network(network: Network) -> IntegerNetwork:
    """Return a network in whole numbers as an ordinary one: a sequence of layers, whose neurons are `iaf`.

    Args:
        network: The network, unchanged.
    """
    built = network.built_from
    if built is None:
        raise ConfigError("export", "needs the network's settings", "build the network with snnlab.nn.build_network")
    layers = {name: dict(node) for name, node in built.layers.items()}
    units: dict[str, float] = {}
    groups = groups_of(network)
    for group in groups:
        name, neuron = group.name, group.neuron
        whole: Any = neuron
        if name not in layers or network.get_submodule(name) is not neuron or not _is_perfect(neuron):
            rule = "a decay that is rounded, a feedback, or layers in a block of whole numbers are in no other format"
            raise ConfigError(f"model.layers.{name}", rule, "export the run that they were made of")
        k, unit = whole.coefficients(), whole.unit()
        if unit.numel() > 1:
            problem = "whole numbers of a scale for each channel are in no other format"
            raise ConfigError(f"model.layers.{name}", problem, "quantize with quantize.scales=layer")
        units[name] = float(unit)
        layers[name] |= {"input_gain": 1.0, "learn": None}
        for setting in _IN_UNITS:
            if layers[name].get(setting) is not None or setting == "v_threshold":
                layers[name][setting] = _one_number(getattr(k, setting), f"model.layers.{name}.{setting}")
        if not isinstance(start := layers[name].get("v_init", 0.0), str):
            layers[name]["v_init"] = float((torch.tensor(start).double() / unit + 0.5).floor())
    for name, pool in network.layers():
        if isinstance(pool, SumPool):  # a mean is a sum since its divisor is a part of the weights
            layers[name] = {"type": "sum_pool", **{key: list(getattr(pool, key)) for key in _POOL}}
    made = build_network(layers, in_shape=built.in_shape, dt=built.dt, num_steps=built.num_steps).network
    for group in groups:
        for one in group.inputs:
            layer: Any = made.get_submodule(one.name)
            layer.weight.copy_(one.module.weight)
            if layer.bias is not None:
                layer.bias.copy_(one.module.bias)
    return IntegerNetwork(made.eval(), units)


def _is_perfect(neuron: Neuron) -> bool:
    """Return whether neurons spike and have no decay: IF of NIR."""
    said = getattr(type(neuron), "nir", None)
    return isinstance(said, NIRNode) and said.kind == "IF"


def _one_number(value: Any, place: str) -> float:
    found = torch.as_tensor(value).flatten()
    if (found != found[0]).any():
        raise ConfigError(place, "differs between neurons", "export the run that the whole numbers were made of")
    return float(found[0])
