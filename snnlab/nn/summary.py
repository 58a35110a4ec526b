"""A network as plain data: what its layers are, what they cost, what its neurons' constants are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from snnlab.nn.build import BuiltNetwork, Shape
from snnlab.nn.clock import NORMS, Warned, clock_warnings
from snnlab.nn.neurons.base import Neuron
from snnlab.nn.neurons.time_constants import Constant


class LayerRow(NamedTuple):
    """One layer.

    Attributes:
        name: Its name.
        kind: Its type in the YAML.
        family: `weights`, `spiking`, `integrator`, `pooling`, `norm` or `other`.
        shape: Output of one sample at one step.
        parameters: Number of trainable numbers.
        operations: Dense operations of one sample at one step; None where it has weights whose use is not known.
    """

    name: str
    kind: str
    family: str
    shape: Shape
    parameters: int
    operations: int | None


class NeuronRow(NamedTuple):
    """One neuron's time constants, and the rest of its dialect in words."""

    name: str
    constants: list[Constant]
    words: Mapping[str, str]


class Summary(NamedTuple):
    """A network as plain data.

    Attributes:
        in_shape: Input of one sample at one step.
        layers: All layers, in order.
        neurons: The neurons among them, those within blocks too.
        warnings: What depends on the length of a step, where it should not.
        parameters: Number of trainable numbers, shared ones counted once.
        operations: Dense operations of one sample at one step, of the layers where they are known.
    """

    in_shape: Shape
    layers: list[LayerRow]
    neurons: list[NeuronRow]
    warnings: list[Warned]
    parameters: int
    operations: int


def summarize(built: BuiltNetwork, in_shape: Shape) -> Summary:
    """Return what there is to know of a network without training it.

    Args:
        built: The network and its shapes.
        in_shape: Input of one sample at one step.
    """
    costs = dense_operations(built.network, in_shape)
    layers = [
        LayerRow(name, built.kinds[name], family(layer), built.shapes[name], _size(layer), costs[name])
        for name, layer in built.network.named_children()
    ]
    neurons = [
        NeuronRow(name, layer.constants(), layer.dialect().words)
        for name, layer in built.network.named_modules()
        if isinstance(layer, Neuron)
    ]
    known = sum(row.operations or 0 for row in layers)
    return Summary(in_shape, layers, neurons, clock_warnings(built.network), _size(built.network), known)


def dense_operations(network: nn.Module, in_shape: Shape) -> dict[str, int | None]:
    """Return the multiply-accumulates of inputs with weights, of one sample at one step, by layer.

    Every input counts, the zeros and the padding too; biases, pools, norms and neurons count nothing. Spikes need
    fewer: only those that are there.

        convolution: outputs * (input channels / groups) * kernel
        transposed:  inputs * (output channels / groups) * kernel
        linear:      outputs * input features

    Args:
        network: The layers, its children.
        in_shape: Input of one sample at one step.

    Returns:
        The count of each child; None where one has weights whose use is not known.
    """
    counted: dict[str, int | None] = {name: 0 for name, _ in network.named_children()}

    def counter(layer: str) -> Callable[[nn.Module, tuple[Any, ...], Any], None]:
        def count(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            before, more = counted[layer], _operations(module, inputs, output)
            counted[layer] = None if before is None or more is None else before + more

        return count

    hooks = [
        module.register_forward_hook(counter(name))
        for name, child in network.named_children()
        for module in child.modules()
        if any(True for _ in module.parameters(recurse=False)) and not isinstance(module, (Neuron, *NORMS))
    ]
    training = network.training
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            network.eval()(torch.zeros(1, 1, *in_shape))
    finally:
        network.train(training)
        for hook in hooks:
            hook.remove()
    return counted


def _operations(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> int | None:
    if isinstance(module, _ConvTransposeNd):
        return inputs[0].numel() * (module.out_channels // module.groups) * prod(module.kernel_size)
    if isinstance(module, _ConvNd):
        return output.numel() * (module.in_channels // module.groups) * prod(module.kernel_size)
    if isinstance(module, nn.Linear):
        return output.numel() * module.in_features
    return None


def family(layer: nn.Module) -> str:
    """Return what sort of layer it is, as `LayerRow` names them."""
    if isinstance(layer, Neuron):
        return "spiking" if layer.spiking else "integrator"
    if isinstance(layer, NORMS):
        return "norm"
    if "Pool" in type(layer).__name__:
        return "pooling"
    return "weights" if _size(layer) else "other"


def shape_text(shape: Shape) -> str:
    """Return `12 × 30 × 30`."""
    return " × ".join(map(str, shape))


def _size(layer: nn.Module) -> int:
    return sum(parameter.numel() for parameter in layer.parameters() if parameter.requires_grad)
