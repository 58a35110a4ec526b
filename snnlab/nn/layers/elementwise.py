"""Layers that treat each neuron by itself and hold a value for each: scale, threshold, delay.

Axes: T steps, B samples, D steps of the longest delay.
"""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

import torch
from torch import Tensor, nn

from snnlab.errors import ConfigError
from snnlab.nn.layer import LAYERS, Counts, Reach, Shape, TemporalLayer, valid_steps
from snnlab.nn.surrogate import Atan, spike
from snnlab.settings import Finite, at_least


class Scale(nn.Module):
    """Multiply each value by its own weight.

        y = weight * x

    Args:
        in_shape: Shape of one sample at one step, and of the weight.
        scale: Initial value of all weights.

    Shape:
        `[N, ...]` to `[N, ...]`.
    """

    def __init__(self, in_shape: Shape, scale: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full(in_shape, scale))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight


@LAYERS.register("scale")
def scale(in_shape: Shape, *, scale: Finite = 1.0) -> Scale:
    """Multiply each value by its own weight, y = weight * x.

    Args:
        in_shape: Shape of one sample at one step.
        scale: Initial value of all weights.
    """
    return Scale(in_shape, scale)


class Threshold(nn.Module):
    """Return 1 where a value is above its threshold, else 0; there is no state.

        y = H(x - v_threshold)

    Args:
        in_shape: Shape of one sample at one step.
        v_threshold: Initial threshold of all values; the thresholds are part of the weights and not learned.
        threshold: `strict`: 1 at x > v_threshold; `inclusive`: at x >= v_threshold.

    Shape:
        `[N, ...]` to `[N, ...]`, 0 and 1.
    """

    v_threshold: Tensor

    def __init__(
        self, in_shape: Shape, v_threshold: float = 1.0, threshold: Literal["inclusive", "strict"] = "strict"
    ) -> None:
        super().__init__()
        self.register_buffer("v_threshold", torch.full(in_shape, v_threshold, dtype=torch.float64))
        self.strict, self.surrogate = threshold == "strict", Atan()

    def forward(self, x: Tensor) -> Tensor:
        return spike(x - self.v_threshold.to(x.dtype), self.surrogate, 1.0, strict=self.strict)


@LAYERS.register("threshold")
def threshold(
    in_shape: Shape, *, v_threshold: Finite = 1.0, threshold: Literal["inclusive", "strict"] = "strict"
) -> Threshold:
    """Return 1 where a value is above its threshold, else 0.

    Args:
        in_shape: Shape of one sample at one step.
        v_threshold: Initial threshold of all values, part of the weights and not learned.
        threshold: `strict`: 1 above the threshold; `inclusive`: also at it.
    """
    return Threshold(in_shape, v_threshold, threshold)


class DelayState(NamedTuple):
    """The last inputs, the oldest first, `[B, D, ...]`."""

    x: Tensor


class Delay(TemporalLayer):
    """Delay each value by its own number of steps; before the first input it is 0.

        y[t] = x[t - steps]

    Args:
        in_shape: Shape of one sample at one step.
        steps: Initial delay of all values, steps; the delays are part of the weights and not learned.

    Shape:
        x: `[T, B, ...]`; state: `DelayState(x [B, D, ...])`; returns `[T, B, ...]` and the state.
    """

    reach: Reach = "past"
    steps: Tensor

    def __init__(self, in_shape: Shape, steps: int = 1) -> None:
        super().__init__()
        self.initial_steps = steps
        self.register_buffer("steps", torch.full(in_shape, steps, dtype=torch.int64))

    def longest(self) -> int:
        """Return the longest delay, steps; on the meta device, which has no values, the initial one."""
        return self.initial_steps if self.steps.is_meta else int(self.steps.max())

    def forward(
        self,
        x: Tensor,
        state: DelayState | None = None,
        *,
        lengths: Tensor | None = None,
        counts: Counts | None = None,
    ) -> tuple[Tensor, DelayState]:
        longest = self.longest()
        before = x.new_zeros(longest, *x.shape[1:]) if state is None else state.x.transpose(0, 1)
        x_all = torch.cat([before, x])
        steps = torch.arange(x.shape[0], device=x.device).reshape(-1, *[1] * (x.dim() - 1)) + longest
        y = x_all.gather(0, (steps - self.steps).expand_as(x))
        valid = valid_steps(lengths, x.shape[0], x)
        y = y if valid is None else torch.where(valid, y, 0)
        return y, DelayState(last_steps(x_all, longest, lengths).transpose(0, 1))


def last_steps(x_all: Tensor, number: int, lengths: Tensor | None) -> Tensor:
    """Return the last `number` steps of each sample, which `number` earlier steps precede.

    Shape:
        x_all: `[number + T, B, ...]`; lengths: valid ones of the T steps, `[B]`; returns `[number, B, ...]`.
    """
    num_steps = x_all.shape[0] - number
    if lengths is None:
        return x_all[num_steps:]
    at = lengths.clamp(max=num_steps) + torch.arange(number, device=x_all.device)[:, None]
    return x_all.gather(0, at.reshape(*at.shape, *[1] * (x_all.dim() - 2)).expand(number, *x_all.shape[1:]))


@LAYERS.register("delay")
def delay(in_shape: Shape, dt: float | None, *, delay: Annotated[float | str, "ms", at_least(0)] = "1 step") -> Delay:
    """Delay each value by its own number of steps, y[t] = x[t - steps].

    Args:
        in_shape: Shape of one sample at one step.
        dt: Length of a step, ms.
        delay: Initial delay of all values, ms, or `"2 steps"`; part of the weights, in steps, and not learned.

    Raises:
        ConfigError: if it is no whole number of steps.
    """
    return Delay(in_shape, _whole_steps(delay, dt))


def _whole_steps(delay: float | str, dt: float | None) -> int:
    """Return a delay in steps."""
    if isinstance(delay, str):
        number, _, unit = delay.strip().partition(" ")
        if unit.strip() not in ("step", "steps") or not number.isdecimal():
            raise ConfigError("delay", f"expected a number in ms or 'N steps' such as '2 steps', got '{delay}'")
        return int(number)
    if dt is None:
        raise ConfigError("delay", "is in ms, but steps have no length in ms", "give it as 'N steps'")
    steps = delay / dt
    if abs(steps - round(steps)) > 1e-6 * max(1.0, steps):
        raise ConfigError("delay", f"must be a whole number of steps of {dt:g} ms, got {delay:g} ms")
    return round(steps)
