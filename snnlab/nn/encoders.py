"""Encoders of values as spikes over time, for data other than events.

Axes: T steps, B samples.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from torch import Tensor

from snnlab.errors import ConfigError
from snnlab.nn.layer import Dt
from snnlab.nn.neurons.time_constants import LENGTH, Decay, TimeConstant
from snnlab.registry import Registry
from snnlab.spec.declared import Declared, setting
from snnlab.spec.interval import Count, Positive, UnitInterval, above
from snnlab.spec.signatures import checks_arguments

ENCODERS = Registry("encoder")


@ENCODERS.register("constant_current")
class ConstantCurrent:
    """The same value at each step, as an input current of a spiking layer.

        y[t] = x

    Shape:
        x: `[B, ...]`; returns `[T, B, ...]`, a view.
    """

    @checks_arguments
    def __call__(self, x: Tensor, num_steps: Count) -> Tensor:
        return x.expand(num_steps, *x.shape)


@ENCODERS.register("poisson")
class Poisson(Declared):
    """Spikes at random, independent steps, more for larger values.

        P(y[t] = 1) = x * max_rate_hz * dt / 1000        or, without `max_rate_hz`: x

    It has its own random generator: the same x, seed and kind of device give the same spikes at every call. For
    different spikes, at each epoch for instance, use another seed.

    Args:
        max_rate_hz: Spikes per second for x = 1; at most one per step. Without it, x is the probability.
        seed: Seed of the random generator.

    Shape:
        x: `[B, ...]`, 0 to 1; returns 0 and 1, `[T, B, ...]`.
    """

    dt: Dt = setting(default=None, kw_only=False)
    max_rate_hz: Annotated[float | None, "Hz", above(0)] = None
    seed: int = 0

    def prepare(self) -> None:
        self.max_probability = 1.0 if self.max_rate_hz is None else _spikes_per_step(self.max_rate_hz, self.dt)

    @checks_arguments
    def __call__(self, x: Tensor, num_steps: Count) -> Tensor:
        _require_unit_interval("poisson", x)
        dtype = torch.promote_types(x.dtype, torch.float32)  # half precision would be too coarse for small rates
        generator = torch.Generator(x.device).manual_seed(self.seed)
        draws = torch.rand(num_steps, *x.shape, generator=generator, device=x.device, dtype=dtype)
        return (draws < self.max_probability * x.to(dtype)).to(_spike_dtype(x))


@ENCODERS.register("latency")
class Latency(Declared):
    """At most one spike, earlier for larger values.

        linear:       t = tau * (1 - x)
        logarithmic:  t = tau * log(x / (x - threshold)), when a leaky membrane with input x reaches the threshold

    The spike is at the step nearest to t. There is none if x is below the threshold (logarithmic: not above it), or if
    t is after the last step.

    Args:
        code: When a value spikes.
        tau: Time constant, also as `"5 steps"`; linear: by default the whole length, which puts x = 0 at the last step.
        threshold: Smallest value that spikes.

    Shape:
        x: `[B, ...]`, 0 to 1; returns 0 and 1, `[T, B, ...]`.

    Source: Van Rullen and Thorpe, Rate coding versus temporal order coding, Neural Computation 2001.
    """

    dt: Dt = setting(default=None, kw_only=False)
    code: Literal["linear", "logarithmic"] = "linear"
    tau: Annotated[TimeConstant | None, "ms", above(0), LENGTH] = None
    threshold: UnitInterval = 0.01

    def prepare(self) -> None:
        tau = self.tau
        if self.code == "logarithmic" and (tau is None or self.threshold == 0):
            raise ConfigError("code", "logarithmic needs tau, in ms or as 'N steps', and a threshold > 0")
        self.tau_steps = None if tau is None else Decay("tau", "", tau, None, self.dt, "exact").constant().steps

    @checks_arguments
    def __call__(self, x: Tensor, num_steps: Count) -> Tensor:
        _require_unit_interval("latency", x)
        values = x.to(torch.promote_types(x.dtype, torch.float32))
        tau = num_steps - 1 if self.tau_steps is None else self.tau_steps
        if self.code == "linear":
            spikes, time = values >= self.threshold, tau * (1 - values)
        else:
            spikes = values > self.threshold
            time = tau * (values / (values - self.threshold).where(spikes, 1)).log()
        steps = torch.arange(num_steps, device=x.device).reshape(-1, *[1] * x.dim())
        return ((time.round() == steps) & spikes).to(_spike_dtype(x))


@ENCODERS.register("delta")
class Delta(Declared):
    """A spike at each step at which the input changes by the threshold or more.

        y[t] = +1 if x[t] - x[t-1] >= threshold;  -1 if x[t] - x[t-1] <= -threshold;  else 0

    Slower changes give no spikes, even if they add up: x is compared with the step before, not with the last spike.

    Args:
        threshold: Smallest change that spikes.
        before: Input before the first step; `first`: equal to the first step, which then has no spike.
        off_spikes: Whether decreases give -1; without them only increases give spikes.

    Shape:
        x: `[T, B, ...]`; returns -1, 0 and 1, `[T, B, ...]`.
    """

    threshold: Positive = 0.1
    before: Literal["zero", "first"] = "zero"
    off_spikes: bool = True

    def __call__(self, x: Tensor) -> Tensor:
        if not bool(x.isfinite().all()):
            raise ValueError("delta takes finite values, got NaN or infinity")
        values = x.to(_spike_dtype(x))
        first = values[:1] if self.before == "first" else torch.zeros_like(values[:1])
        change = values.diff(dim=0, prepend=first)
        on = (change >= self.threshold).to(values.dtype)
        return on - (change <= -self.threshold).to(values.dtype) if self.off_spikes else on


def _spikes_per_step(max_rate_hz: float, dt: float | None) -> float:
    if dt is None:
        raise ConfigError(
            "max_rate_hz", "needs steps with a length; without it, x is the probability of a spike at a step"
        )
    if max_rate_hz * dt > 1000:
        raise ConfigError(
            "max_rate_hz",
            f"{max_rate_hz:g} is {max_rate_hz * dt / 1000:g} spikes in a step of {dt:g} ms, but at most 1 is possible",
            f"set at most {1000 / dt:g} Hz, or a shorter dt",
        )
    return max_rate_hz * dt / 1000


def _require_unit_interval(kind: str, x: Tensor) -> None:
    # In this form a NaN raises too.
    if not bool(((x >= 0) & (x <= 1)).all()):
        raise ValueError(f"{kind} takes values from 0 to 1, got {x.min():.3g} to {x.max():.3g}; divide by the largest")


def _spike_dtype(x: Tensor) -> torch.dtype:
    return x.dtype if x.is_floating_point() else torch.get_default_dtype()
