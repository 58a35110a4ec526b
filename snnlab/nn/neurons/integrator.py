"""The integrator without a leak, a readout neuron that never spikes."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

from torch import Tensor

from snnlab.nn.neurons.learn import Shape
from snnlab.nn.neurons.membrane import LeakyMembrane, MembraneCoefficients, PerNeuron
from snnlab.nn.neurons.register import NEURONS
from snnlab.nn.neurons.time_constants import Dt
from snnlab.spec.interval import Finite


class IntegratorState(NamedTuple):
    """Membrane potential v, `[B, ...]`."""

    v: Tensor


@NEURONS.register("integrator")
class Integrator(LeakyMembrane):
    """Integrator without a leak: its output is its membrane, the sum of its input.

    Args:
        dt: Length of a step, ms; not used, since nothing decays.
        input_gain: g, a number.
        per_neuron: `[input_gain]`: a gain for each neuron, which is part of the weights and not learned.
        in_shape: Shape of one sample at one step; needed for gains per neuron.

    Shape:
        x: `[T, B, ...]`; state: `IntegratorState(v [B, ...])`; returns the membrane, `[T, B, ...]`, and the state.
    """

    equations: ClassVar[tuple[str, ...]] = ("v[t] = v[t-1] + g * x[t]",)

    spiking: ClassVar[bool] = False
    leaks: ClassVar[bool] = False

    def __init__(
        self,
        dt: Dt = None,
        *,
        input_gain: Finite = 1.0,
        per_neuron: PerNeuron = (),
        in_shape: Shape | None = None,
    ) -> None:
        super().__init__(dt, None, None, 0.0, "exact", input_gain)
        self.create_parameters((), in_shape, per_neuron)

    def initial_state(self, x: Tensor) -> IntegratorState:
        return IntegratorState(self.rest(x))

    def step(
        self, x: Tensor, state: IntegratorState, coefficients: MembraneCoefficients
    ) -> tuple[Tensor, IntegratorState]:
        """Return the membrane after one step, twice: as output and as state."""
        v = self.integrate(state.v, x, coefficients)
        return v, IntegratorState(v)

    def extra_repr(self) -> str:
        """Return the gain that `print(network)` shows."""
        return f"input_gain={self.input_gain:g}"
