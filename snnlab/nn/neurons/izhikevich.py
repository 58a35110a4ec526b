"""Izhikevich's neuron."""

from __future__ import annotations

from typing import Annotated, NamedTuple

import torch
from torch import Tensor

from snnlab.nn.neurons.base import DetachReset, InputFactor, SurrogateNeuron
from snnlab.nn.neurons.info import AfterSpike, DtWarning, Firing, Gain, NeuronInfo
from snnlab.nn.neurons.register import NEURONS
from snnlab.nn.neurons.time_constants import Constant
from snnlab.nn.surrogate import spike
from snnlab.spec.interval import Finite, Positive, above


class IzhikevichState(NamedTuple):
    """Membrane potential v, mV, and recovery variable u, each `[B, ...]`."""

    v: Tensor
    u: Tensor


class IzhikevichCoefficients(NamedTuple):
    """Length h of a step, in the model's ms, and the rate a of the recovery."""

    h: float
    a: float


@NEURONS.register("izhikevich")
class Izhikevich(SurrogateNeuron):
    """Izhikevich's neuron of two variables, by a, b, c and d of which it spikes regularly, in bursts, or resonates.

    An Euler step of more than 1 ms diverges. Far below rest the square makes it spike.

    Args:
        time_step: Length of the Euler step, in the model's ms, whatever dt is; null: dt. Norse's tau_inv * dt.
        a: Rate of the recovery, 1/ms.
        b: Sensitivity of the recovery to the membrane.
        c: Membrane after a spike, mV.
        d: Rise of the recovery with a spike.
        square: Coefficient of v^2.
        slope: Coefficient of v.
        bias: Constant drive, mV/ms.
        v_threshold: Peak of a spike, mV.
        v_init: Membrane before the first step, mV; u starts at b * v_init.

    Shape:
        x: `[T, B, ...]`; state: `IzhikevichState(v, u)`, each `[B, ...]`; returns spikes in {0, 1}, `[T, B, ...]`, and
        the state.

    Source: Izhikevich, Simple model of spiking neurons, IEEE Trans. Neural Networks 14, 2003; Norse 1.1.0,
    izhikevich_feed_forward_step.
    """

    time_step: Annotated[float | None, "ms", above(0)] = 0.25
    a: Annotated[Finite, "1/ms"] = 0.02
    b: Finite = 0.2
    c: Annotated[float, "mV"] = -65.0
    d: Finite = 6.0
    square: Finite = 0.04
    slope: Finite = 5.0
    bias: Annotated[float, "mV/ms"] = 140.0
    v_threshold: Annotated[Positive, "mV"] = 30.0
    v_init: Annotated[float, "mV"] = -70.0
    input_gain: InputFactor = 1.0
    detach_reset: DetachReset = True

    def coefficients(self) -> IzhikevichCoefficients:
        return IzhikevichCoefficients(self._step_length(), self.a)

    def definitions(self) -> dict[str, str]:
        return {"h": "h = dt" if self.time_step is None else "h = time_step"}

    def _step_length(self) -> float:
        return (1.0 if self.dt is None else self.dt) if self.time_step is None else float(self.time_step)

    def initial_state(self, x: Tensor) -> IzhikevichState:
        return IzhikevichState(torch.full_like(x, self.v_init), torch.full_like(x, self.b * self.v_init))

    def step(
        self, x: Tensor, state: IzhikevichState, coefficients: IzhikevichCoefficients
    ) -> tuple[Tensor, IzhikevichState]:
        k, (v, u) = coefficients, state
        z = v + k.h * (self.square * (v * v) + self.slope * v + self.bias - u + self.input_gain * x)
        s = spike(z - self.v_threshold, self.surrogate, self.v_threshold, strict=True)
        r = s.detach() if self.detach_reset else s
        after = (1.0 - r) * z + r * self.c
        return s, IzhikevichState(after, u + k.h * k.a * (self.b * v - u) + r * self.d)

    def constants(self) -> list[Constant]:
        factor = 1.0 - self._step_length() * self.a
        if not 0.0 <= factor < 1.0:
            return []
        steps = 1.0 / (1.0 - factor)
        ms = None if self.dt is None else steps * self.dt
        return [Constant("1 / a", "ms" if self.time_step is None else "steps", ms, steps, factor, "euler")]

    def info(self) -> NeuronInfo:
        gain = Gain(self.input_gain, self.input_gain * self._step_length())
        found = DtWarning("reset_to_a_value")
        firing = Firing(self.v_threshold, strict=True, variable="z")
        reset = AfterSpike("value", self.c)
        return NeuronInfo(gain, firing, reset, drive_power=-1, warnings=(found,))
