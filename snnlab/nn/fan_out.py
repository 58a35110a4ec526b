"""The number of outputs that one spike of each neuron reaches, through pools, votes, norms and blocks."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from snnlab.compat import ConvNd, convolve
from snnlab.errors import ConfigError
from snnlab.nn.blocks import Residual
from snnlab.nn.dt_checks import NORMS
from snnlab.nn.layer import fold_time
from snnlab.nn.layers import Delay, DelayedConnections, Dropout, SumPool, Voting
from snnlab.nn.network import BuiltNetwork, Network, Shape
from snnlab.nn.neurons.base import Neuron, named_neurons, plain_loops
from snnlab.nn.neurons.recurrent import Recurrent
from snnlab.nn.record import evaluation

_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_POOLS = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d, SumPool)
_REPLACED_BY_IDENTITY = (*NORMS, nn.ReLU, nn.LeakyReLU, nn.Sigmoid, nn.Tanh, nn.GELU, Delay)
# Layers that pass every spike on unchanged.
_IDENTITIES = (nn.Flatten, nn.Unflatten, nn.Identity, nn.Dropout, Dropout)


def fan_out(built: BuiltNetwork, in_shape: Shape) -> dict[str, Tensor]:
    """Return the number of outputs of the next layers with weights that one spike of each neuron reaches.

    The spike passes pools, votes, norms and blocks before these layers. In a recurrent layer, the recurrent connections
    are counted too. The number is the gradient of the sum of all outputs, with weights of 1 and sums for pools.

    Args:
        built: The network and its shapes.
        in_shape: Input of one sample at one step.

    Shape:
        The shape of each spiking layer's neurons, by the key of its counts.
    """
    network, neurons = built.network, dict(named_neurons(built.network))
    steps = max(2, built.num_steps)  # the feedback of a loop arrives at the second step
    leaves: dict[str, Tensor] = {}
    reached: list[Tensor] = [torch.zeros((), requires_grad=True)]
    hooks = [neuron.register_forward_hook(partial(_replace_by_leaf, leaves, name)) for name, neuron in neurons.items()]
    hooks += [
        layer.register_forward_hook(partial(_pass_spikes, reached, name))
        for name, layer in _modules_outside_neurons(network)
    ]
    before = network.run_settings.checkpoint_segments
    network.configure(checkpoint_segments=0)  # recomputing would call each hook twice
    try:
        with evaluation(network), plain_loops(), torch.enable_grad(), torch.random.fork_rng(devices=[]):
            network(torch.zeros(steps, 1, *in_shape))
    finally:
        network.configure(checkpoint_segments=before)
        for hook in hooks:
            hook.remove()
    if unknown := built.spiking.keys() - leaves.keys():
        raise ConfigError("", f"the fan-out of {min(unknown)} is unknown")
    found = torch.autograd.grad(torch.stack(reached).sum(), list(leaves.values()), allow_unused=True)
    fan_outs = {
        name: _fan_out_at_first_step(leaf, gradient)
        for (name, leaf), gradient in zip(leaves.items(), found, strict=True)
    }
    return {name: fan_outs[name] + _recurrent_fan_out(neurons[name]) for name in built.spiking}


def _modules_outside_neurons(network: Network) -> Iterator[tuple[str, nn.Module]]:
    """Yield the modules outside neurons that have weights, pool or change values, with dotted names."""
    inside = tuple(f"{name}." for name, _ in named_neurons(network))
    for name, layer in network.named_modules():
        own = not isinstance(layer, (Network, Neuron, nn.ParameterDict)) or isinstance(layer, Residual)
        if own and ".parametrizations" not in name and not name.startswith(inside):
            yield name, layer


def _replace_by_leaf(leaves: dict[str, Tensor], name: str, module: nn.Module, inputs: Any, output: Any) -> Any:
    """Replace a neuron's output with a leaf of the graph; within a loop, with one leaf for each step."""
    leaf = torch.ones_like(output[0], requires_grad=True)
    leaves.setdefault(name, leaf)
    return leaf, output[1]


def _pass_spikes(reached: list[Tensor], name: str, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> Any:
    """Pass each spike separately through a layer without weights; record the outputs of a layer with weights."""
    x, y = inputs[0], output[0] if isinstance(output, tuple) else output
    if isinstance(module, (ConvNd, nn.Linear, DelayedConnections, nn.RNNBase)):
        reached.append(_sum_of_outputs(module, x))
        y = y.detach()
    elif isinstance(module, _REPLACED_BY_IDENTITY):
        y = x
    elif isinstance(module, _POOLS):
        y = _pool_sums(module, x, y)
    elif isinstance(module, Voting):
        y = x.unflatten(-1, (-1, module.group_size)).sum(-1)
    elif not _is_identity(module):
        raise ConfigError("", f"the number of operations of a spike in {name} is unknown")
    return (y, *output[1:]) if isinstance(output, tuple) else y


def _is_identity(module: nn.Module) -> bool:
    """Return whether a module returns its input, or only the result of its submodules."""
    if isinstance(module, Residual):
        return module.connect in ("add", "concat")
    has_children = any(True for _ in module.children())
    return isinstance(module, _IDENTITIES) or (has_children and not any(True for _ in module.parameters(recurse=False)))


def _sum_of_outputs(module: nn.Module, x: Tensor) -> Tensor:
    """Return the sum of all outputs of a layer whose weights are 1."""
    if isinstance(module, nn.RNNBase):
        matrix = module.get_parameter("weight_ih_l0")
        return x.sum() * (len(matrix) * (2 if module.bidirectional else 1))
    assert isinstance(module, (ConvNd, nn.Linear, DelayedConnections))
    ones = torch.ones_like(module.weight)
    if isinstance(module, DelayedConnections):
        return fold_time(lambda frames: module.without_delays(frames, ones), x).sum()
    if isinstance(module, nn.Linear):
        return F.linear(x, ones).sum()
    return convolve(module, x, ones).sum()


def _pool_sums(pool: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Return the sums of a pool's windows, `[N, C, *size]`."""
    dims = x.dim() - 2
    kernel, stride, padding, dilation = (
        each if isinstance(each, tuple) else (each,) * dims
        for each in (getattr(pool, name, 1) for name in ("kernel_size", "stride", "padding", "dilation"))
    )
    sizes = zip(x.shape[2:], y.shape[2:], kernel, stride, padding, dilation, strict=True)
    # Padding after the last cell, for a window that is not full.
    extra_padding = [
        max(0, (after - 1) * step + wide * (k - 1) + 1 - n - 2 * p) for n, after, k, step, p, wide in sizes
    ]
    padded = F.pad(x, [side for extra in reversed(extra_padding) for side in (0, extra)])
    ones = x.new_ones(x.shape[1], 1, *kernel)
    return _CONV[dims](padded, ones, None, stride, padding, dilation, x.shape[1])


def _fan_out_at_first_step(leaf: Tensor, gradient: Tensor | None) -> Tensor:
    return torch.zeros_like(leaf[0, 0]).detach() if gradient is None else gradient[0, 0]


def _recurrent_fan_out(neuron: Neuron) -> float:
    """Return the recurrent connections of a neuron; for a convolution, of a neuron far from the border."""
    if not isinstance(neuron, Recurrent):
        return 0.0
    feedback = neuron.feedback
    weight = feedback.weight
    sources = weight.shape[1] if weight.dim() == 2 else weight.shape[0]
    return (weight.numel() - (0 if feedback.autapses else int(feedback.autapse.sum()))) / sources
