"""Delays, fixed or learned, and the past inputs that a layer with delays has as its state.

Axes: T steps, B samples, M steps of the longest delay.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple

import torch
from torch import Tensor, nn

from snnlab.errors import ConfigError, error_context
from snnlab.nn.layer import Dt, Scheduled, Shape, copy_to
from snnlab.spec.declared import Declared, no_setting, setting
from snnlab.spec.field import Form, SettingsOf
from snnlab.spec.interval import Count, UnitInterval, above, at_least
from snnlab.spec.signatures import check_settings

STEPS = Form(r"\s*\d+ +steps?\s*", "a number in ms or 'N steps' such as '2 steps'")
_INITIAL = Form(r"uniform|even|\s*\d+ +steps?\s*", "uniform, even, a number in ms or 'N steps' such as '2 steps'")
Length = Annotated[float | str, "ms", at_least(0), STEPS]
# What is passed to the delays of a layer, and to those that have no axis for several delays of a connection.
OF_LAYER = ("shape", "dt")
OF_SINGLE = ("shape", "dt", "count")
_DELAYS = "snnlab.nn.delays.Delays"
_LABEL = "a delay"
# The setting `delay` of a layer, a mapping of the settings of `Delays`; that of a feedback; and that of delays alone.
DelaySetting = Annotated[Mapping[str, Any] | None, SettingsOf(_DELAYS, _LABEL, OF_LAYER)]
SingleDelays = SettingsOf(_DELAYS, _LABEL, OF_SINGLE)
# A Gaussian has a standard deviation of sigma and this, in steps, so that it always reaches two steps; as in dcls.
MIN_DEVIATION = 0.27


class DelayState(NamedTuple):
    """The last inputs, the oldest first, `[B, M, ...]`."""

    x: Tensor


def with_past(x: Tensor, state: DelayState | None, number: int) -> Tensor:
    """Return all inputs after the `number` inputs before them, which are 0 without a state.

    Shape:
        x: `[T, B, ...]`; returns `[number + T, B, ...]`.
    """
    before = x.new_zeros(number, *x.shape[1:]) if state is None else state.x.transpose(0, 1)
    return torch.cat([before, x])


def last_steps(x_all: Tensor, number: int, lengths: Tensor | None) -> Tensor:
    """Return the last `number` steps of each sample, which `number` earlier steps precede.

    Shape:
        x_all: `[number + T, B, ...]`; lengths: valid ones of the T steps, `[B]`; returns `[number, B, ...]`.
    """
    num_steps = x_all.shape[0] - number
    if lengths is None:
        return x_all[num_steps:]
    ends = copy_to(x_all.device, lengths.clamp(max=num_steps))
    at = ends + torch.arange(number, device=x_all.device)[:, None]
    return x_all.gather(0, at.reshape(*at.shape, *[1] * (x_all.dim() - 2)).expand(number, *x_all.shape[1:]))


def whole_steps(delay: float | str, dt: float | None, setting: str = "delay") -> int:
    """Return a delay in steps.

    Args:
        delay: Delay in ms, or `"2 steps"`.
        dt: Length of a step, ms; None where steps have no length.
        setting: Its name, for errors.
    """
    if isinstance(delay, str):
        if problem := STEPS.problem(delay):
            raise ConfigError(setting, problem)
        return int(delay.split()[0])
    if dt is None:
        raise ConfigError(setting, "is in ms, but steps have no length in ms", "give it as 'N steps'")
    steps = delay / dt
    if abs(steps - round(steps)) > 1e-6 * max(1.0, steps):
        raise ConfigError(setting, f"must be a whole number of steps of {dt:g} ms, got {delay:g} ms")
    return round(steps)


class HasLongestDelay(ABC):
    """A module that holds inputs back."""

    @abstractmethod
    def longest(self) -> int:
        """Return the longest delay, steps."""


class Delays(Declared, nn.Module, HasLongestDelay, Scheduled):
    """Delays between 0 and a maximum. While they are learned, each is a Gaussian over the steps around it.

        taps[m] = exp(-((m - d) / (sigma + 0.27))^2 / 2) / (their sum over m + 1e-7),   d = fraction * max, in steps

    In evaluation, and if they are not learned or frozen, each is the nearest whole number of steps. sigma decays over
    the first epochs of a training, so that the taps become narrow:

        sigma[e] = sigma_start (sigma / sigma_start)^(e / E),   E = sigma_decay * epochs, then sigma

    Args:
        shape: Shape of the delays.
        max: Longest delay, ms, or `"25 steps"`; a whole number of steps.
        learn: Whether the delays are learned; else they keep their initial values.
        initial: `uniform`: random between 0 and max; `even`: each connection has `count` delays from 0 to max, equally
            far apart; or a delay, ms or in steps.
        count: Delays of each connection, each with its own weight; None: one, without an axis for it.
        sigma: Final width of the Gaussians.
        sigma_start: Initial width; None: half of the longest delay.
        sigma_decay: Fraction of a training's epochs in which the width decays.

    Attributes:
        fraction: The delays as fractions of max, so that a learning rate fits any max.
        max_steps: The longest delay, steps.
        spacing: A divisor of all delays, steps.

    Source: Hammouamri et al., Learning delays in spiking neural networks using dilated convolutions with learnable
        spacings, ICLR 2024; sigma as in their package dcls 0.1.1.
    """

    shape: Shape = setting(kw_only=False)
    dt: Dt = setting(kw_only=False)
    max: Length = setting()
    learn: bool = False
    initial: Annotated[float | str, "ms", at_least(0), _INITIAL] = "uniform"
    count: Count | None = None
    sigma_end: Annotated[float, "steps", above(0)] = setting(default=0.23, alias="sigma")
    given_start: Annotated[float | None, "steps", above(0)] = setting(default=None, alias="sigma_start")
    sigma_decay: UnitInterval = 0.25
    fraction: Tensor = no_setting()
    schedule_fraction: float | None = no_setting()

    def prepare(self) -> None:
        shape, count, learn, initial = self.shape, self.count, self.learn, self.initial
        self.max_steps = whole_steps(self.max, self.dt, "max")
        if self.max_steps < 1:
            raise ConfigError("max", f"must be at least one step, got {self.max}")
        shape = shape if count is None else (*shape, count)
        self.spacing = 1
        if initial == "uniform":
            fraction = torch.rand(shape)
        elif initial == "even":
            self.spacing = self._even_spacing(count or 1)
            fraction = torch.linspace(0, 1, count or 1).expand(shape).clone()
            self.spacing = 1 if learn else self.spacing
        else:
            steps = whole_steps(initial, self.dt, "initial")
            if steps > self.max_steps:
                raise ConfigError("initial", f"must not be longer than max, {self.max}, got {initial}")
            fraction = torch.full(shape, steps / self.max_steps)
        if learn:
            self.fraction = nn.Parameter(fraction)
        else:
            # Only random ones are stored; others follow from the settings.
            self.register_buffer("fraction", fraction, persistent=initial == "uniform")
        self.sigma_start = (self.max_steps + 1) // 2 if self.given_start is None else self.given_start
        self.sigma, self.schedule_fraction = float(self.sigma_start), self.sigma_decay if learn else None

    def _even_spacing(self, count: int) -> int:
        if count < 2 or self.max_steps % (count - 1):
            raise ConfigError(
                "count", f"must be 2 or more and divide max, {self.max_steps} steps, into equal parts, got {count}"
            )
        return self.max_steps // (count - 1)

    def longest(self) -> int:
        return self.max_steps

    @property
    def learning(self) -> bool:
        """Whether the delays are Gaussians: in training, if they are learned and not frozen."""
        return self.training and self.fraction.requires_grad

    def steps(self) -> Tensor:
        """Return the delays in whole steps, int64."""
        return (self.fraction.detach() * self.max_steps).round().clamp(0, self.max_steps).long()

    def taps(self) -> Tensor:
        """Return how much of an input arrives over each delay, the longest delay first.

        Shape:
            `[*shape, max_steps + 1]`.
        """
        after = torch.arange(self.max_steps, -1, -1, device=self.fraction.device)
        if not self.learning:
            return (after == self.steps()[..., None]).to(self.fraction.dtype)
        distance = (after - self.max_steps * self.fraction[..., None]) / (self.sigma + MIN_DEVIATION)
        taps = (-0.5 * distance**2).exp()
        return taps / (taps.sum(-1, keepdim=True) + 1e-7)

    def kernel(self, weight: Tensor) -> Tensor:
        """Return the sum of the K weights of each connection over each delay, the longest delay first.

        Shape:
            weight: `[..., K]`, as many as delays; returns `[..., max_steps + 1]`.
        """
        if self.learning:
            return (weight[..., None] * self.taps().view(*weight.shape, -1)).sum(-2)
        kernel = weight.new_zeros(*weight.shape[:-1], self.max_steps + 1)
        return kernel.scatter_add(-1, self.max_steps - self.steps().view(weight.shape), weight)

    def set_progress(self, progress: float) -> None:
        """Set the width of the Gaussians; `progress`: completed fraction 0..1 of the epochs in which it decays."""
        self.sigma = self.sigma_start * (self.sigma_end / self.sigma_start) ** progress

    @torch.no_grad()
    def clamp(self) -> None:
        """Move delays that a training step has moved out of 0..max to its end."""
        self.fraction.clamp_(0, 1)

    def extra_repr(self) -> str:
        """Return the settings that `print(network)` shows."""
        return f"{tuple(self.fraction.shape)}, max_steps={self.max_steps}, learn={self.fraction.requires_grad}"


def make_delays(given: Mapping[str, Any], shape: Shape, dt: float | None, *, with_count: bool = False) -> Delays:
    """Return the delays of a layer's setting `delay`.

    Args:
        given: Settings of `Delays`.
        shape: Shape of the delays.
        dt: Length of a step, ms.
        with_count: Whether a connection may have several delays; the shape has a last axis for them then.
    """
    settings = {"count": 1, **given} if with_count else dict(given)
    check_settings(Delays, settings, "delay", _LABEL, supplied=OF_LAYER if with_count else OF_SINGLE)
    with error_context("delay"):
        return Delays(shape, dt, **settings)


def delays_of(network: nn.Module) -> list[Delays]:
    """Return all delays of a network."""
    return [module for module in network.modules() if isinstance(module, Delays)]


def clamp_delays(network: nn.Module) -> None:
    """Move the delays of a network into 0..max; call it after each step of an optimizer."""
    for delays in delays_of(network):
        delays.clamp()


def longest_delay(network: nn.Module) -> int:
    """Return the longest delay of the layers of a network, steps; 0 without delays."""
    return max((module.longest() for module in network.modules() if isinstance(module, HasLongestDelay)), default=0)
