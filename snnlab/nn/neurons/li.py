"""The leaky integrator, a readout that never spikes."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from snnlab.nn.neurons.base import NEURONS
from snnlab.nn.neurons.membrane import InputGain, LeakyMembrane, MembraneCoefficients, TauMem
from snnlab.nn.neurons.time_constants import Decay


class LIState(NamedTuple):
    """Membrane potential v, `[B, ...]`."""

    v: Tensor


@NEURONS.register("li")
class LI(LeakyMembrane):
    """Leaky integrator: its output is its membrane.

        v[t] = a * v[t-1] + g * x[t] + (1 - a) * v_leak

    Args:
        dt: Length of a step, ms; None where steps have no length.
        tau_mem: Membrane time constant, ms, or `"2 steps"`; 20 ms where neither it nor `beta` is given.
        beta: The factor a itself, in place of `tau_mem`.
        v_leak: Resting potential, dimensionless.
        decay: `exact`: a = exp(-dt / tau_mem); `euler`: a = 1 - dt / tau_mem.
        input_gain: g: a number, or `1-a`.

    Shape:
        x: `[T, B, ...]`; state: `LIState(v [B, ...])`; returns the membrane, `[T, B, ...]`, and the state.

    Raises:
        ValueError: if a value is out of its range.
    """

    spiking: ClassVar[bool] = False

    def __init__(
        self,
        dt: float | None = None,
        *,
        tau_mem: TauMem = None,
        beta: float | None = None,
        v_leak: float = 0.0,
        decay: Decay = "exact",
        input_gain: InputGain = 1.0,
    ) -> None:
        super().__init__(dt, tau_mem, beta, v_leak, decay, input_gain)

    def coefficients(self) -> MembraneCoefficients:
        """Return a, g and c."""
        return self.membrane_coefficients()

    def initial_state(self, x: Tensor) -> LIState:
        """Return v = v_leak."""
        return LIState(torch.full_like(x, self.v_leak))

    def step(self, x: Tensor, state: LIState, coefficients: MembraneCoefficients) -> tuple[Tensor, LIState]:
        """Return the membrane after one step, twice: as output and as state."""
        v = self.integrate(state.v, x, coefficients)
        return v, LIState(v)
