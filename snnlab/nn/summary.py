"""Summary of a network: its layers with shapes, parameters and operations, and the constants of its neurons."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import ParametrizationList, is_parametrized

from snnlab.compat import ConvNd, ConvTransposeNd
from snnlab.nn.blocks.loop import Loop
from snnlab.nn.delays import Delays
from snnlab.nn.dt_checks import NORMS, LayerWarning, dt_warnings
from snnlab.nn.layer import TemporalLayer
from snnlab.nn.layers import DelayedConnections
from snnlab.nn.network import BuiltNetwork, Network, Shape
from snnlab.nn.neurons.base import Neuron, named_neurons, plain_loops
from snnlab.nn.neurons.info import NeuronInfo
from snnlab.nn.neurons.recurrent import Feedback
from snnlab.nn.neurons.time_constants import Constant
from snnlab.nn.record import evaluation


class LayerSummary(NamedTuple):
    """One layer.

    Attributes:
        name: Its name; dotted within a block.
        kind: Its type in the YAML; its class name if it was not built from a YAML.
        family: `weights`, `spiking`, `integrator`, `pooling`, `norm`, `block` or `other`.
        shape: Output shape of one sample at one step.
        parameters: Number of trainable parameters.
        operations: Dense operations of one sample at one step; None if unknown.
        follows: Whether its input is the output of the layer before it; false for a block's extra layers.
        connection: How the layers of a block are connected, as text; empty for a plain sequence.
        feedback: The feedback connections of a loop, as pairs (source layer, target layer).
    """

    name: str
    kind: str
    family: str
    shape: Shape
    parameters: int
    operations: int | None
    follows: bool = True
    connection: str = ""
    feedback: tuple[tuple[str, str], ...] = ()

    @property
    def depth(self) -> int:
        """The number of blocks around the layer."""
        return self.name.count(".")


class NeuronSummary(NamedTuple):
    """The time constants of one layer of neurons, and its `NeuronInfo`."""

    name: str
    constants: list[Constant]
    info: NeuronInfo


class Summary(NamedTuple):
    """A network as plain data.

    Attributes:
        in_shape: Input shape of one sample at one step.
        layers: All layers, in order; a block, which holds the sums of its layers, is followed by them.
        neurons: All layers of neurons, also those within blocks.
        warnings: The parts that depend on the length of a step, but should not.
        parameters: Number of trainable parameters, shared ones counted once.
        operations: Dense operations of one sample at one step, summed over the layers where they are known.
    """

    in_shape: Shape
    layers: list[LayerSummary]
    neurons: list[NeuronSummary]
    warnings: list[LayerWarning]
    parameters: int
    operations: int


def summarize(built: BuiltNetwork, in_shape: Shape) -> Summary:
    """Return the summary of a network.

    Args:
        built: The network and its shapes.
        in_shape: Input shape of one sample at one step.
    """
    costs = probe_layers(built.network, in_shape, built.num_steps)
    run = [each for each in _named_layers(built.network) if each.name in costs]  # the names of delayed edges do not run
    layers = [_layer_summary(each, costs[each.name]) for each in run]
    neurons = [NeuronSummary(name, n.constants(), n.info()) for name, n in named_neurons(built.network)]
    known = sum(row.operations or 0 for row in layers if row.family != "block")  # a block holds sums
    return Summary(in_shape, layers, neurons, dt_warnings(built.network), _num_trainable(built.network), known)


def _layer_summary(named_layer: _NamedLayer, cost: LayerCost) -> LayerSummary:
    name, kind, layer, follows = named_layer
    connection = layer.connection() if isinstance(layer, Network) else ""
    feedback = tuple((way.source, way.target) for way in layer.feedback_paths) if isinstance(layer, Loop) else ()
    return LayerSummary(
        name, kind, family(layer), cost.shape, _num_trainable(layer), cost.operations, follows, connection, feedback
    )


class LayerCost(NamedTuple):
    """Output shape and dense operations of a layer, of one sample at one step; None if unknown."""

    shape: Shape
    operations: int | None


def probe_layers(network: Network, in_shape: Shape, num_steps: int = 1) -> dict[str, LayerCost]:
    """Run a network once on zeros; return output shapes and dense operations of all layers, by dotted name.

    The operations are multiply-accumulates of inputs with weights. Every input counts, also zeros and padding; biases,
    pools, norms and neurons count nothing. Sparse spikes need fewer operations.

        convolution: outputs * (input channels / groups) * kernel
        transposed:  inputs * (output channels / groups) * kernel
        linear:      outputs * input features; so also the feedback of recurrent neurons
        gru, lstm:   the size of all matrices

    Args:
        network: The network.
        in_shape: Input shape of one sample at one step.
        num_steps: Number of steps of the input.
    """
    shapes: dict[str, Shape] = {}
    counted: dict[str, int | None] = {}
    hooks = []
    for name, _, layer, _ in _named_layers(network):
        counted[name] = 0
        hooks.append(layer.register_forward_hook(partial(_record_shape, shapes, name)))
        hooks += [
            module.register_forward_hook(partial(_add_operations, counted, name))
            for module in layer.modules()
            if has_weights(module)
        ]
    try:
        with evaluation(network), plain_loops(), torch.no_grad(), torch.random.fork_rng(devices=[]):
            network(torch.zeros(num_steps, 1, *in_shape))
    finally:
        for hook in hooks:
            hook.remove()
    return {
        name: LayerCost(shape, None if (total := counted[name]) is None else total // num_steps)
        for name, shape in shapes.items()
    }


class _NamedLayer(NamedTuple):
    name: str
    kind: str
    layer: nn.Module
    follows: bool


def _named_layers(network: Network, within: str = "") -> Iterator[_NamedLayer]:
    """Yield all layers with dotted names; a block is followed by its layers."""
    in_order = {name for name, _ in network.layers()}
    for name, layer in network.named_children():
        yield _NamedLayer(within + name, network.layer_types.get(name, type(layer).__name__), layer, name in in_order)
        if isinstance(layer, Network):
            yield from _named_layers(layer, f"{within}{name}.")


def _record_shape(shapes: dict[str, Shape], name: str, module: nn.Module, inputs: Any, output: Any) -> None:
    shapes[name] = tuple(output[0].shape[2:] if isinstance(module, TemporalLayer) else output.shape[1:])


def _add_operations(counted: dict[str, int | None], name: str, module: nn.Module, inputs: Any, output: Any) -> None:
    before, more = counted[name], _count_operations(module, inputs, output)
    counted[name] = None if before is None or more is None else before + more


def has_weights(module: nn.Module) -> bool:
    """Return whether a module itself has weights that its input is multiplied with."""
    if isinstance(module, (Neuron, Delays, *NORMS, nn.ParameterDict, ParametrizationList)):
        return False
    return is_parametrized(module) or any(True for _ in module.parameters(recurse=False))


def _count_operations(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> int | None:
    if isinstance(module, ConvTransposeNd):
        return inputs[0].numel() * (module.out_channels // module.groups) * prod(module.kernel_size)
    if isinstance(module, ConvNd):
        return output.numel() * (module.in_channels // module.groups) * prod(module.kernel_size)
    if isinstance(module, nn.Linear):
        return output.numel() * module.in_features
    if isinstance(module, DelayedConnections):  # in whole steps, each weight has one input
        return output[0].numel() * module.weight[0].numel() // getattr(module, "every", 1)
    if isinstance(module, Feedback):
        return output.numel() * module.weight[0].numel()
    if isinstance(module, nn.RNNBase):
        return inputs[0].shape[:2].numel() * sum(part.numel() for part in module.parameters() if part.dim() == 2)
    return None


def family(layer: nn.Module) -> str:
    """Return the family of a layer: `weights`, `spiking`, `integrator`, `pooling`, `norm`, `block` or `other`."""
    if isinstance(layer, Network):
        return "block"
    if isinstance(layer, Neuron):
        return "spiking" if layer.spiking else "integrator"
    if isinstance(layer, NORMS):
        return "norm"
    if "Pool" in type(layer).__name__:
        return "pooling"
    return "weights" if _num_trainable(layer) else "other"


def shape_text(shape: Shape) -> str:
    """Return a shape as text, such as `12 × 30 × 30`."""
    return " × ".join(map(str, shape))


def _num_trainable(layer: nn.Module) -> int:
    return sum(parameter.numel() for parameter in layer.parameters() if parameter.requires_grad)


# Prefix of the metrics of learned values.
LEARNED_PREFIX = "learned/"


class Learned(NamedTuple):
    """The current values of a quantity that a layer of neurons learns.

    Attributes:
        layer: The layer's dotted name.
        name: Its name in the configuration, such as `tau_mem`.
        unit: Such as `ms`; `steps` for a time constant if steps have no length; empty without a unit.
        values: One value, or one for each channel or neuron, detached, in double precision.
    """

    layer: str
    name: str
    unit: str
    values: Tensor

    @property
    def key(self) -> str:
        """Name and unit, for metrics and arrays: `tau_mem_ms`."""
        return f"{self.name}_{self.unit}" if self.unit else self.name


def learned(network: nn.Module) -> Iterator[Learned]:
    """Yield the values that the neurons of a network learn; for a decay factor also its time constant."""
    for layer, outer in named_neurons(network):
        neuron = outer.parts()[0]
        yield from (Learned(layer, *each) for each in neuron.learned_values())


def learned_metrics(network: nn.Module) -> dict[str, float]:
    """Return the learned values as metrics, such as `learned/tau_mem_ms/LAYER`; the mean if there are several values.

    Their minimum and maximum are `learned/tau_mem_ms_min/LAYER` and `learned/tau_mem_ms_max/LAYER`.
    """
    found: dict[str, float] = {}
    for each in learned(network):
        found[f"{LEARNED_PREFIX}{each.key}/{each.layer}"] = float(each.values.mean())
        if each.values.numel() > 1:
            found[f"{LEARNED_PREFIX}{each.key}_min/{each.layer}"] = float(each.values.min())
            found[f"{LEARNED_PREFIX}{each.key}_max/{each.layer}"] = float(each.values.max())
    return found
