"""The spike and the gradients that stand in for its derivative.

Every formula is given by its peak and its half width at half maximum, so that one can be exchanged for another
without changing how far from the threshold a neuron still learns.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Annotated, Any

import torch
from torch import Tensor

from snnlab.registry import Registry

SURROGATES = Registry("surrogate")


class Surrogate(ABC):
    """A bell over the distance to the threshold.

        ds/du = height * shape(|u - v_threshold| / (width * v_threshold)),   shape(0) = 1, shape(1) = 1/2

    Args:
        width: Half width at half maximum, in units of the threshold.
        height: The peak.

    Raises:
        ValueError: if width or height is not positive.
    """

    def __init__(self, width: Annotated[float, "thresholds"] = 0.3, height: float = 1.0) -> None:
        for name, value in (("width", width), ("height", height)):
            if not value > 0:
                raise ValueError(f"{name} must be > 0, got {value}")
        self.width = float(width)
        self.height = float(height)

    def derivative(self, distance: Tensor, v_threshold: float) -> Tensor:
        """Return ds/du at `distance` = u - v_threshold."""
        return self.shape(distance.abs() / (self.width * v_threshold)) * self.height

    @staticmethod
    @abstractmethod
    def shape(z: Tensor) -> Tensor:
        """Return the bell at z half widths from its centre, z >= 0."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}(width={self.width:g}, height={self.height:g})"


@SURROGATES.register("atan")
class Atan(Surrogate):
    """Derivative of the arctangent: 1 / (1 + z^2).

    snnTorch's and SpikingJelly's ATan(alpha) is width = 2 / (pi alpha), height = alpha / 2.
    """

    @staticmethod
    def shape(z: Tensor) -> Tensor:
        """Return 1 / (1 + z^2)."""
        return (z * z + 1.0).reciprocal()


@SURROGATES.register("superspike")
class SuperSpike(Surrogate):
    """Derivative of the fast sigmoid: 1 / (1 + k z)^2, k = sqrt(2) - 1.

    Norse's SuperSpike(alpha) and snnTorch's fast_sigmoid(slope = alpha) are width = k / alpha, height = 1.

    Source: Zenke and Ganguli, SuperSpike, Neural Computation 30, 2018.
    """

    @staticmethod
    def shape(z: Tensor) -> Tensor:
        """Return 1 / (1 + k z)^2."""
        return (z * (math.sqrt(2.0) - 1.0) + 1.0).square().reciprocal()


@SURROGATES.register("sigmoid")
class Sigmoid(Surrogate):
    """Derivative of the logistic function: 4 sigma(k z) (1 - sigma(k z)), k = 2 ln(1 + sqrt(2)).

    SpikingJelly's Sigmoid(alpha) is width = k / alpha, height = alpha / 4.
    """

    @staticmethod
    def shape(z: Tensor) -> Tensor:
        """Return 4 sigma(k z) (1 - sigma(k z))."""
        p = torch.sigmoid(z * (2.0 * math.log(1.0 + math.sqrt(2.0))))
        return p * (1.0 - p) * 4.0


@SURROGATES.register("triangle")
class Triangle(Surrogate):
    """A triangle: max(0, 1 - z / 2), zero beyond two half widths.

    Norse's triangle and snnTorch's TET-style triangle of base +-1 are width = 1/2.
    """

    @staticmethod
    def shape(z: Tensor) -> Tensor:
        """Return max(0, 1 - z / 2)."""
        return (1.0 - z * 0.5).clamp(min=0.0)


class _Spike(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, distance: Tensor, surrogate: Surrogate, v_threshold: float, strict: bool) -> Tensor:
        ctx.save_for_backward(distance)
        ctx.surrogate, ctx.v_threshold = surrogate, v_threshold
        return (distance > 0 if strict else distance >= 0).to(distance.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        (distance,) = ctx.saved_tensors
        return grads[0] * ctx.surrogate.derivative(distance, ctx.v_threshold), None, None, None


def spike(distance: Tensor, surrogate: Surrogate, v_threshold: float, *, strict: bool = False) -> Tensor:
    """Return H(distance), one where the membrane has reached the threshold, with the surrogate's gradient.

    Args:
        distance: u - v_threshold.
        surrogate: The gradient's formula.
        v_threshold: The threshold, the unit of the surrogate's width.
        strict: Whether a membrane exactly at the threshold stays silent.
    """
    return _Spike.apply(distance, surrogate, v_threshold, strict)  # type: ignore[no-any-return]


def as_surrogate(given: Surrogate | Mapping[str, Any]) -> Surrogate:
    """Return a surrogate from an object or from its YAML node `{type: atan, width: 0.3, height: 1.0}`."""
    if isinstance(given, Surrogate):
        return given
    if not isinstance(given, Mapping):
        raise ValueError(f"surrogate is a mapping such as {{type: atan, width: 0.3}}, got {given!r}")
    settings = dict(given)
    return SURROGATES.build(settings.pop("type", "atan"), settings, "surrogate")
