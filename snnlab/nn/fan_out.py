"""How many connections a spike of each neuron takes.

Axes: T steps, B samples, C channels.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from snnlab.compat import ConvNd, ConvTransposeNd, convolve
from snnlab.errors import ConfigError
from snnlab.nn.blocks import Residual
from snnlab.nn.build import BuiltNetwork, Shape
from snnlab.nn.dt_checks import NORMS
from snnlab.nn.layers import Dropout, SumPool, Voting
from snnlab.nn.network import Network
from snnlab.nn.neurons.base import Neuron, named_neurons, plain_loops
from snnlab.nn.neurons.recurrent import Recurrent
from snnlab.nn.record import evaluation

_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSE = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
_POOLS = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d, SumPool)
_PASSES = (*NORMS, nn.ReLU, nn.LeakyReLU, nn.Sigmoid, nn.Tanh, nn.GELU)
# What gives every spike on as it is, by code of its own.
_PLAIN = (nn.Flatten, nn.Unflatten, nn.Identity, nn.Dropout, Dropout)


def fan_out(built: BuiltNetwork, in_shape: Shape) -> dict[str, Tensor]:
    """Return how many outputs of the next layers with weights a lone spike of each neuron reaches.

    It passes pools, votes, norms and blocks on its way to them. Of a recurrent layer, those that come back to it are
    counted too. It is the gradient of the sum of all outputs, where each weight is 1 and each pool a sum.

    Args:
        built: The network and its shapes.
        in_shape: Input of one sample at one step.

    Shape:
        That of each spiking layer's neurons, by the key of its counts.

    Raises:
        ConfigError: naming a layer of which that is not known.
    """
    network, neurons = built.network, dict(named_neurons(built.network))
    steps = max(2, built.num_steps)  # what comes back within a loop comes at the second step
    leaves: dict[str, Tensor] = {}
    reached: list[Tensor] = [torch.zeros((), requires_grad=True)]
    hooks = [neuron.register_forward_hook(partial(_spikes, leaves, name)) for name, neuron in neurons.items()]
    hooks += [layer.register_forward_hook(partial(_passed, reached, name)) for name, layer in _between(network)]
    before = network.run_settings.checkpoint_segments
    network.configure(checkpoint_segments=0)  # computing again would call each hook twice
    try:
        with evaluation(network), plain_loops(), torch.enable_grad(), torch.random.fork_rng(devices=[]):
            network(torch.zeros(steps, 1, *in_shape))
    finally:
        network.configure(checkpoint_segments=before)
        for hook in hooks:
            hook.remove()
    if unknown := built.spiking.keys() - leaves.keys():
        raise ConfigError("", f"it is not known how far a spike of {min(unknown)} goes")
    found = torch.autograd.grad(torch.stack(reached).sum(), list(leaves.values()), allow_unused=True)
    ways = {name: _first_step(leaf, way) for (name, leaf), way in zip(leaves.items(), found, strict=True)}
    return {name: ways[name] + _back(neurons[name]) for name in built.spiking}


def _between(network: Network) -> Iterator[tuple[str, nn.Module]]:
    """Yield what has weights, pools or changes values, outside neurons, with dotted names."""
    inside = tuple(f"{name}." for name, _ in named_neurons(network))
    for name, layer in network.named_modules():
        own = not isinstance(layer, (Network, Neuron, nn.ParameterDict)) or isinstance(layer, Residual)
        if own and ".parametrizations" not in name and not name.startswith(inside):
            yield name, layer


def _spikes(leaves: dict[str, Tensor], name: str, module: nn.Module, inputs: Any, output: Any) -> Any:
    """Put a leaf of the graph in the place of a neuron's output; within a loop, one of its own at each step."""
    leaf = torch.ones_like(output[0], requires_grad=True)
    leaves.setdefault(name, leaf)
    return leaf, output[1]


def _passed(reached: list[Tensor], name: str, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> Any:
    """Let spikes through what has no weights, each by itself, and note how many outputs those reach that have."""
    x, y = inputs[0], output[0] if isinstance(output, tuple) else output
    if isinstance(module, (ConvNd, nn.Linear, nn.RNNBase)):
        reached.append(_outputs(module, x))
        y = y.detach()
    elif isinstance(module, _PASSES):
        y = x
    elif isinstance(module, _POOLS):
        y = _sums(module, x, y)
    elif isinstance(module, Voting):
        y = x.unflatten(-1, (-1, module.group_size)).sum(-1)
    elif not _plain(module):
        raise ConfigError("", f"it is not known how many operations a spike causes in {name}")
    return (y, *output[1:]) if isinstance(output, tuple) else y


def _plain(module: nn.Module) -> bool:
    """Return whether a module hands on what comes in, or what the modules within it make of that."""
    if isinstance(module, Residual):
        return module.connect in ("add", "concat")
    within = any(True for _ in module.children())
    return isinstance(module, _PLAIN) or (within and not any(True for _ in module.parameters(recurse=False)))


def _outputs(module: nn.Module, x: Tensor) -> Tensor:
    """Return the sum of all outputs of a layer whose weights are 1."""
    if isinstance(module, nn.RNNBase):
        matrix = module.get_parameter("weight_ih_l0")
        return x.sum() * (len(matrix) * (2 if module.bidirectional else 1))
    assert isinstance(module, (ConvNd, nn.Linear))
    ones = torch.ones_like(module.weight)
    if isinstance(module, nn.Linear):
        return F.linear(x, ones).sum()
    if isinstance(module, ConvTransposeNd):
        sizes = (module.stride, module.padding, module.output_padding, module.groups, module.dilation)
        return _TRANSPOSE[len(module.kernel_size)](x, ones, None, *sizes).sum()  # type: ignore[operator]
    return convolve(module, x, ones).sum()


def _sums(pool: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Return the sums of a pool's windows, `[N, C, *size]`."""
    dims = x.dim() - 2
    kernel, stride, padding, dilation = (
        each if isinstance(each, tuple) else (each,) * dims
        for each in (getattr(pool, name, 1) for name in ("kernel_size", "stride", "padding", "dilation"))
    )
    sizes = zip(x.shape[2:], y.shape[2:], kernel, stride, padding, dilation, strict=True)
    # Cells behind the last one, where a window is not filled.
    behind = [max(0, (after - 1) * step + wide * (k - 1) + 1 - n - 2 * p) for n, after, k, step, p, wide in sizes]
    padded = F.pad(x, [side for extra in reversed(behind) for side in (0, extra)])
    ones = x.new_ones(x.shape[1], 1, *kernel)
    return _CONV[dims](padded, ones, None, stride, padding, dilation, x.shape[1])


def _first_step(leaf: Tensor, way: Tensor | None) -> Tensor:
    return torch.zeros_like(leaf[0, 0]).detach() if way is None else way[0, 0]


def _back(neuron: Neuron) -> float:
    """Return the connections of a neuron to its own layer; of a convolution, those of one away from the border."""
    if not isinstance(neuron, Recurrent):
        return 0.0
    feedback = neuron.feedback
    weight = feedback.weight
    sources = weight.shape[1] if weight.dim() == 2 else weight.shape[0]
    return (weight.numel() - (0 if feedback.autapses else int(feedback.autapse.sum()))) / sources
