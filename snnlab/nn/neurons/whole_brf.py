"""The balanced resonate-and-fire neuron in whole numbers."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from snnlab.kernels.whole_numbers import floored, rounded, scaled, truncated
from snnlab.nn.neurons.brf import BRF, BRFState
from snnlab.nn.neurons.learn import Number
from snnlab.nn.neurons.time_constants import Decay
from snnlab.nn.neurons.whole_neuron import WholeNeuron, spike_in_units

# The refractory variable counts spikes: its fraction bits, and its bits.
REFRACTORY_FRACTION = 8
REFRACTORY_BITS = 12


class WholeBRFCoefficients(NamedTuple):
    """`BRFCoefficients` in whole numbers.

    Attributes:
        kept: 1 + damping where q is 0, in 2^-decay_bits; with the rotation, it lengthens no vector.
        rotation: dt omega, in 2^-decay_bits.
        per_spike: dt, by which a spike raises the damping, in 2^-decay_bits.
        gamma: Factor of q, in 2^-decay_bits.
        v_threshold: Firing threshold, in units.
        rise: Rise of the threshold with a spike, in units.
        unit: The unit.
    """

    kept: Number
    rotation: Number
    per_spike: Number
    gamma: Number
    v_threshold: Number
    rise: Number
    unit: Number


class WholeBRF(WholeNeuron, BRF):
    """`brf` in whole numbers; the refractory variable is in 2^-8 spikes, at most 2^12 - 1 of them."""

    def real_gain(self) -> Number:
        return BRF.coefficients(self).gain

    def coefficients(self) -> Any:
        size, real, unit = 2.0**self.target.decay_bits, BRF.coefficients(self), self.unit()
        rotation = rounded(real.rotation * size).clamp(max=size - 1.0)
        longest = torch.sqrt(1.0 - (rotation / size).square())
        kept = floored(size * (longest - self.seconds * self.get_value("damping").double().abs())).clamp(min=0.0)
        return WholeBRFCoefficients(
            kept,
            rotation,
            rounded(unit.new_tensor(size * min(real.dt, 1.0))),
            self.whole_factor(real.gamma),
            self.in_units(self.v_threshold, unit),
            self.in_units(1.0, unit),
            unit,
        )

    def definitions(self) -> dict[str, str]:
        size = 2**self.target.decay_bits
        return self.defined_in_units("v_threshold") | {
            "kept": f"floor({size} * (p - dt * damping))",
            "p": f"p = sqrt(1 - (rotation / {size})**2)",
            "rotation": f"rotation = floor({size} * dt * omega + 0.5)",
            "per_spike": f"floor({size} * dt + 0.5)",
            "gamma": f"floor({size} * gamma + 0.5)",
            "rise": "floor(1 / unit + 0.5)",
        }

    def stated_numbers(self) -> dict[str, Number]:
        k = self.coefficients()
        most = min(1.0 / (1.0 - self.gamma), 2.0 ** (REFRACTORY_BITS - REFRACTORY_FRACTION))
        # The threshold, where spikes have raised it as far as they can.
        return {"v_threshold": k.v_threshold, "gamma": k.v_threshold + most * k.rise}

    def decay_factors(self) -> list[tuple[Decay, Number]]:
        return [(self.refractory, self.coefficients().gamma)]

    def step(self, x: Tensor, state: BRFState, coefficients: Any) -> tuple[Tensor, BRFState]:
        k, (v, w, q), bits = coefficients, state, self.target.decay_bits
        kept = (k.kept - truncated(q * k.per_spike / 2.0**REFRACTORY_FRACTION)).clamp(min=0.0)
        turned = self.fit(x, "saturate") + scaled(v, kept, bits) - scaled(w, k.rotation, bits)
        v_new = self.fit(turned, "saturate")
        w_new = self.fit(scaled(w, kept, bits) + scaled(v, k.rotation, bits), "saturate")
        threshold = k.v_threshold + scaled(k.rise, q, REFRACTORY_FRACTION)
        s = spike_in_units(self.surrogate, True, v_new, threshold, k.v_threshold, k.unit)
        raised = scaled(q, k.gamma, bits) + 2.0**REFRACTORY_FRACTION * s
        return s, BRFState(v_new, w_new, raised.clamp(max=2.0**REFRACTORY_BITS - 1.0))
