"""The weights of a network by the neurons that they drive: norms, gradients, and what a step does to them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from snnlab.nn import Network
from snnlab.nn.neurons.base import named_neurons

MakeOptimizer = Callable[[nn.Module], Optimizer]

# Under this name stands what drives no neuron, but the network's output.
OUTPUT = ""


class Weights(NamedTuple):
    """The weights in front of a layer, with its own; see `vitals.Layer`."""

    norm: float
    gradient: float
    update: float | None


def weights(network: Network, make_optimizer: MakeOptimizer | None) -> dict[str, Weights]:
    """Return norms by layer after a backward pass, and try one step of an optimizer, which changes the weights."""
    groups = weight_groups(network)
    norms = {name: norm(parameters) for name, parameters in groups.items()}
    gradients = {name: norm(p.grad for p in parameters if p.grad is not None) for name, parameters in groups.items()}
    before = {name: [p.detach().clone() for p in parameters] for name, parameters in groups.items()}
    if make_optimizer is None:
        return {name: Weights(norms[name], gradients[name], None) for name in groups}
    make_optimizer(network).step()
    changes = {name: change(parameters, before[name]) for name, parameters in groups.items()}
    return {
        name: Weights(norms[name], gradients[name], changes[name] / norms[name] if norms[name] else None)
        for name in groups
    }


def weight_groups(network: Network) -> dict[str, list[nn.Parameter]]:
    """Return the parameters before each layer of neurons, with its own; the rest is the output's."""
    names = [name for name, _ in named_neurons(network)]
    groups: dict[str, list[nn.Parameter]] = {}
    waiting: list[nn.Parameter] = []
    for name, module in network.named_modules():
        waiting.extend(module.parameters(recurse=False))
        owner = next((neuron for neuron in names if name == neuron or name.startswith(f"{neuron}.")), None)
        if owner is not None:
            groups.setdefault(owner, []).extend(waiting)
            waiting = []
    return {**groups, OUTPUT: waiting}


def norm(tensors: Iterable[Tensor]) -> float:
    """Return the norm of all values of some tensors together."""
    return sum(float(tensor.detach().square().sum(dtype=torch.float64)) for tensor in tensors) ** 0.5


def change(parameters: Sequence[Tensor], before: Sequence[Tensor]) -> float:
    """Return the norm of the way from earlier values to those of now."""
    return norm(parameter.detach() - old for parameter, old in zip(parameters, before, strict=True))
