"""The leaky integrate-and-fire neuron."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

from torch import Tensor

from snnlab.nn.neurons.membrane import (
    LibraryMembrane,
    MembraneCoefficients,
)
from snnlab.nn.neurons.nir_node import LEAKY, NIRNode
from snnlab.nn.neurons.register import NEURONS


class LIFState(NamedTuple):
    """Membrane potential v, `[B, ...]`."""

    v: Tensor


@NEURONS.register("lif")
class LIF(LibraryMembrane):
    """Leaky integrate-and-fire neuron whose input is added to the membrane, with the conventions of any library.

    It returns a pair of spikes and state, which `torch.nn.Sequential` does not support; use `snnlab.nn.Network`.

    Shape:
        x: `[T, B, ...]`; state: `LIFState(v [B, ...])`; returns spikes in {0, 1}, `[T, B, ...]`, and the state.

    Source: Gerstner et al., Neuronal Dynamics, 2014, section 1.3.
    """

    nir: ClassVar[NIRNode | None] = NIRNode("LIF", LEAKY, is_read=True)

    def initial_state(self, x: Tensor) -> LIFState:
        return LIFState(self.rest(x))

    def step(self, x: Tensor, state: LIFState, coefficients: MembraneCoefficients) -> tuple[Tensor, LIFState]:
        s, v = self.fire(state.v, x, coefficients)
        return s, LIFState(v)
