"""The leaky integrate-and-fire neuron."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from snnlab.nn.neurons.base import NEURONS
from snnlab.nn.neurons.membrane import MembraneCoefficients, SpikingMembrane


class LIFState(NamedTuple):
    """Membrane potential v, `[B, ...]`."""

    v: Tensor


@NEURONS.register("lif")
class LIF(SpikingMembrane):
    """Leaky integrate-and-fire neuron whose input jumps onto the membrane, in any library's dialect.

        u[t] = a * v[t-1] + g * x[t] + (1 - a) * v_leak,   s[t] = H(u[t] - v_threshold),   v[t] = u[t] reset by s[t]

    The arguments and the resets are those of `SpikingMembrane`.

    Shape:
        x: `[T, B, ...]`; state: `LIFState(v [B, ...])`; returns spikes in {0, 1}, `[T, B, ...]`, and the state.

    Source: Gerstner et al., Neuronal Dynamics, 2014, section 1.3.
    """

    def coefficients(self) -> MembraneCoefficients:
        """Return a, g and c."""
        return self.membrane_coefficients()

    def initial_state(self, x: Tensor) -> LIFState:
        """Return v = v_leak."""
        return LIFState(self.rest(x))

    def step(self, x: Tensor, state: LIFState, coefficients: MembraneCoefficients) -> tuple[Tensor, LIFState]:
        """Return the spikes of one step and the state after it."""
        s, v = self.fire(state.v, x, coefficients)
        return s, LIFState(v)
