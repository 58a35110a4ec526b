"""Layers that treat each neuron by itself and hold a value for each: scale, threshold, delay.

Axes: T steps, B samples, D steps of the longest delay.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn

from snnlab.nn.delays import (
    STEPS,
    Delays,
    DelayState,
    HasLongestDelay,
    SingleDelays,
    last_steps,
    make_delays,
    whole_steps,
    with_past,
)
from snnlab.nn.layer import LAYERS, Counts, Dt, InShape, Reach, Shape, TemporalLayer, valid_steps
from snnlab.nn.surrogate import Atan, spike
from snnlab.spec.declared import Declared, no_setting, setting
from snnlab.spec.interval import Finite, at_least


@LAYERS.register("scale")
class Scale(Declared, nn.Module):
    """Multiply each value by its own weight.

        y = weight * x

    Args:
        scale: Initial value of all weights.

    Shape:
        `[N, ...]` to `[N, ...]`.
    """

    in_shape: InShape = setting(kw_only=False)
    scale: Finite = 1.0

    def prepare(self) -> None:
        self.weight = nn.Parameter(torch.full(self.in_shape, self.scale))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight


@LAYERS.register("threshold")
class Threshold(Declared, nn.Module):
    """Return 1 where a value is above its threshold, else 0; there is no state.

        y = H(x - v_threshold)

    Args:
        v_threshold: Initial threshold of all values; the thresholds are part of the weights and not learned.
        threshold: `strict`: 1 at x > v_threshold; `inclusive`: at x >= v_threshold.

    Shape:
        `[N, ...]` to `[N, ...]`, 0 and 1.
    """

    in_shape: InShape = setting(kw_only=False)
    initial: Finite = setting(default=1.0, alias="v_threshold")
    threshold: Literal["inclusive", "strict"] = "strict"
    v_threshold: Tensor = no_setting()

    def prepare(self) -> None:
        self.register_buffer("v_threshold", torch.full(self.in_shape, self.initial, dtype=torch.float64))
        self.strict, self.surrogate = self.threshold == "strict", Atan()

    def forward(self, x: Tensor) -> Tensor:
        return spike(x - self.v_threshold.to(x.dtype), self.surrogate, 1.0, strict=self.strict)


class Delay(TemporalLayer, HasLongestDelay):
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
        self._read: tuple[Tensor, int, int] | None = None
        self.register_buffer("steps", torch.full(in_shape, steps, dtype=torch.int64))

    def longest(self) -> int:
        """Return the longest delay, steps; on the meta device, which has no values, the initial one."""
        steps = self.steps
        if steps.is_meta:
            return self.initial_steps
        if steps.device.type == "cpu" or steps.is_inference():
            return int(steps.max())
        # Another device is read, and so waited for, only once, unless the delays change.
        if self._read is None or self._read[0] is not steps or self._read[1] != steps._version:
            self._read = steps, steps._version, int(steps.max())
        return self._read[2]

    def forward(
        self,
        x: Tensor,
        state: DelayState | None = None,
        *,
        lengths: Tensor | None = None,
        counts: Counts | None = None,
    ) -> tuple[Tensor, DelayState]:
        longest = self.longest()
        x_all = with_past(x, state, longest)
        y = self.delayed(x_all, x)
        valid = valid_steps(lengths, x.shape[0], x)
        y = y if valid is None else torch.where(valid, y, 0)
        return y, DelayState(last_steps(x_all, longest, lengths).transpose(0, 1))

    def delayed(self, x_all: Tensor, x: Tensor) -> Tensor:
        """Return the outputs of the steps of x, which are the last of x_all."""
        first = x_all.shape[0] - x.shape[0]
        steps = torch.arange(x.shape[0], device=x.device).reshape(-1, *[1] * (x.dim() - 1)) + first
        return x_all.gather(0, (steps - self.steps).expand_as(x))


class LearnedDelay(Delay):
    """Delay each value by its own delay, which is learned; before the first input it is 0.

        y[t] = sum over m of taps[m] x[t - m],   taps as in `Delays`

    Args:
        delays: The delays, in the shape of one sample at one step.

    Shape:
        x: `[T, B, ...]`; state: `DelayState(x [B, M, ...])`, M steps of the longest delay; returns `[T, B, ...]` and
        the state.
    """

    def __init__(self, delays: Delays) -> None:
        TemporalLayer.__init__(self)
        self.delays = delays

    @property
    def steps(self) -> Tensor:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The delays in whole steps."""
        return self.delays.steps()

    def longest(self) -> int:
        return self.delays.max_steps

    def delayed(self, x_all: Tensor, x: Tensor) -> Tensor:
        if not self.delays.learning:
            return super().delayed(x_all, x)
        y = torch.zeros_like(x)
        for m, tap in enumerate(self.delays.taps().unbind(-1)):
            y = y + tap * x_all[m : m + len(x)]
        return y


@LAYERS.register("delay")
def delay(
    in_shape: InShape,
    dt: Dt,
    *,
    delay: Annotated[float | str | Mapping[str, Any], "ms", at_least(0), STEPS, SingleDelays] = "1 step",
) -> Delay:
    """Delay each value by its own delay, y[t] = x[t - delay]: axonal delays, after neurons.

    Args:
        delay: Initial delay of all values, ms, or `"2 steps"`; part of the weights, in steps, and not learned. Or
            `{max: 25, learn: true}`: random ones up to max that are learned. Other settings: `initial`, a delay for
            all in place of random ones; `sigma_start` and `sigma`, the widths of the Gaussians that learn, in steps,
            from half of max to 0.23, in the fraction `sigma_decay` of the epochs, 0.25; and in linear layers and
            convolutions `count`, the delays of a connection, 1.
    """
    if isinstance(delay, Mapping):
        return LearnedDelay(make_delays(delay, in_shape, dt))
    return Delay(in_shape, whole_steps(delay, dt))
