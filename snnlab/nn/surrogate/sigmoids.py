"""Surrogates that are the derivative of a sigmoid, by its name; x is u - v_threshold."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from snnlab.nn.surrogate.base import SURROGATES, Size
from snnlab.nn.surrogate.library import AlphaSurrogate, SlopeSurrogate


@SURROGATES.register("atan")
class Atan(AlphaSurrogate):
    """Derivative of the arctangent: 1 / (1 + z^2).

    SpikingJelly's ATan(alpha) and snnTorch's atan(alpha), alike:

        ds/du = (alpha / 2) / (1 + (pi / 2 * alpha * x)^2)

    Args:
        alpha: SpikingJelly's and snnTorch's parameter, in place of width and height.

    Source: Fang et al., Incorporating learnable membrane time constant, ICCV 2021.
    """

    def translate(self, given: Mapping[str, float]) -> Size:
        alpha = given["alpha"]
        return Size(2.0 / (math.pi * alpha), alpha / 2.0, absolute=True)

    def bell(self, x: Tensor) -> Tensor:
        return (x * x + 1.0).reciprocal()


@SURROGATES.register("superspike")
class SuperSpike(SlopeSurrogate):
    """Derivative of the fast sigmoid: 1 / (1 + k z)^2, k = sqrt(2) - 1.

    Norse's SuperSpike(alpha) and snnTorch's fast_sigmoid(slope), alike:

        ds/du = 1 / (1 + alpha * |x|)^2

    Norse 1.1.0 loses its alpha on the way: whatever it is, the gradient is that of alpha = 1. SpikingJelly's words mean
    other things: SuperSpike(alpha) has slope 1 and height alpha, SoftSign(alpha) has slope alpha and height alpha / 2.

    Args:
        alpha: Norse's parameter, in place of width and height.

    Source: Zenke and Ganguli, SuperSpike, Neural Computation 30, 2018.
    """

    half = math.sqrt(2.0) - 1.0

    def translate(self, given: Mapping[str, float]) -> Size:
        (alpha,) = given.values()
        return Size(self.half / alpha, 1.0, absolute=True)

    def bell(self, x: Tensor) -> Tensor:
        return (x.abs() + 1.0).square().reciprocal()


@SURROGATES.register("sigmoid")
class Sigmoid(SlopeSurrogate):
    """Derivative of the logistic function: 4 sigma(k z) (1 - sigma(k z)), k = 2 ln(1 + sqrt(2)).

    SpikingJelly's Sigmoid(alpha) and snnTorch's sigmoid(slope), alike:

        ds/du = alpha * sigma(alpha * x) * (1 - sigma(alpha * x))

    Args:
        alpha: SpikingJelly's parameter, in place of width and height.
    """

    half = 2.0 * math.log(1.0 + math.sqrt(2.0))

    def translate(self, given: Mapping[str, float]) -> Size:
        (alpha,) = given.values()
        return Size(self.half / alpha, alpha / 4.0, absolute=True)

    def bell(self, x: Tensor) -> Tensor:
        return _logistic_bell(x)


@SURROGATES.register("tanh")
class Tanh(AlphaSurrogate):
    """Derivative of the hyperbolic tangent: 1 - tanh(k z)^2, k = ln(1 + sqrt(2)); the bell of `sigmoid`.

    Norse's `tanh` differs from `sigmoid` in its parameter only:

        ds/du = 1 - tanh(alpha * x)^2

    Args:
        alpha: Norse's parameter, in place of width and height.
    """

    half = math.log(1.0 + math.sqrt(2.0))

    def translate(self, given: Mapping[str, float]) -> Size:
        return Size(self.half / given["alpha"], 1.0, absolute=True)

    def bell(self, x: Tensor) -> Tensor:
        return _logistic_bell(x * 2.0)


@SURROGATES.register("circ")
class Circ(AlphaSurrogate):
    """Derivative of x / sqrt(1 + x^2): (1 + (k z)^2)^(-3/2), k = sqrt(2^(2/3) - 1).

    Norse's `circ` is the wider, the larger its alpha:

        ds/du = (1 + (x / alpha)^2)^(-3/2)

    Args:
        alpha: Norse's parameter, in units of u, in place of width and height.
    """

    half = math.sqrt(2.0 ** (2.0 / 3.0) - 1.0)

    def translate(self, given: Mapping[str, float]) -> Size:
        return Size(self.half * given["alpha"], 1.0, absolute=True)

    def bell(self, x: Tensor) -> Tensor:
        r = (x * x + 1.0).rsqrt()
        return r * r * r


def _logistic_bell(x: Tensor) -> Tensor:
    # At -|x| both factors keep their digits; at |x| the second one would round to 0 in the tail.
    p = torch.sigmoid(-x.abs())
    return p * (1.0 - p) * 4.0
