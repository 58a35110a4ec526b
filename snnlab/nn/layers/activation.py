"""Activations without time, as torch's own modules."""

from __future__ import annotations

from typing import Literal

from torch import nn

from snnlab.nn.layers.registry import LAYERS


@LAYERS.register("relu")
def relu() -> nn.ReLU:
    """Return max(0, x)."""
    return nn.ReLU()


@LAYERS.register("leaky_relu")
def leaky_relu(*, negative_slope: float = 0.01) -> nn.LeakyReLU:
    """Return max(0, x) + negative_slope * min(0, x).

    Args:
        negative_slope: Slope below 0.
    """
    return nn.LeakyReLU(negative_slope)


@LAYERS.register("sigmoid")
def sigmoid() -> nn.Sigmoid:
    """Return 1 / (1 + exp(-x))."""
    return nn.Sigmoid()


@LAYERS.register("tanh")
def tanh() -> nn.Tanh:
    """Return the hyperbolic tangent of x."""
    return nn.Tanh()


@LAYERS.register("gelu")
def gelu(*, approximate: Literal["none", "tanh"] = "none") -> nn.GELU:
    """Return x * Phi(x), Phi the normal distribution, exactly or approximated by a tanh.

    Args:
        approximate: `none`: exactly; `tanh`: by a tanh.
    """
    return nn.GELU(approximate)


@LAYERS.register("identity")
def identity() -> nn.Identity:
    """Return x, to stand in the place of a layer that an experiment takes out."""
    return nn.Identity()
