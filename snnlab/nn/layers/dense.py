"""Layers over features: the fully connected one, and the flattening before it."""

from __future__ import annotations

from torch import nn

from snnlab.nn.layers.checks import Shape, require_positive
from snnlab.nn.layers.registry import LAYERS
from snnlab.nn.layers.weights import normed_weight


@LAYERS.register("linear")
def linear(in_shape: Shape, *, out_features: int, bias: bool = True, weight_norm: bool = False) -> nn.Module:
    """Return y = W x + b over the last axis.

    Args:
        in_shape: Shape of one sample at one step.
        out_features: Size of the last axis afterwards.
        bias: Whether there is a b.
        weight_norm: Whether each row of W is trained as its length and its direction.

    Shape:
        `[N, ..., F]` to `[N, ..., out_features]`.

    Raises:
        ValueError: if `out_features` is not positive.
    """
    if not in_shape:
        raise ValueError("linear needs an input of at least 1 axis, got []")
    require_positive(out_features=out_features)
    module = nn.Linear(in_shape[-1], out_features, bias)
    return normed_weight(module, dim=0) if weight_norm else module


@LAYERS.register("flatten")
def flatten() -> nn.Flatten:
    """Make one axis of all axes of a sample.

    Shape:
        `[N, ...]` to `[N, F]`.
    """
    return nn.Flatten(1)
