"""The Tsodyks-Markram synapse: short-term facilitation and depression."""

from __future__ import annotations

from typing import Annotated, ClassVar, NamedTuple

import torch
from torch import Tensor

from snnlab.nn.neurons.base import Neuron
from snnlab.nn.neurons.info import Gain, NeuronInfo
from snnlab.nn.neurons.register import NEURONS
from snnlab.nn.neurons.time_constants import Constant, Decay, DecayRule, Tau
from snnlab.spec.interval import Interval


class TsodyksMarkramState(NamedTuple):
    """Utilization u and remaining resources r, each `[B, ...]`."""

    u: Tensor
    r: Tensor


class TsodyksMarkramCoefficients(NamedTuple):
    """Factor of u in one step, and 1 minus that of the resources' absence."""

    facilitation: float
    recovery: float


@NEURONS.register("tsodyks_markram")
class TsodyksMarkram(Neuron):
    """Synapse with short-term plasticity, in front of the weights: each spike uses a part of what resources are left.

    The utilization rises with spikes and decays to 0, the resources fall with spikes and recover to 1. An input above 1
    counts as one spike, one below 0 as none.

    Args:
        tau_facilitation: Time constant of the utilization, ms, or `"50 steps"`.
        tau_recovery: Time constant of the resources, ms, or `"750 steps"`.
        utilization: Part of the rest to 1 by which a spike raises u.
        decay: Rule of both decays, `exact` or `euler`.

    Shape:
        x: `[T, B, ...]`, spikes; state: `TsodyksMarkramState(u, r)`, each `[B, ...]`; returns the efficacy of each
        spike, 0 to 1, `[T, B, ...]`, and the state.

    Source: Tsodyks and Markram, The neural code between neocortical pyramidal neurons depends on neurotransmitter
    release probability, PNAS 94, 1997; Norse 1.1.0, stp_step.
    """

    spiking: ClassVar[bool] = False

    tau_facilitation: Tau = "50 steps"
    tau_recovery: Tau = "750 steps"
    utilization: Annotated[float, Interval(0.0, 1.0, with_high=True)] = 0.45
    decay: DecayRule = "exact"

    def prepare(self) -> None:
        super().prepare()
        self._decays = (
            Decay("tau_facilitation", "alpha", self.tau_facilitation, None, self.dt, self.decay),
            Decay("tau_recovery", "alpha", self.tau_recovery, None, self.dt, self.decay),
        )
        self.coefficients()

    def coefficients(self) -> TsodyksMarkramCoefficients:
        facilitation, recovery = (decay.per_step() for decay in self._decays)
        return TsodyksMarkramCoefficients(facilitation, 1.0 - recovery)

    def definitions(self) -> dict[str, str]:
        a, b = (decay.definition(symbol) for symbol, decay in zip("ab", self._decays, strict=True))
        return {"facilitation": a, "recovery": "1 - b", "b": b}

    def initial_state(self, x: Tensor) -> TsodyksMarkramState:
        return TsodyksMarkramState(torch.zeros_like(x), torch.ones_like(x))

    def step(
        self, x: Tensor, state: TsodyksMarkramState, coefficients: TsodyksMarkramCoefficients
    ) -> tuple[Tensor, TsodyksMarkramState]:
        k, (u, r) = coefficients, state
        z = x.clamp(0.0, 1.0)
        u_new = k.facilitation * u + self.utilization * (1.0 - u) * z
        y = u_new * r * z
        return y, TsodyksMarkramState(u_new, r + k.recovery * (1.0 - r) - y)

    def constants(self) -> list[Constant]:
        return [decay.constant() for decay in self._decays]

    def info(self) -> NeuronInfo:
        return NeuronInfo(Gain(self.utilization, self.utilization))
