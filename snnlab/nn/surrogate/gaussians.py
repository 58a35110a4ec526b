"""Surrogates made of Gaussians; x is u - v_threshold."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated

import torch
from torch import Tensor

from snnlab.errors import ConfigError
from snnlab.intervals import at_least
from snnlab.nn.surrogate.base import SURROGATES, Parameter, Size, Width
from snnlab.nn.surrogate.library import AlphaSurrogate, LibrarySurrogate

ROOT_TWO_PI = math.sqrt(2.0 * math.pi)


@SURROGATES.register("gaussian")
class Gaussian(LibrarySurrogate):
    """A Gaussian, the derivative of the error function: 2^(-z^2).

    In the libraries, Sinabs' Gaussian(sigma, grad_scale) with scale for grad_scale, and SpikingJelly's Erf(alpha):

        ds/du = scale / (sigma * sqrt(2 pi)) * exp(-x^2 / (2 sigma^2))
        ds/du = scale * alpha / sqrt(pi) * exp(-(alpha * x)^2)

    Args:
        sigma: Standard deviation in units of u, in place of width and height.
        alpha: SpikingJelly's parameter, 1 / (sqrt(2) sigma), in place of width and height.
        scale: The area under the bell, beside sigma or alpha; 1 where it is not given.
    """

    half = math.sqrt(math.log(2.0))

    def __init__(
        self,
        width: Width = None,
        height: Parameter = None,
        *,
        sigma: Parameter = None,
        alpha: Parameter = None,
        scale: Parameter = None,
    ) -> None:
        super().__init__(width, height, sigma=sigma, alpha=alpha, scale=scale)

    def translate(self, given: Mapping[str, float]) -> Size:
        alpha = given["alpha"] if "alpha" in given else 1.0 / (math.sqrt(2.0) * given["sigma"])
        return Size(self.half / alpha, given.get("scale", 1.0) * alpha / math.sqrt(math.pi), absolute=True)

    def bell(self, x: Tensor) -> Tensor:
        return torch.exp(-x * x)


@SURROGATES.register("erfc")
class Erfc(AlphaSurrogate):
    """The bell of `gaussian` under the parameter of Norse's `heavi_erfc`, which leaves the height alone.

        ds/du = 2 / sqrt(pi) * exp(-(alpha * x)^2)

    The derivative of an error function of alpha * x grows with alpha: that is SpikingJelly's Erf and the alpha of
    `gaussian`. At alpha = 2 the two agree.

    Args:
        alpha: Norse's parameter, in place of width and height.
    """

    half = Gaussian.half

    def translate(self, given: Mapping[str, float]) -> Size:
        return Size(self.half / given["alpha"], 2.0 / math.sqrt(math.pi), absolute=True)

    def bell(self, x: Tensor) -> Tensor:
        return torch.exp(-x * x)


@SURROGATES.register("multi_gaussian")
class MultiGaussian(LibrarySurrogate):
    """A Gaussian with a shallow negative lobe on either side.

        ds/du = scale * ((1 + h) N(x; 0, sigma) - h N(x; sigma, s sigma) - h N(x; -sigma, s sigma))

    with N(x; mu, sigma) the normal density. Width and height are those of the central bell of the whole formula; h and
    s say its shape, whichever way its size is said. The paper's code has sigma 0.5 and scale 0.5; Sinabs'
    MultiGaussian(sigma, h, s, grad_scale) is this with scale for grad_scale.

    Args:
        sigma: Standard deviation of the central Gaussian in units of u, in place of width and height.
        scale: A factor, beside sigma; 1 where it is not given.
        h: Weight of the lobes.
        s: Width of the lobes in sigma.

    Raises:
        ConfigError: if a value is out of its range, the size is said in two ways, or the lobes leave no peak.

    Source: Yin, Corradi and Bohte, Accurate and efficient time-domain classification, Nature Machine Intelligence 3,
    2021.
    """

    def __init__(
        self,
        width: Width = None,
        height: Parameter = None,
        *,
        sigma: Parameter = None,
        scale: Parameter = None,
        h: Annotated[float, at_least(0)] = 0.15,
        s: Annotated[float, at_least(1)] = 6.0,
    ) -> None:
        self.h, self.s = float(h), float(s)
        self.peak = 1.0
        with torch.device("cpu"):  # numbers are needed, and networks are also built without any, on torch's meta device
            self.peak = float(self.bell(torch.zeros((), dtype=torch.float64)))
            if self.peak <= 0:
                raise ConfigError("h", f"lobes with h = {h} and s = {s} leave no peak", "lower h or raise s")
            self.half = self._half()
        super().__init__(width, height, sigma=sigma, scale=scale)

    def translate(self, given: Mapping[str, float]) -> Size:
        sigma = given["sigma"]
        height = given.get("scale", 1.0) * self.peak / (ROOT_TWO_PI * sigma)
        return Size(self.half * sigma, height, absolute=True)

    def bell(self, x: Tensor) -> Tensor:
        lobes = torch.exp((x - 1.0).square() * self._lobe) + torch.exp((x + 1.0).square() * self._lobe)
        return torch.exp(x * x * -0.5) * ((1.0 + self.h) / self.peak) - lobes * (self.h / self.s / self.peak)

    @property
    def _lobe(self) -> float:
        return -0.5 / (self.s * self.s)

    def _half(self) -> float:
        """Return where the bell has fallen to a half, in sigma: before the plain Gaussian has, since the lobes pull."""
        low, high = 0.0, 1.2
        for _ in range(60):
            middle = (low + high) / 2
            above = float(self.bell(torch.tensor(middle, dtype=torch.float64))) > 0.5
            low, high = (middle, high) if above else (low, middle)
        return high

    def __repr__(self) -> str:
        return f"{super().__repr__()[:-1]}, h={self.h:g}, s={self.s:g})"
