"""The resonate-and-fire neuron that the authors of the balanced one compare it with."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from snnlab.nn.neurons.learn import Number
from snnlab.nn.neurons.learned_oscillator import LearnedOscillator
from snnlab.nn.neurons.register import NEURONS
from snnlab.nn.surrogate import spike


class VanillaRFState(NamedTuple):
    """Real part v of the membrane, which spikes, and its imaginary part w, each `[B, ...]`."""

    v: Tensor
    w: Tensor


class VanillaRFCoefficients(NamedTuple):
    """Coefficients of the update, of one step.

    Attributes:
        damping: -dt b.
        rotation: dt omega.
        gain: Gain of the input, dt * input_gain.
    """

    damping: Number
    rotation: Number
    gain: float


@NEURONS.register("vanilla_rf")
class VanillaRF(LearnedOscillator):
    """Resonate-and-fire neuron without a refractory variable and without a border of its damping.

    There is no reset. Each neuron learns its omega and its damping b, which start uniform within their ranges. A step
    of this length makes an oscillation grow where b is below about dt * omega**2 / 2, dt in s.

    Args:
        damping: Range of b, 1/s, `[low, high]`.

    Shape:
        x: `[T, B, ...]`; state: `VanillaRFState(v, w)`, each `[B, ...]`; returns spikes in {0, 1}, `[T, B, ...]`, and
        the state.

    Source: Higuchi et al., Balanced resonate-and-fire neurons, ICML 2024, and its code, RFCell.
    """

    def coefficients(self) -> VanillaRFCoefficients:
        dt = self.seconds
        omega, damping = (self.get_value(name).double().abs() for name in ("omega", "damping"))
        return VanillaRFCoefficients(-dt * damping, dt * omega, dt * self.input_gain)

    def definitions(self) -> dict[str, str]:
        return {"damping": "-dt * damping", "rotation": "dt * omega", "gain": "dt * input_gain"}

    def initial_state(self, x: Tensor) -> VanillaRFState:
        return VanillaRFState(torch.zeros_like(x), torch.zeros_like(x))

    def step(
        self, x: Tensor, state: VanillaRFState, coefficients: VanillaRFCoefficients
    ) -> tuple[Tensor, VanillaRFState]:
        k, (v, w) = coefficients, state
        v_new = v + k.damping * v - k.rotation * w + k.gain * x
        w_new = w + k.rotation * v + k.damping * w
        s = spike(v_new - self.v_threshold, self.surrogate, self.v_threshold, strict=True)
        return s, VanillaRFState(v_new, w_new)
