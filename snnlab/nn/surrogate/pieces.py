"""Surrogates with a corner or an edge, and the flat one; x is u - v_threshold."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from snnlab.intervals import Positive
from snnlab.nn.surrogate.base import SURROGATES, Parameter, Size, Surrogate, Width
from snnlab.nn.surrogate.library import AlphaSurrogate, LibrarySurrogate


@SURROGATES.register("triangle")
class Triangle(AlphaSurrogate):
    """A triangle: max(0, 1 - z / 2), zero beyond two half widths.

    Norse's `triangle` has a fixed base, and alpha is its height:

        ds/du = alpha * max(0, 1 - |x|)

    SpikingJelly's PiecewiseQuadratic(alpha) has half width 1 / (2 alpha) and height alpha. snnTorch's `triangular` is
    no triangle: it is a constant, negative above the threshold.

    Args:
        alpha: Norse's parameter, in place of width and height.

    Source: Esser et al., Convolutional networks for fast, energy-efficient neuromorphic computing, PNAS 113, 2016.
    """

    half = 0.5

    def translate(self, given: Mapping[str, float]) -> Size:
        return Size(self.half, given["alpha"], absolute=True)

    def bell(self, x: Tensor) -> Tensor:
        return (1.0 - x.abs()).clamp(min=0.0)


@SURROGATES.register("rectangular")
class Rectangular(AlphaSurrogate):
    """A box: 1 within the half width, 0 beyond it, 1/2 on its edges.

    SpikingJelly's Rect(alpha) has the area 1:

        ds/du = alpha where |x| < 1 / (2 alpha), else 0

    Args:
        alpha: SpikingJelly's parameter, in place of width and height.

    Source: Wu et al., Spatio-temporal backpropagation, Frontiers in Neuroscience 12, 2018.
    """

    def translate(self, given: Mapping[str, float]) -> Size:
        alpha = given["alpha"]
        return Size(0.5 / alpha, alpha, absolute=True)

    def bell(self, x: Tensor) -> Tensor:
        return torch.sign(1.0 - x.abs()) * 0.5 + 0.5


@SURROGATES.register("exponential")
class Exponential(LibrarySurrogate):
    """The two-sided exponential of SLAYER: 2^(-z).

    In the libraries, SE-adLIF with c for scale and SpikingJelly's PiecewiseExp(alpha); lava-dl; Sinabs'
    SingleExponential, which follows the threshold:

        ds/du = scale * alpha / 2 * exp(-alpha * |x|)
        ds/du = scale / (2 tau) * exp(-|x| / tau)
        ds/du = grad_scale / w * exp(-|x| / w),   w = grad_width * v_threshold

    lava-dl's CUBA makes tau = 100 * tau_grad * threshold and scale = scale_grad / 10.

    Args:
        alpha: Parameter of SE-adLIF and SpikingJelly, in place of width and height.
        tau: lava-dl's tau_rho, in units of u, in place of width and height.
        scale: The area under the bell, beside alpha or tau; 1 where it is not given.
        grad_width: Sinabs' parameter, in units of the threshold, in place of width and height.
        grad_scale: Half the area under the bell, beside grad_width; 1 where it is not given.

    Source: Shrestha and Orchard, SLAYER, NeurIPS 2018.
    """

    half = math.log(2.0)

    def __init__(
        self,
        width: Width = None,
        height: Parameter = None,
        *,
        alpha: Parameter = None,
        tau: Parameter = None,
        scale: Parameter = None,
        grad_width: Width = None,
        grad_scale: Parameter = None,
    ) -> None:
        super().__init__(width, height, alpha=alpha, tau=tau, scale=scale, grad_width=grad_width, grad_scale=grad_scale)

    def translate(self, given: Mapping[str, float]) -> Size:
        if "grad_width" in given:
            reach = given["grad_width"]
            return Size(self.half * reach, given.get("grad_scale", 1.0) / reach, per_threshold=True)
        alpha = given["alpha"] if "alpha" in given else 1.0 / given["tau"]
        return Size(self.half / alpha, given.get("scale", 1.0) * alpha / 2.0, absolute=True)

    def bell(self, x: Tensor) -> Tensor:
        return torch.exp(-x.abs())


@SURROGATES.register("straight_through")
class StraightThrough(Surrogate):
    """The same gradient at every distance, as if the spike were the membrane itself.

    snnTorch's straight_through_estimator and SpikingJelly's DeterministicPass have height 1.

    Args:
        height: The derivative.

    Source: Bengio et al., Estimating or propagating gradients through stochastic neurons, 2013.
    """

    half = 0.0  # no distance is far

    def __init__(self, height: Positive = 1.0) -> None:
        super().__init__(height=height)

    def bell(self, x: Tensor) -> Tensor:
        return torch.ones_like(x)

    def __repr__(self) -> str:
        return f"StraightThrough(height={self.size.height:g})"
