"""The balanced resonate-and-fire neuron."""

from __future__ import annotations

from typing import Annotated, NamedTuple

import torch
from torch import Tensor

from snnlab.errors import ConfigError
from snnlab.nn.neurons.learn import Number
from snnlab.nn.neurons.learned_oscillator import LearnedOscillator
from snnlab.nn.neurons.register import NEURONS
from snnlab.nn.neurons.time_constants import FACTOR, Constant, Decay
from snnlab.nn.surrogate import spike


class BRFState(NamedTuple):
    """Real part v of the membrane, which spikes, imaginary part w, and the refractory variable q, each `[B, ...]`."""

    v: Tensor
    w: Tensor
    q: Tensor


class BRFCoefficients(NamedTuple):
    """Coefficients of the update, of one step.

    Attributes:
        damping: dt (p(omega) - b'), where q is 0.
        rotation: dt omega.
        dt: Length of a step, s.
        gain: Gain of the input, dt * input_gain.
        gamma: Factor of q.
    """

    damping: Number
    rotation: Number
    dt: float
    gain: float
    gamma: float


@NEURONS.register("brf")
class BRF(LearnedOscillator):
    """Balanced resonate-and-fire neuron: a damped oscillator whose threshold and damping rise with its spikes.

    There is no reset. Each neuron learns its omega and b', which start uniform within their ranges. The damping cannot
    be below the border of divergence, p(omega), of a step of this length, as long as dt * omega < 1.

    Args:
        damping: Range of b', the damping beyond the border, 1/s, `[low, high]`.
        gamma: Factor of the refractory variable in one step.

    Shape:
        x: `[T, B, ...]`; state: `BRFState(v, w, q)`, each `[B, ...]`; returns spikes in {0, 1}, `[T, B, ...]`, and the
        state.

    Source: Higuchi et al., Balanced resonate-and-fire neurons, ICML 2024, and its code.
    """

    gamma: Annotated[float, FACTOR] = 0.9

    def prepare(self) -> None:
        self.refractory = Decay("tau_refractory", "gamma", None, self.gamma, self.dt, "exact")
        super().prepare()

    def require_omega(self, highest: float) -> None:
        if highest * self.seconds >= 1.0:
            raise ConfigError("omega", f"must be below 1 / dt = {1.0 / self.seconds:g} rad/s, got {highest:g}")

    def coefficients(self) -> BRFCoefficients:
        dt = self.seconds
        omega, damping = (self.get_value(name).double().abs() for name in ("omega", "damping"))
        # Beyond 1 / dt, which learning can reach, p(omega) stays at its lowest.
        border = torch.sqrt((1.0 - (dt * omega).square()).clamp(min=1e-12)) - 1.0
        return BRFCoefficients(border - dt * damping, dt * omega, dt, dt * self.input_gain, self.refractory.per_step())

    def definitions(self) -> dict[str, str]:
        return {
            "damping": "dt * (p - damping)",
            "p": "p = (sqrt(1 - (dt * omega)**2) - 1) / dt",
            "rotation": "dt * omega",
            "gain": "dt * input_gain",
        }

    def initial_state(self, x: Tensor) -> BRFState:
        return BRFState(torch.zeros_like(x), torch.zeros_like(x), torch.zeros_like(x))

    def step(self, x: Tensor, state: BRFState, coefficients: BRFCoefficients) -> tuple[Tensor, BRFState]:
        k, (v, w, q) = coefficients, state
        b = k.damping - k.dt * q
        v_new = v + b * v - k.rotation * w + k.gain * x
        w_new = w + k.rotation * v + b * w
        s = spike(v_new - self.v_threshold - q, self.surrogate, self.v_threshold, strict=True)
        return s, BRFState(v_new, w_new, k.gamma * q + s)

    def constants(self) -> list[Constant]:
        return [self.refractory.constant()]
