"""The spike function and its surrogate gradients."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Annotated, Any, NamedTuple

import torch
from torch import Tensor

from snnlab.errors import ConfigError, join_names
from snnlab.kernels.trace import Symbol, equals_constant, with_slope
from snnlab.registry import Registry
from snnlab.spec.declared import Converted, Declared, declared_fields, no_setting, setting
from snnlab.spec.field import Excludes
from snnlab.spec.interval import above, at_least

SURROGATES = Registry("surrogate")
DEFAULT_WIDTH = 0.3
DEFAULT_HEIGHT = 1.0
Width = Annotated[float | None, "thresholds", above(0)]
Parameter = Annotated[float | None, above(0)]
_SIZE = ("width", "height")
# A parameter of other libraries, in place of width and height, and what may go with one.
LibraryParameter = Annotated[Parameter, Excludes(*_SIZE, "alpha", "slope", "sigma", "tau")]
Scale = Annotated[Parameter, Excludes(*_SIZE)]


class SurrogateSize(NamedTuple):
    """Width and height of a surrogate gradient, and their units.

    Attributes:
        width: Half width at half maximum.
        height: Maximum.
        absolute: Whether the width is in units of u, as in most libraries; else in units of the threshold.
        per_threshold: Whether the height is divided by the threshold.
    """

    width: float
    height: float
    absolute: bool = False
    per_threshold: bool = False


class Surrogate(Declared, ABC):
    """A surrogate gradient as a function of the distance to the threshold.

        ds/du = height * shape(|u - v_threshold| / (width * v_threshold)),   shape(0) = 1, shape(1) = 1/2

    A subclass defines `unit_gradient(x)` in the unit of its own formula, and `half_width`, the half width in this unit.

    Args:
        width: Half width at half maximum.
        height: Maximum.
    """

    width: Width = setting(default=DEFAULT_WIDTH, kw_only=False)
    height: Parameter = setting(default=DEFAULT_HEIGHT, kw_only=False)
    half_width: float = no_setting(1.0)

    def prepare(self) -> None:
        self.size = SurrogateSize(
            DEFAULT_WIDTH if self.width is None else float(self.width),
            DEFAULT_HEIGHT if self.height is None else float(self.height),
        )

    def derivative(self, distance: Tensor, v_threshold: float | Tensor) -> Tensor:
        """Return ds/du at `distance` = u - v_threshold."""
        slope, height = self.factors(v_threshold)
        unit_gradient = self.unit_gradient(distance * slope)
        return unit_gradient if equals_constant(height, 1.0) else unit_gradient * height

    def factors(self, v_threshold: float | Tensor) -> tuple[float | Tensor, float | Tensor]:
        """Return k and height of ds/du = height * unit_gradient(k * (u - v_threshold))."""
        slope = self.half_width / self.size.width
        return (
            slope if self.size.absolute else slope / v_threshold,
            self.size.height / v_threshold if self.size.per_threshold else self.size.height,
        )

    def shape(self, z: Tensor) -> Tensor:
        """Return the surrogate gradient of height 1 at a distance of z half widths."""
        return self.unit_gradient(z * self.half_width)

    @abstractmethod
    def unit_gradient(self, x: Tensor) -> Tensor:
        """Return the surrogate gradient of height 1 at x, which may be negative."""

    def __repr__(self) -> str:
        width, height, absolute, per_threshold = self.size
        units = " in units of u" * absolute, " / v_threshold" * per_threshold
        return f"{type(self).__name__}(width={width:g}{units[0]}, height={height:g}{units[1]})"


# A setting: a surrogate, or its YAML node.
SurrogateSetting = Converted[Surrogate | Mapping[str, Any] | None, Surrogate]


def as_surrogate(surrogate: Surrogate | Mapping[str, Any]) -> Surrogate:
    """Return the surrogate for an object or for its YAML node `{type: atan, width: 0.3, height: 1.0}`.

    A setting of null counts as not given: an override sets the settings that it replaces to null.
    """
    if isinstance(surrogate, Surrogate):
        return surrogate
    if not isinstance(surrogate, Mapping):
        raise ConfigError("surrogate", f"expected a mapping such as {{type: atan, width: 0.3}}, got {surrogate!r}")
    settings = dict(surrogate)
    kind = settings.pop("type", "atan")
    return SURROGATES.build(kind, {k: v for k, v in settings.items() if v is not None}, "surrogate")


class LibrarySurrogate(Surrogate):
    """A surrogate gradient that also takes the parameters of other libraries, converted once at construction.

    Such a parameter excludes width and height.
    """

    def prepare(self) -> None:
        super().prepare()
        library = {name: field for name, field in declared_fields(type(self)).items() if "width" in field.excludes}
        given = {name: float(getattr(self, name)) for name in library if getattr(self, name) is not None}
        if given.keys() & {"scale", "grad_scale"} == given.keys() != set():
            others = [name for name in library if "scale" not in name]
            raise ConfigError("", f"{join_names(given)} alone gives no width", f"give one of {join_names(others)} too")
        if given:
            self.size = self.size_from_library(given)

    @abstractmethod
    def size_from_library(self, parameters: Mapping[str, float]) -> SurrogateSize:
        """Return width and height for the parameters of another library, with their units."""


class AlphaSurrogate(LibrarySurrogate):
    """A surrogate gradient that other libraries define by one parameter, alpha.

    Args:
        alpha: Parameter of the libraries, in place of width and height.
    """

    alpha: LibraryParameter = None


class SlopeSurrogate(AlphaSurrogate):
    """A surrogate gradient that other libraries define by one parameter, slope in snnTorch and alpha in others.

    Args:
        slope: snnTorch's name for alpha.
    """

    slope: LibraryParameter = None


@SURROGATES.register("atan")
class Atan(AlphaSurrogate):
    """Derivative of the arctangent: 1 / (1 + z^2).

    SpikingJelly's ATan(alpha) and snnTorch's atan(alpha):

        ds/du = (alpha / 2) / (1 + (pi / 2 * alpha * x)^2)

    Args:
        alpha: SpikingJelly's and snnTorch's parameter, in place of width and height.

    Source: Fang et al., Incorporating learnable membrane time constant, ICCV 2021.
    """

    def size_from_library(self, parameters: Mapping[str, float]) -> SurrogateSize:
        alpha = parameters["alpha"]
        return SurrogateSize(2.0 / (math.pi * alpha), alpha / 2.0, absolute=True)

    def unit_gradient(self, x: Tensor) -> Tensor:
        return (x * x + 1.0).reciprocal()


@SURROGATES.register("superspike")
class SuperSpike(SlopeSurrogate):
    """Derivative of the fast sigmoid: 1 / (1 + k z)^2, k = sqrt(2) - 1.

    Norse's SuperSpike(alpha) and snnTorch's fast_sigmoid(slope):

        ds/du = 1 / (1 + alpha * |x|)^2

    Norse 1.1.0 ignores its alpha: the gradient is always that of alpha = 1. SpikingJelly's parameters differ:
    SuperSpike(alpha) has slope 1 and height alpha, SoftSign(alpha) has slope alpha and height alpha / 2.

    Args:
        alpha: Norse's parameter, in place of width and height.

    Source: Zenke and Ganguli, SuperSpike, Neural Computation 30, 2018.
    """

    half_width = math.sqrt(2.0) - 1.0

    def size_from_library(self, parameters: Mapping[str, float]) -> SurrogateSize:
        (alpha,) = parameters.values()
        return SurrogateSize(self.half_width / alpha, 1.0, absolute=True)

    def unit_gradient(self, x: Tensor) -> Tensor:
        return (x.abs() + 1.0).square().reciprocal()


@SURROGATES.register("sigmoid")
class Sigmoid(SlopeSurrogate):
    """Derivative of the logistic function: 4 sigma(k z) (1 - sigma(k z)), k = 2 ln(1 + sqrt(2)).

    SpikingJelly's Sigmoid(alpha) and snnTorch's sigmoid(slope):

        ds/du = alpha * sigma(alpha * x) * (1 - sigma(alpha * x))

    Norse's `tanh`, 1 - tanh(alpha * x)^2, has width ln(1 + sqrt(2)) / alpha and height 1 at a threshold of 1.

    Args:
        alpha: SpikingJelly's parameter, in place of width and height.
    """

    half_width = 2.0 * math.log(1.0 + math.sqrt(2.0))

    def size_from_library(self, parameters: Mapping[str, float]) -> SurrogateSize:
        (alpha,) = parameters.values()
        return SurrogateSize(self.half_width / alpha, alpha / 4.0, absolute=True)

    def unit_gradient(self, x: Tensor) -> Tensor:
        # At -|x| both factors are precise; at |x| the second one would round to 0 in the tail.
        p = torch.sigmoid(-x.abs())
        return p * (1.0 - p) * 4.0


@SURROGATES.register("circ")
class Circ(AlphaSurrogate):
    """Derivative of x / sqrt(1 + x^2): (1 + (k z)^2)^(-3/2), k = sqrt(2^(2/3) - 1).

    Norse's `circ` is wider for a larger alpha:

        ds/du = (1 + (x / alpha)^2)^(-3/2)

    Args:
        alpha: Norse's parameter, in units of u, in place of width and height.
    """

    half_width = math.sqrt(2.0 ** (2.0 / 3.0) - 1.0)

    def size_from_library(self, parameters: Mapping[str, float]) -> SurrogateSize:
        return SurrogateSize(self.half_width * parameters["alpha"], 1.0, absolute=True)

    def unit_gradient(self, x: Tensor) -> Tensor:
        r = (x * x + 1.0).rsqrt()
        return r * r * r


ROOT_TWO_PI = math.sqrt(2.0 * math.pi)


@SURROGATES.register("gaussian")
class Gaussian(LibrarySurrogate):
    """A Gaussian, the derivative of the error function: 2^(-z^2).

    Sinabs' Gaussian(sigma, grad_scale) with scale for grad_scale, and SpikingJelly's Erf(alpha):

        ds/du = scale / (sigma * sqrt(2 pi)) * exp(-x^2 / (2 sigma^2))
        ds/du = scale * alpha / sqrt(pi) * exp(-(alpha * x)^2)

    Norse's `heavi_erfc`, 2 / sqrt(pi) * exp(-(alpha * x)^2), has scale 2 / alpha.

    Args:
        sigma: Standard deviation in units of u, in place of width and height.
        alpha: SpikingJelly's parameter, 1 / (sqrt(2) sigma), in place of width and height.
        scale: Integral of the surrogate gradient, in addition to sigma or alpha; default 1.
    """

    half_width = math.sqrt(math.log(2.0))

    sigma: LibraryParameter = None
    alpha: LibraryParameter = None
    scale: Scale = None

    def size_from_library(self, parameters: Mapping[str, float]) -> SurrogateSize:
        alpha = parameters["alpha"] if "alpha" in parameters else 1.0 / (math.sqrt(2.0) * parameters["sigma"])
        return SurrogateSize(
            self.half_width / alpha, parameters.get("scale", 1.0) * alpha / math.sqrt(math.pi), absolute=True
        )

    def unit_gradient(self, x: Tensor) -> Tensor:
        return torch.exp(-x * x)


@SURROGATES.register("multi_gaussian")
class MultiGaussian(LibrarySurrogate):
    """A Gaussian with a shallow negative lobe on either side.

        ds/du = scale * ((1 + h) N(x; 0, sigma) - h N(x; sigma, s sigma) - h N(x; -sigma, s sigma))

    with N(x; mu, sigma) the normal density. Width and height are those of the central peak of the whole formula; h and
    s define its shape for any size. The paper's code has sigma 0.5 and scale 0.5; Sinabs'
    MultiGaussian(sigma, h, s, grad_scale) has grad_scale for scale.

    Args:
        sigma: Standard deviation of the central Gaussian in units of u, in place of width and height.
        scale: A factor, in addition to sigma; default 1.
        h: Weight of the lobes.
        s: Width of the lobes in sigma.

    Source: Yin, Corradi and Bohte, Accurate and efficient time-domain classification, Nature Machine Intelligence 3,
    2021.
    """

    sigma: LibraryParameter = None
    scale: Scale = None
    h: Annotated[float, at_least(0)] = 0.15
    s: Annotated[float, at_least(1)] = 6.0

    def prepare(self) -> None:
        self.peak = 1.0
        with torch.device("cpu"):  # not on torch's meta device, on which networks are also built: the values are needed
            self.peak = float(self.unit_gradient(torch.zeros((), dtype=torch.float64)))
            if self.peak <= 0:
                raise ConfigError(
                    "h", f"lobes with h = {self.h} and s = {self.s} remove the peak", "lower h or raise s"
                )
            self.half_width = self._find_half_width()
        super().prepare()

    def size_from_library(self, parameters: Mapping[str, float]) -> SurrogateSize:
        sigma = parameters["sigma"]
        height = parameters.get("scale", 1.0) * self.peak / (ROOT_TWO_PI * sigma)
        return SurrogateSize(self.half_width * sigma, height, absolute=True)

    def unit_gradient(self, x: Tensor) -> Tensor:
        lobes = torch.exp((x - 1.0).square() * self._lobe_exponent) + torch.exp(
            (x + 1.0).square() * self._lobe_exponent
        )
        return torch.exp(x * x * -0.5) * ((1.0 + self.h) / self.peak) - lobes * (self.h / self.s / self.peak)

    @property
    def _lobe_exponent(self) -> float:
        return -0.5 / (self.s * self.s)

    def _find_half_width(self) -> float:
        """Return the half width at half maximum for sigma = 1, by bisection; lobes make it narrower than a Gaussian."""
        low, high = 0.0, 1.2
        for _ in range(60):
            middle = (low + high) / 2
            above = float(self.unit_gradient(torch.tensor(middle, dtype=torch.float64))) > 0.5
            low, high = (middle, high) if above else (low, middle)
        return high

    def __repr__(self) -> str:
        return f"{super().__repr__()[:-1]}, h={self.h:g}, s={self.s:g})"


@SURROGATES.register("double_gaussian")
class DoubleGaussian(MultiGaussian):
    """A Gaussian minus a wider one at the same place, the surrogate gradient of the balanced resonate-and-fire neuron.

        ds/du = scale * ((1 + h) N(x; 0, sigma) - 2 h N(x; 0, s sigma))

    with N(x; mu, sigma) the normal density. The authors have sigma 0.5 and scale 0.5.

    Args:
        sigma: Standard deviation of the narrow Gaussian in units of u, in place of width and height.
        h: Half the weight of the wide one.
        s: Width of the wide one in sigma.

    Source: Higuchi et al., Balanced resonate-and-fire neurons, ICML 2024, and its code.
    """

    def unit_gradient(self, x: Tensor) -> Tensor:
        wide = torch.exp(x * x * self._lobe_exponent) * (2.0 * self.h / self.s / self.peak)
        return torch.exp(x * x * -0.5) * ((1.0 + self.h) / self.peak) - wide


@SURROGATES.register("triangle")
class Triangle(AlphaSurrogate):
    """A triangle: max(0, 1 - z / 2), zero beyond two half widths.

    Norse's `triangle` has a fixed width, and alpha is its height:

        ds/du = alpha * max(0, 1 - |x|)

    SpikingJelly's PiecewiseQuadratic(alpha) has half width 1 / (2 alpha) and height alpha. snnTorch's `triangular` is
    not a triangle: it is constant, negative above the threshold.

    Args:
        alpha: Norse's parameter, in place of width and height.

    Source: Esser et al., Convolutional networks for fast, energy-efficient neuromorphic computing, PNAS 113, 2016.
    """

    half_width = 0.5

    def size_from_library(self, parameters: Mapping[str, float]) -> SurrogateSize:
        return SurrogateSize(self.half_width, parameters["alpha"], absolute=True)

    def unit_gradient(self, x: Tensor) -> Tensor:
        return (1.0 - x.abs()).clamp(min=0.0)


@SURROGATES.register("rectangular")
class Rectangular(AlphaSurrogate):
    """A box: 1 within the half width, 0 beyond it, 1/2 on its edges.

    SpikingJelly's Rect(alpha) has the integral 1:

        ds/du = alpha where |x| < 1 / (2 alpha), else 0

    Args:
        alpha: SpikingJelly's parameter, in place of width and height.

    Source: Wu et al., Spatio-temporal backpropagation, Frontiers in Neuroscience 12, 2018.
    """

    def size_from_library(self, parameters: Mapping[str, float]) -> SurrogateSize:
        alpha = parameters["alpha"]
        return SurrogateSize(0.5 / alpha, alpha, absolute=True)

    def unit_gradient(self, x: Tensor) -> Tensor:
        return torch.sign(1.0 - x.abs()) * 0.5 + 0.5


@SURROGATES.register("exponential")
class Exponential(LibrarySurrogate):
    """The two-sided exponential of SLAYER: 2^(-z).

    SE-adLIF, with c for scale, and SpikingJelly's PiecewiseExp(alpha); lava-dl; Sinabs' SingleExponential, whose width
    scales with the threshold:

        ds/du = scale * alpha / 2 * exp(-alpha * |x|)
        ds/du = scale / (2 tau) * exp(-|x| / tau)
        ds/du = grad_scale / w * exp(-|x| / w),   w = grad_width * v_threshold

    In lava-dl's CUBA tau = 100 * tau_grad * threshold and scale = scale_grad / 10.

    Args:
        alpha: Parameter of SE-adLIF and SpikingJelly, in place of width and height.
        tau: lava-dl's tau_rho, in units of u, in place of width and height.
        scale: Integral of the surrogate gradient, in addition to alpha or tau; default 1.
        grad_width: Sinabs' parameter, in units of the threshold, in place of width and height.
        grad_scale: Half the integral of the surrogate gradient, in addition to grad_width; default 1.

    Source: Shrestha and Orchard, SLAYER, NeurIPS 2018.
    """

    half_width = math.log(2.0)

    alpha: LibraryParameter = None
    tau: LibraryParameter = None
    scale: Scale = None
    grad_width: Annotated[Width, Excludes(*_SIZE, "alpha", "tau", "scale")] = None
    grad_scale: Annotated[Parameter, Excludes(*_SIZE, "alpha", "tau", "scale")] = None

    def size_from_library(self, parameters: Mapping[str, float]) -> SurrogateSize:
        if "grad_width" in parameters:
            reach = parameters["grad_width"]
            return SurrogateSize(self.half_width * reach, parameters.get("grad_scale", 1.0) / reach, per_threshold=True)
        alpha = parameters["alpha"] if "alpha" in parameters else 1.0 / parameters["tau"]
        return SurrogateSize(self.half_width / alpha, parameters.get("scale", 1.0) * alpha / 2.0, absolute=True)

    def unit_gradient(self, x: Tensor) -> Tensor:
        return torch.exp(-x.abs())


@SURROGATES.register("straight_through")
class StraightThrough(Surrogate):
    """A constant gradient at every distance, as if the spike were the membrane.

    snnTorch's straight_through_estimator and SpikingJelly's DeterministicPass have height 1.

    Args:
        height: The derivative.

    Source: Bengio et al., Estimating or propagating gradients through stochastic neurons, 2013.
    """

    half_width = 0.0  # the same at every distance

    width: Width = no_setting(None)

    def unit_gradient(self, x: Tensor) -> Tensor:
        return torch.ones_like(x)

    def __repr__(self) -> str:
        return f"StraightThrough(height={self.size.height:g})"


SpikeObserver = Callable[[Tensor, Surrogate, float | Tensor], None]
_observers: list[SpikeObserver] = []


@contextmanager
def observe_membranes(observer: SpikeObserver) -> Iterator[None]:
    """Call a function with u - v_threshold, surrogate and v_threshold at every spike function of the plain loop."""
    _observers.append(observer)
    try:
        yield
    finally:
        _observers.remove(observer)


def notify_observers(distance: Tensor, surrogate: Surrogate, v_threshold: float | Tensor) -> None:
    """Call the observers with the membranes of one step."""
    for observer in _observers:
        observer(distance, surrogate, v_threshold)


def spike(distance: Tensor, surrogate: Surrogate, v_threshold: float | Tensor, *, strict: bool = False) -> Tensor:
    """Return H(distance), 1 where the membrane has reached the threshold, with the surrogate gradient.

    Args:
        distance: u - v_threshold; a learned threshold gets its gradient through it.
        surrogate: The surrogate gradient.
        v_threshold: The threshold, the unit of the surrogate's width; this argument has no gradient.
        strict: Whether a membrane exactly at the threshold does not spike.

    Shape:
        distance: any; v_threshold: a number, or a tensor that broadcasts to it; returns {0, 1}, same shape as distance.
    """
    if not isinstance(distance, Symbol):
        notify_observers(distance, surrogate, v_threshold)
    if isinstance(v_threshold, Tensor | Symbol):
        v_threshold = v_threshold.detach()
    return with_slope(partial(heaviside, strict), distance, partial(_gradient, surrogate, v_threshold))


def heaviside(strict: bool, distance: Tensor) -> Tensor:
    """Return 1 where a distance is at least 0, or above 0 if strict, else 0, in its dtype."""
    return (distance > 0 if strict else distance >= 0).to(distance.dtype)


def _gradient(surrogate: Surrogate, v_threshold: float | Tensor, distance: Tensor) -> Tensor:
    return surrogate.derivative(distance, v_threshold)
