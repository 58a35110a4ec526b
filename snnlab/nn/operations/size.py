"""What a network is by itself: its bytes, and how many of its weights are there."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn

from snnlab.compat import ConvNd
from snnlab.nn.neurons.recurrent import Feedback


def footprint_bytes(network: nn.Module) -> int:
    """Return the bytes of all parameters and buffers."""
    return sum(part.numel() * part.element_size() for part in (*network.parameters(), *network.buffers()))


def connection_sparsity(network: nn.Module) -> float:
    """Return which part of the weights is 0; biases, norms and neurons' constants are no connections.

    A network without weights has a sparsity of 0.
    """
    weights = list(_weights(network))
    of_all = sum(weight.numel() for weight in weights)
    return sum(int((weight == 0).sum()) for weight in weights) / of_all if of_all else 0.0


def _weights(network: nn.Module) -> Iterator[Tensor]:
    for module in network.modules():
        if isinstance(module, Feedback):
            yield module.weights().weight.detach()
        elif isinstance(module, nn.Linear | ConvNd):
            yield module.weight.detach()
        elif isinstance(module, nn.RNNBase):
            yield from (part.detach() for part in module.parameters() if part.dim() == 2)
