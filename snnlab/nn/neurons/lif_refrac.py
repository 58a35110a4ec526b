"""The leaky integrate-and-fire neuron with an absolute refractory period."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from snnlab.nn.neurons.info import NeuronInfo
from snnlab.nn.neurons.membrane import (
    MembraneCoefficients,
    Reset,
    SpikingMembrane,
    SynapticMembrane,
)
from snnlab.nn.neurons.register import NEURONS
from snnlab.nn.surrogate import spike
from snnlab.spec.interval import NonNegative


class LIFRefracState(NamedTuple):
    """Membrane potential v, synaptic current i, and rho, the steps of rest that are left, each `[B, ...]`."""

    v: Tensor
    i: Tensor
    rho: Tensor


@NEURONS.register("lif_refrac")
class LIFRefrac(SynapticMembrane, SpikingMembrane):
    """Leaky integrate-and-fire neuron with a synapse that rests for some steps after a spike.

    While it rests, its membrane stays and it does not spike; its current goes on. H(rho) has a surrogate gradient, as
    in Norse, unless `detach_reset` is true. With `neuron=norse_lif_refrac` it is Norse's LIFRefrac and LIFRefracCell.

    Args:
        rest_steps: Steps of rest after a spike; Norse's rho_reset.

    Shape:
        x: `[T, B, ...]`; state: `LIFRefracState(v, i, rho)`, each `[B, ...]`; returns spikes in {0, 1}, `[T, B, ...]`,
        and the state.

    Source: Norse 1.1.0, lif_refrac_feed_forward_step.
    """

    rest_steps: NonNegative = 5
    reset: Reset = "value"

    def initial_state(self, x: Tensor) -> LIFRefracState:
        return LIFRefracState(self.rest(x), torch.zeros_like(x), torch.zeros_like(x))

    def step(
        self, x: Tensor, state: LIFRefracState, coefficients: MembraneCoefficients
    ) -> tuple[Tensor, LIFRefracState]:
        # First, because observers take the last call of `spike` for the membrane's.
        resting = spike(state.rho, self.surrogate, 1.0, strict=True)
        resting = resting.detach() if self.detach_reset else resting
        i = self.current(state.i, x, coefficients)
        fired, after = self.fire(state.v, i, coefficients)
        v = (1.0 - resting) * after + resting * state.v
        s = (1.0 - resting) * fired
        felt = s.detach() if self.detach_reset else s
        rho = (1.0 - felt) * torch.relu(state.rho - resting) + felt * self.rest_steps
        return s, LIFRefracState(v, i, rho)

    def info(self) -> NeuronInfo:
        own = super().info()
        assert own.reset is not None
        return replace(own, reset=own.reset._replace(rest_steps=float(self.rest_steps)))
