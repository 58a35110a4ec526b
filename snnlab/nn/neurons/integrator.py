"""The integrator without a leak, a readout neuron that never spikes."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

from torch import Tensor

from snnlab.nn.neurons.learn import Learn
from snnlab.nn.neurons.membrane import MembraneCoefficients, PerfectMembrane, PerNeuron
from snnlab.nn.neurons.nir_node import NIRNode
from snnlab.nn.neurons.register import NEURONS
from snnlab.spec.declared import no_setting


class IntegratorState(NamedTuple):
    """Membrane potential v, `[B, ...]`."""

    v: Tensor


@NEURONS.register("integrator")
class Integrator(PerfectMembrane):
    """Integrator without a leak: its output is its membrane, the sum of its input.

    Args:
        per_neuron: `[input_gain]`: a gain for each neuron, which is part of the weights and not learned.

    Shape:
        x: `[T, B, ...]`; state: `IntegratorState(v [B, ...])`; returns the membrane, `[T, B, ...]`, and the state.
    """

    nir: ClassVar[NIRNode | None] = NIRNode("I", is_read=True)
    spiking: ClassVar[bool] = False

    learn: Learn = no_setting(())
    per_neuron: PerNeuron = ()

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
