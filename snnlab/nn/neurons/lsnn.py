"""Norse's neuron of long short-term memory spiking networks."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from snnlab.nn.neurons.info import DtWarning, Firing, NeuronInfo
from snnlab.nn.neurons.membrane import (
    AdaptiveThreshold,
    Reset,
    Synapse,
    SynapticMembrane,
    Threshold,
    ThresholdCoefficients,
)
from snnlab.nn.neurons.nir_node import SYNAPTIC, NIRNode
from snnlab.nn.neurons.register import NEURONS
from snnlab.spec.declared import no_setting


class LSNNState(NamedTuple):
    """Membrane potential v, synaptic current i and the adapted threshold b, each `[B, ...]`."""

    v: Tensor
    i: Tensor
    b: Tensor


@NEURONS.register("lsnn")
class LSNN(AdaptiveThreshold, SynapticMembrane):  # pyright: ignore[reportIncompatibleMethodOverride]
    """Leaky integrate-and-fire neuron with an adaptive threshold, with the order of operations of Norse's LSNN.

    With `neuron=norse_lsnn` it is Norse's LSNN and LSNNCell, and with `recurrent: {autapses: false, init: norse}` and
    `detach_reset: true` Norse's LSNNRecurrent. Norse's times are in seconds, so its tau_adapt_inv of 1/800 with
    dt = 0.001 is 800,000 steps: in a trial of a second the threshold hardly relaxes. In Norse's docstring the spike
    depends on v - v_th + b, in its code, as here, on v - b.

    Args:
        tau_adapt: Time constant of the threshold, ms, or `"2 steps"`.
        adaptation: Rise of the threshold with a spike, dimensionless like v_threshold; Norse's beta.
        input_gain: g: `average`, (1 - a) * (1 - alpha) * tau_syn / dt; `1-a`, which filters the current; or a number.
        decay: `exact` or `euler`, for all three time constants.
        detach_reset: Whether the effects of a spike on its own neuron, reset and threshold, have no gradient.

    Shape:
        x: `[T, B, ...]`; state: `LSNNState(v, i, b)`, each `[B, ...]`; returns spikes in {0, 1}, `[T, B, ...]`, and the
        state.

    Source: Bellec et al., Long short-term memory and learning-to-learn in networks of spiking neurons, NeurIPS 2018;
    Norse 1.1.0.
    """

    nir: ClassVar[NIRNode | None] = NIRNode("CubaLIF", SYNAPTIC)
    factor_symbols: ClassVar[tuple[str, str]] = ("a", "alpha")
    synapse: Synapse = no_setting("jump_first")
    reset: Reset = "value"
    detach_reset: bool = False
    threshold: Threshold = "strict"

    def initial_state(self, x: Tensor) -> LSNNState:
        b = self.value("v_threshold")
        at_rest = b.to(x.dtype).expand_as(x) if isinstance(b, Tensor) else torch.full_like(x, b)
        return LSNNState(self.rest(x), torch.zeros_like(x), at_rest)

    def step(self, x: Tensor, state: LSNNState, coefficients: ThresholdCoefficients) -> tuple[Tensor, LSNNState]:
        k = coefficients
        u = self.integrate(state.v, state.i, k.membrane)
        threshold = state.b + k.relaxation * (k.membrane.v_threshold - state.b)
        s = self.spike_at(threshold, u, k.membrane)
        v = self._reset(u, s, k.membrane)
        risen = threshold + k.adaptation * (s.detach() if self.detach_reset else s)
        return s, LSNNState(v, self.current(state.i, x, k.membrane), risen)

    def info(self) -> NeuronInfo:
        own = super().info()
        warning = DtWarning("late_current", fix=(("type", "alif"),))
        rising = Firing(self.v_threshold, strict=self.strict, rise=self.adaptation)
        return replace(own, firing=rising, synapse="next_step", warnings=(*own.warnings, warning))
