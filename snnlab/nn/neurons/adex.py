"""The adaptive exponential integrate-and-fire neuron."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from snnlab.nn.neurons.info import AdaptationCurrent, NeuronInfo
from snnlab.nn.neurons.learn import Number
from snnlab.nn.neurons.membrane import (
    Adaptive,
    MembraneCoefficients,
    Reset,
    SynapticMembrane,
    symbol_of,
)
from snnlab.nn.neurons.register import NEURONS
from snnlab.spec.declared import no_setting
from snnlab.spec.interval import Finite, Positive


class AdExState(NamedTuple):
    """Membrane potential v, synaptic current i and adaptation current w, each `[B, ...]`."""

    v: Tensor
    i: Tensor
    w: Tensor


class AdExCoefficients(NamedTuple):
    """Coefficients of the update; learned ones are tensors.

    Attributes:
        membrane: Coefficients of the canonical recurrence.
        leak: 1 - a, the gain of w on the membrane.
        rho: Factor of w in one step.
        relaxation: 1 - rho, separate because rounding rho loses it for slow adaptation.
        v_leak: Resting potential.
    """

    membrane: MembraneCoefficients
    leak: Number
    rho: Number
    relaxation: Number
    v_leak: Number


@NEURONS.register("adex")
class AdEx(SynapticMembrane, Adaptive):  # pyright: ignore[reportIncompatibleMethodOverride]
    """Adaptive exponential integrate-and-fire neuron with a synapse.

    The adaptation current that acts in a step is that of the step before, and so is the membrane that drives it. With
    `neuron=norse_adex` it is Norse's LIFAdEx and LIFAdExCell.

    Args:
        a: Gain of the membrane on w; Norse's adaptation_current.
        b: Rise of w with a spike; Norse's adaptation_spike.
        delta_t: Sharpness of the exponential growth, dimensionless like v_threshold.

    Shape:
        x: `[T, B, ...]`; state: `AdExState(v, i, w)`, each `[B, ...]`; returns spikes in {0, 1}, `[T, B, ...]`, and the
        state.

    Source: Brette and Gerstner, Adaptive exponential integrate-and-fire model as an effective description of neuronal
    activity, J. Neurophysiology 94, 2005; Norse 1.1.0, lif_adex_feed_forward_step.
    """

    factor_symbols: ClassVar[tuple[str, str]] = ("beta", "alpha")
    approximate: ClassVar[bool] = True
    may_spike_alone: ClassVar[bool] = False

    a: Finite = 4.0
    b: Finite = 0.02
    delta_t: Positive = 0.5
    reset: Reset = no_setting("value")

    def coefficients(self) -> AdExCoefficients:  # pyright: ignore[reportIncompatibleMethodOverride]
        membrane, rho = super().coefficients(), self.factor(self.adaptation_decay)
        return AdExCoefficients(membrane, 1.0 - membrane.a, rho, 1.0 - rho, self.value("v_leak"))

    def definitions(self) -> dict[str, str]:
        own = super().definitions()
        return own | {"leak": f"1 - {symbol_of(own['a'])}"}

    def initial_state(self, x: Tensor) -> AdExState:
        return AdExState(self.rest(x), torch.zeros_like(x), torch.zeros_like(x))

    def step(self, x: Tensor, state: AdExState, coefficients: AdExCoefficients) -> tuple[Tensor, AdExState]:
        k, (v, i, w) = coefficients, state
        i = self.current(i, x, k.membrane)
        growth = self.delta_t * torch.exp((v - k.membrane.v_threshold) / self.delta_t)
        u = self.integrate(v, i, k.membrane) + k.leak * (growth - w)
        s = self._spike(u, k.membrane)
        felt = s.detach() if self.detach_reset else s
        driven = k.rho * w + k.relaxation * (self.a * (v - k.v_leak)) + self.b * felt
        return s, AdExState(self._reset(u, s, k.membrane), i, driven)

    def info(self) -> NeuronInfo:
        return replace(super().info(), adaptation=AdaptationCurrent(self.a, "v", self.b))
