"""Layers over features: the fully connected one, and the flattening before it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

from snnlab.intervals import Count
from snnlab.nn.layers.checks import Shape, last_axis
from snnlab.nn.layers.registry import LAYERS


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


@LAYERS.register("linear")
def linear(in_shape: Shape, *, out_features: Count, bias: bool = True, weight_norm: bool = False) -> nn.Module:
    """Return y = W x + b over the last axis.

    Args:
        in_shape: Shape of one sample at one step.
        out_features: Size of the last axis afterwards.
        bias: Whether there is a b.
        weight_norm: Whether each row of W is trained as its length and its direction.

    Shape:
        `[N, ..., F]` to `[N, ..., out_features]`.

    Raises:
        ConfigError: if `out_features` is not positive.
    """
    module = nn.Linear(last_axis("linear", in_shape), out_features, bias)
    return normed_weight(module, dim=0) if weight_norm else module


@LAYERS.register("flatten")
def flatten() -> nn.Flatten:
    """Make one axis of all axes of a sample.

    Shape:
        `[N, ...]` to `[N, F]`.
    """
    return nn.Flatten(1)
