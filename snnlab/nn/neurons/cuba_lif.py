"""The leaky integrate-and-fire neuron with a current-based synapse."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from snnlab.nn.neurons.membrane import (
    LibraryMembrane,
    MembraneCoefficients,
    SynapticMembrane,
)
from snnlab.nn.neurons.nir_node import SYNAPTIC, NIRNode
from snnlab.nn.neurons.register import NEURONS


class CubaLIFState(NamedTuple):
    """Membrane potential v and synaptic current i, each `[B, ...]`."""

    v: Tensor
    i: Tensor


@NEURONS.register("cuba_lif")
class CubaLIF(SynapticMembrane, LibraryMembrane):
    """Leaky integrate-and-fire neuron whose input is added to a decaying synaptic current.

    Shape:
        x: `[T, B, ...]`; state: `CubaLIFState(v, i)`, each `[B, ...]`; returns spikes in {0, 1}, `[T, B, ...]`, and
        the state.
    """

    nir: ClassVar[NIRNode | None] = NIRNode("CubaLIF", SYNAPTIC, is_read=True)

    def initial_state(self, x: Tensor) -> CubaLIFState:
        return CubaLIFState(self.rest(x), torch.zeros_like(x))

    def step(self, x: Tensor, state: CubaLIFState, coefficients: MembraneCoefficients) -> tuple[Tensor, CubaLIFState]:
        i = self.current(state.i, x, coefficients)
        s, v = self.fire(state.v, self.read(state.i, i), coefficients)
        return s, CubaLIFState(v, i)
