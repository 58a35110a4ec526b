"""The exponential leaky integrate-and-fire neuron."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from snnlab.nn.neurons.learn import Number
from snnlab.nn.neurons.membrane import (
    MembraneCoefficients,
    Reset,
    SpikingMembrane,
    SynapticMembrane,
    symbol_of,
)
from snnlab.nn.neurons.register import NEURONS
from snnlab.spec.declared import no_setting
from snnlab.spec.interval import Positive


class LIFExState(NamedTuple):
    """Membrane potential v and synaptic current i, each `[B, ...]`."""

    v: Tensor
    i: Tensor


class LIFExCoefficients(NamedTuple):
    """Coefficients of the membrane, and (1 - a) * delta_t, the gain of the exponential."""

    membrane: MembraneCoefficients
    growth: Number


@NEURONS.register("lif_ex")
class LIFEx(SynapticMembrane, SpikingMembrane):
    """Leaky integrate-and-fire neuron with a synapse, whose membrane grows exponentially near its threshold.

    After a spike the membrane is v_reset. With `neuron=norse_lif_ex` it is Norse's LIFEx and LIFExCell.

    Args:
        delta_t: Sharpness of the growth, dimensionless like v_threshold.

    Shape:
        x: `[T, B, ...]`; state: `LIFExState(v, i)`, each `[B, ...]`; returns spikes in {0, 1}, `[T, B, ...]`, and the
        state.

    Source: Fourcaud-Trocme et al., How spike generation mechanisms determine the neuronal response, J. Neuroscience 23,
    2003; Norse 1.1.0, lif_ex_feed_forward_step.
    """

    approximate: ClassVar[bool] = True
    may_spike_alone: ClassVar[bool] = False

    delta_t: Positive = 0.5
    reset: Reset = no_setting("value")

    def coefficients(self) -> LIFExCoefficients:  # pyright: ignore[reportIncompatibleMethodOverride]
        membrane = super().coefficients()
        return LIFExCoefficients(membrane, (1.0 - membrane.a) * self.delta_t)

    def definitions(self) -> dict[str, str]:
        own = super().definitions()
        return own | {"growth": f"(1 - {symbol_of(own['a'])}) * delta_t"}

    def initial_state(self, x: Tensor) -> LIFExState:
        return LIFExState(self.rest(x), torch.zeros_like(x))

    def step(self, x: Tensor, state: LIFExState, coefficients: LIFExCoefficients) -> tuple[Tensor, LIFExState]:
        k = coefficients.membrane
        i = self.current(state.i, x, k)
        growth = coefficients.growth * torch.exp((state.v - k.v_threshold) / self.delta_t)
        u = self.integrate(state.v, i, k) + growth
        s = self._spike(u, k)
        return s, LIFExState(self._reset(u, s, k), i)
