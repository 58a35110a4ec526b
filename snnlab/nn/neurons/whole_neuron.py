"""A neuron in whole numbers: its target, the scale of the weights before it, and sums of stated widths.

All numbers are whole, in units of the weights' scale / 2^shift (`snnlab.nn.integer_targets`); fit saturates or wraps.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from snnlab.kernels.trace import Symbol, equals_constant, with_slope
from snnlab.kernels.whole_numbers import rounded, saturated, wrapped
from snnlab.nn.integer_targets import IntegerTarget
from snnlab.nn.neurons.base import Neuron
from snnlab.nn.neurons.learn import Number
from snnlab.nn.neurons.time_constants import Decay
from snnlab.nn.surrogate import Surrogate, heaviside, notify_observers
from snnlab.spec.declared import no_setting

Watch = Callable[["WholeNeuron", Tensor], None]
_watch: ContextVar[Watch | None] = ContextVar("watch", default=None)


class WholeNeuron(Neuron):
    """A neuron in whole numbers; an ordinary one becomes one by `make_whole`."""

    is_quantized: ClassVar[bool] = True

    target: IntegerTarget = no_setting()
    weight_shift: int = no_setting()

    def begin(self, target: IntegerTarget, channels: int, axes: int, weight_shift: int) -> None:
        """Take a target, with scales of 1.

        Args:
            target: Widths, rounding and overflow.
            channels: Number of output channels of the weights before it.
            axes: Number of axes of the layer after the channels.
            weight_shift: The unit is the weights' scale / 2^weight_shift; at least that of the target.
        """
        self.target, self.axes, self.weight_shift = target, axes, weight_shift
        per_channel = target.scales == "channel" and self.spiking
        log_scale = torch.zeros(channels if per_channel else 1, dtype=torch.float64)
        if target.learn_scales:
            self.log_scale = nn.Parameter(log_scale.float())
        else:
            self.register_buffer("log_scale", log_scale)

    def scale(self) -> Tensor:
        """Return the weights' scale, `[C]` or `[1]`, float64; the input's gain is part of the weights."""
        return self.log_scale.double().exp()

    def set_scale(self, scale: Tensor) -> None:
        """Set the weights' scale."""
        with torch.no_grad():
            self.log_scale.copy_(scale.double().log().expand_as(self.log_scale))

    def unit(self) -> Tensor:
        """Return the unit of the states, which broadcasts to the layer, float64."""
        unit = self.scale() / 2.0**self.weight_shift
        return unit.reshape(()) if unit.numel() == 1 else unit.view(-1, *[1] * self.axes)

    @abstractmethod
    def real_gain(self) -> Number:
        """Return the gain of the real neuron's input."""

    @abstractmethod
    def stated_numbers(self) -> dict[str, Number]:
        """Return the whole numbers that settings state, by their name."""

    @abstractmethod
    def decay_factors(self) -> list[tuple[Decay, Number]]:
        """Return the decays with their factors in whole numbers."""

    def gain(self) -> Tensor:
        """Return the gain of the input, `[C]` or `[1]`, float64."""
        return _double(self.real_gain(), self.log_scale).flatten()

    def in_units(self, value: Number, unit: Tensor) -> Number:
        """Return a value of the real neuron as a whole number of units."""
        if equals_constant(value, 0.0):
            return value
        return rounded(_double(value, unit) / unit, to_even=self.target.rounds_to_even)

    def whole_factor(self, factor: Number) -> Number:
        """Return the factor of a decay in 2^-decay_bits."""
        if isinstance(factor, float) and factor in (0.0, 1.0):
            return factor
        size = 2.0**self.target.decay_bits
        return rounded(_double(factor, self.log_scale) * size).clamp(max=size)

    def initial_state(self, x: Tensor) -> Any:
        state, unit = super().initial_state(x), self.unit()
        return type(state)(*(rounded(part.double() / unit).to(x.dtype) for part in state))

    def fit(self, value: Tensor, overflow: str) -> Tensor:
        """Return a sum as a whole number of the states' width."""
        fit = wrapped if overflow == "wrap" else saturated
        held = fit(value, self.target.state_bits, without_least=self.target.without_least)
        if not isinstance(value, Symbol):
            _notify(self, value, held)
        return held

    def defined_in_units(self, *names: str) -> dict[str, str]:
        """Return the formulas of the unit, and of settings in it."""
        found = {"unit": f"unit = weight_scale / {2**self.weight_shift}"}
        return found | {name: f"floor({name} / unit + 0.5)" for name in names}


def spike_in_units(
    surrogate: Surrogate, strict: bool, u: Tensor, threshold: Tensor, v_threshold: Tensor, unit: Tensor
) -> Tensor:
    """Return the spikes of a membrane at a threshold; the surrogate's unit is that of v_threshold."""
    distance = u - threshold
    if not isinstance(u, Symbol):
        notify_observers(distance * unit, surrogate, v_threshold * unit)
    slope = partial(slope_in_units, surrogate, v_threshold.detach(), unit.detach())
    return with_slope(partial(heaviside, strict), distance, slope)


def slope_in_units(surrogate: Surrogate, v_threshold: Tensor, unit: Tensor, distance: Tensor) -> Tensor:
    """Return the derivative of a spike for the distance from its threshold, in units."""
    return surrogate.derivative(distance * unit, v_threshold * unit) * unit


@contextmanager
def watch_overflow(watch: Watch) -> Iterator[None]:
    """Call a function with neurons and a mask, `[B, ...]`, of sums that did not fit; within `plain_loops`."""
    token = _watch.set(watch)
    try:
        yield
    finally:
        _watch.reset(token)


def _notify(neuron: WholeNeuron, value: Tensor, held: Tensor) -> None:
    if (watch := _watch.get()) is not None:
        watch(neuron, value != held)


def _double(value: Number, like: Tensor) -> Tensor:
    return torch.as_tensor(value, dtype=torch.float64, device=like.device)
