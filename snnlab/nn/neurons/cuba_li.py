"""The leaky integrator with a current-based synapse, a readout neuron that never spikes."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from snnlab.nn.neurons.membrane import MembraneCoefficients, PerNeuron, SynapticMembrane
from snnlab.nn.neurons.nir_node import SYNAPTIC, NIRNode
from snnlab.nn.neurons.register import NEURONS


class CubaLIState(NamedTuple):
    """Membrane potential v and synaptic current i, each `[B, ...]`."""

    v: Tensor
    i: Tensor


@NEURONS.register("cuba_li")
class CubaLI(SynapticMembrane):
    """Leaky integrator whose input is added to a decaying synaptic current; its output is its membrane.

    Shape:
        x: `[T, B, ...]`; state: `CubaLIState(v, i)`, each `[B, ...]`; returns the membrane, `[T, B, ...]`, and the
        state.
    """

    nir: ClassVar[NIRNode | None] = NIRNode("CubaLI", SYNAPTIC, is_read=True)
    spiking: ClassVar[bool] = False

    per_neuron: PerNeuron = ()

    def initial_state(self, x: Tensor) -> CubaLIState:
        return CubaLIState(self.rest(x), torch.zeros_like(x))

    def step(self, x: Tensor, state: CubaLIState, coefficients: MembraneCoefficients) -> tuple[Tensor, CubaLIState]:
        """Return the membrane after one step, and the state."""
        i = self.current(state.i, x, coefficients)
        v = self.integrate(state.v, self.read(state.i, i), coefficients)
        return v, CubaLIState(v, i)
