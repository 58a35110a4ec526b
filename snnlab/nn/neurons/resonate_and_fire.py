"""The resonate-and-fire neuron."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from snnlab.nn.neurons.base import DetachReset, InputFactor, SurrogateNeuron
from snnlab.nn.neurons.info import AfterSpike, DtWarning, Firing, Gain, NeuronInfo
from snnlab.nn.neurons.register import NEURONS
from snnlab.nn.neurons.time_constants import Constant, Decay, Tau
from snnlab.nn.surrogate import spike
from snnlab.spec.interval import Finite, Positive


class ResonateAndFireState(NamedTuple):
    """Real part u, which gets the input, and imaginary part v, which spikes, each `[B, ...]`."""

    u: Tensor
    v: Tensor


class Rotation(NamedTuple):
    """Real and imaginary part of the factor of one step."""

    real: float
    imaginary: float


@NEURONS.register("resonate_and_fire")
class ResonateAndFire(SurrogateNeuron):
    """Resonate-and-fire neuron: a damped oscillator that answers best to input at its own frequency.

    The oscillation of a step is exact for any length of it. Inhibition makes it spike too, half a period later.

    Args:
        tau_mem: Time constant of the damping, ms, or `"5 steps"`.
        period: Period of the oscillation, ms, or `"6 steps"`; 2 pi over the angular frequency.
        v_threshold: Firing threshold of v, dimensionless.
        v_reset: v after a spike, where `reset` is `value`.
        reset: Effect of a spike on v: `value` or `subtract`; u never changes.

    Shape:
        x: `[T, B, ...]`; state: `ResonateAndFireState(u, v)`, each `[B, ...]`; returns spikes in {0, 1},
        `[T, B, ...]`, and the state.

    Source: Izhikevich, Resonate-and-fire neurons, Neural Networks 14, 2001; SpikingJelly 2.0, neuron.RAFNode.
    """

    tau_mem: Tau = "5 steps"
    period: Tau = "6.283185307179586 steps"
    v_threshold: Positive = 1.0
    v_reset: Finite = 0.0
    reset: Literal["value", "subtract"] = "value"
    detach_reset: DetachReset = True
    input_gain: InputFactor = 1.0

    def prepare(self) -> None:
        super().prepare()
        self.damping = Decay("tau_mem", "beta", self.tau_mem, None, self.dt, "exact")
        self.oscillation = Decay("period", "beta", self.period, None, self.dt, "exact")
        self.coefficients()

    def coefficients(self) -> Rotation:
        a, angle = self.damping.per_step(), 2.0 * math.pi / self.oscillation.constant().steps
        return Rotation(a * math.cos(angle), a * math.sin(angle))

    def definitions(self) -> dict[str, str]:
        a = self.damping.definition("a")
        return {"real": "a * cos(w)", "imaginary": "a * sin(w)", "a": a, "w": "w = 2 * pi * dt / period"}

    def initial_state(self, x: Tensor) -> ResonateAndFireState:
        return ResonateAndFireState(torch.zeros_like(x), torch.zeros_like(x))

    def step(
        self, x: Tensor, state: ResonateAndFireState, coefficients: Rotation
    ) -> tuple[Tensor, ResonateAndFireState]:
        k, (u, v) = coefficients, state
        z = k.imaginary * u + k.real * v
        s = spike(z - self.v_threshold, self.surrogate, self.v_threshold)
        r = s.detach() if self.detach_reset else s
        after = z - r * self.v_threshold if self.reset == "subtract" else (1.0 - r) * z + r * self.v_reset
        return s, ResonateAndFireState(k.real * u - k.imaginary * v + self.input_gain * x, after)

    def constants(self) -> list[Constant]:
        return [self.damping.constant(), self.oscillation.constant()]

    def info(self) -> NeuronInfo:
        found = DtWarning("late_current", advice="keep dt, or train again")
        value = self.v_threshold if self.reset == "subtract" else self.v_reset
        return NeuronInfo(
            Gain(self.input_gain, self.input_gain),
            Firing(self.v_threshold, variable="z"),
            AfterSpike(self.reset, value),
            drive_power=0,
            warnings=(found,),
        )
