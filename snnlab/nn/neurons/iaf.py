"""The integrate-and-fire neuron without a leak."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, NamedTuple

from torch import Tensor

from snnlab.nn.neurons.learn import number_text
from snnlab.nn.neurons.membrane import (
    LibraryMembrane,
    MembraneCoefficients,
    PerfectMembrane,
    expand_potential,
)
from snnlab.nn.neurons.nir_node import InNIR, Lost, NIRNode
from snnlab.nn.neurons.register import NEURONS
from snnlab.spec.interval import FINITE

VInit = Annotated[float | Literal["v_reset"], FINITE]


class IAFState(NamedTuple):
    """Membrane potential v, `[B, ...]`."""

    v: Tensor


@NEURONS.register("iaf")
class IAF(PerfectMembrane, LibraryMembrane):  # pyright: ignore[reportIncompatibleVariableOverride]
    """Integrate-and-fire neuron without a leak.

    Args:
        v_init: Potential before the first step; `v_reset`: the potential after a spike, 0 where `reset` is not `value`.
        learn: Learned quantities: `[v_threshold]`, and v_reset where `reset` is `value`.

    Shape:
        x: `[T, B, ...]`; state: `IAFState(v [B, ...])`; returns spikes in {0, 1}, `[T, B, ...]`, and the state.
    """

    nir: ClassVar[NIRNode | None] = NIRNode("IF", is_read=True)
    v_init: VInit = 0.0

    def initial_state(self, x: Tensor) -> IAFState:
        v_init = self.v_init
        if isinstance(v_init, str):
            return IAFState(expand_potential(self.value("v_reset") if self.reset == "value" else 0.0, x))
        return IAFState(expand_potential(v_init, x))

    def step(self, x: Tensor, state: IAFState, coefficients: MembraneCoefficients) -> tuple[Tensor, IAFState]:
        s, v = self.fire(state.v, x, coefficients)
        return s, IAFState(v)

    def in_nir(self, dt: float) -> InNIR | None:
        own = super().in_nir(dt)
        if own is None or self.v_init in (0.0, "v_reset"):
            return own
        start = Lost(f"v_init: {self.v_init}", "v_init: 0", "a membrane that starts at 0")
        return own._replace(lost=[*own.lost, start])

    def extra_repr(self) -> str:
        """Return the threshold that `print(network)` shows."""
        return f"v_threshold={number_text(self.v_threshold)}"
