"""Weight normalisation, a setting of every layer with a matrix or kernels."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize


class _ChannelsLast(nn.Module):
    """A weight of four axes in the memory format that torch's weight norm loses."""

    def forward(self, weight: Tensor) -> Tensor:
        return weight.contiguous(memory_format=torch.channels_last)

    def right_inverse(self, weight: Tensor) -> Tensor:
        return self(weight)


def normed_weight(module: nn.Module, dim: int) -> nn.Module:
    """Train a module's weight as length and direction, the output as before.

        weight[k] = g[k] * v[k] / |v[k]|

    Args:
        module: What has the `weight`; changed in place.
        dim: The weight's axis of the k, one for each output.

    Source: Salimans and Kingma, Weight normalization, NeurIPS 2016.
    """
    weight = module.get_parameter("weight")
    parametrizations.weight_norm(module, dim=dim)
    if weight.dim() == 4:
        parametrize.register_parametrization(module, "weight", _ChannelsLast())
    return module
