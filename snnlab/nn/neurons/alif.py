"""The leaky integrate-and-fire neuron with an adaptive threshold."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from snnlab.errors import ConfigError
from snnlab.nn.neurons.info import AfterSpike, Firing, NeuronInfo
from snnlab.nn.neurons.learn import Shape
from snnlab.nn.neurons.membrane import (
    AdaptiveThreshold,
    MembraneCoefficients,
    ThresholdCoefficients,
)
from snnlab.nn.neurons.nir_node import LEAKY, NIRNode
from snnlab.nn.neurons.register import NEURONS
from snnlab.spec.declared import no_setting


class ALIFState(NamedTuple):
    """Membrane potential v and adaptation w, the decaying sum of the neuron's own spikes, each `[B, ...]`."""

    v: Tensor
    w: Tensor


@NEURONS.register("alif")
class ALIF(AdaptiveThreshold):
    """Leaky integrate-and-fire neuron whose threshold rises with each of its spikes and relaxes slowly.

    A jump of w is 1 for any dt, and the reset subtracts v_threshold, as in Bellec et al. 2020, there one step later.
    Bellec et al. 2018 subtract the threshold that the membrane has reached, which is `adapted_reset`, and add
    (1 - rho) * s[t] to w, which shrinks with dt: `adaptation_gain: 1-rho`. Sinabs' ALIF with SingleSpike is that of
    2018: `input_gain: 1-a`, adaptation = adapt_scale, times in steps; its threshold has no gradient. Norse's
    `ada_lif_step` has an adaptation current, as the neuron `adlif`.

    Args:
        adaptive: Number of the layer's channels or features that adapt, the last ones; null for all. The others are
            `lif` in the same layer, so that one feedback can connect all.
        adaptation_gain: Factor of the adaptation: 1, or `1-rho`, so that a neuron that spikes at every step has a
            threshold that is higher by `adaptation`, whatever its rho.
        adapted_reset: Whether reset `subtract` subtracts A, the adapted threshold, and not v_threshold.
        detach_reset: Whether the reset has no gradient; the threshold has one in any case.
        reset_delay: Whether the reset acts one step after its spike; then w, too, holds the spikes before this step.

    Shape:
        x: `[T, B, ...]`; state: `ALIFState(v, w)`, each `[B, ...]`; returns spikes in {0, 1}, `[T, B, ...]`, and the
        state.

    Source: Bellec et al., Long short-term memory and learning-to-learn in networks of spiking neurons, NeurIPS 2018;
    Bellec et al., A solution to the learning dilemma for recurrent networks of spiking neurons, Nature Communications
    11, 2020.
    """

    nir: ClassVar[NIRNode | None] = NIRNode("LIF", LEAKY)
    adapts: Tensor | None = no_setting()
    adaptive: int | None = None
    reset_delay: bool = False
    adaptation_gain: Literal[1, "1-rho"] = 1
    adapted_reset: bool = False

    def prepare(self) -> None:
        if self.adapted_reset and self.reset != "subtract":
            raise ConfigError("adapted_reset", f"needs reset: subtract, got reset: {self.reset}")
        self.register_buffer("adapts", _mask_of_last(self.adaptive, self.in_shape), persistent=False)
        super().prepare()

    def coefficients(self) -> ThresholdCoefficients:
        k = super().coefficients()
        if self.adaptation_gain == "1-rho":
            k = k._replace(adaptation=k.adaptation * k.relaxation)
        if self.adapts is None:
            return k
        adaptation = torch.as_tensor(k.adaptation, dtype=torch.float64)
        return k._replace(adaptation=torch.where(self.adapts, adaptation, 0.0))

    def initial_state(self, x: Tensor) -> ALIFState:
        return ALIFState(self.rest(x), torch.zeros_like(x))

    def step(self, x: Tensor, state: ALIFState, coefficients: ThresholdCoefficients) -> tuple[Tensor, ALIFState]:
        k = coefficients
        threshold = k.adaptation * state.w + k.membrane.v_threshold
        if not self.reset_delay:
            u = self.integrate(state.v, x, k.membrane)
            s = self.spike_at(threshold, u, k.membrane)
            v = self._reset(u, s, self._reset_coefficients(threshold, k.membrane))
            return s, ALIFState(v, k.rho * state.w + s)
        s_before = self.spike_at(threshold, state.v, k.membrane)
        w = k.rho * state.w + s_before
        threshold = k.adaptation * w + k.membrane.v_threshold
        u = self._after_late_reset(state.v, x, s_before, self._reset_coefficients(threshold, k.membrane))
        return self.spike_at(threshold, u, k.membrane), ALIFState(u, w)

    def info(self) -> NeuronInfo:
        own, rise = super().info(), self.adaptation
        if self.adaptation_gain == "1-rho":
            rise = torch.as_tensor(super().coefficients().relaxation).detach() * rise
        rising = Firing(self.v_threshold, strict=self.strict, rise=rise, rising=self.adaptive)
        reset = AfterSpike("subtract", adapted=True, delayed=self.reset_delay) if self.adapted_reset else own.reset
        return replace(own, firing=rising, reset=reset)

    def _reset_coefficients(self, threshold: Tensor, k: MembraneCoefficients) -> MembraneCoefficients:
        """Return coefficients of the reset: with `adapted_reset` by the adapted threshold, or its part in `average`."""
        if not self.adapted_reset:
            return k
        return k._replace(r=threshold if self.input_gain != "average" else threshold * (k.r / k.v_threshold))


def _mask_of_last(number: int | None, in_shape: Shape | None) -> Tensor | None:
    """Return a mask of the last `number` channels or features, or None for all."""
    if number is None:
        return None
    if not in_shape:
        raise ConfigError("adaptive", "needs in_shape, the shape of one sample at one step")
    channels = in_shape[0]
    if not 1 <= number <= channels:
        raise ConfigError("adaptive", f"must be 1 to {channels}, the layer's channels or features, got {number}")
    return (torch.arange(channels) >= channels - number).view(-1, *[1] * (len(in_shape) - 1))
