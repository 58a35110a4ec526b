"""Sinabs' LIF, which can spike several times in a step."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from snnlab.nn.neurons.base import FiringThreshold, SurrogateNeuron
from snnlab.nn.neurons.info import AfterSpike, DtWarning, Firing, Fix, NeuronInfo
from snnlab.nn.neurons.learn import Learnable, learnable_quantity
from snnlab.nn.neurons.membrane import LeakyMembrane, MembraneCoefficients, multi_spike
from snnlab.nn.neurons.nir_node import LEAKY, SYNAPTIC, InNIR, NIRNode, lost_of
from snnlab.nn.neurons.register import NEURONS
from snnlab.nn.neurons.time_constants import Alpha, Decay, DecayRule, TauMem, TauSyn
from snnlab.nn.surrogate import SurrogateSetting
from snnlab.spec.declared import no_setting, setting
from snnlab.spec.interval import FINITE, Interval

InputGain = Annotated[float | Literal["1-a"], FINITE]


class SinabsLIFState(NamedTuple):
    """Membrane potential v and synaptic current i, `[B, ...]` each; i stays 0 where there is no synapse."""

    v: Tensor
    i: Tensor


@NEURONS.register("sinabs_lif")
class SinabsLIF(SurrogateNeuron, LeakyMembrane):
    """Sinabs' leaky integrate-and-fire neuron: several spikes a step, each of which subtracts the threshold.

    a = exp(-1 / tau_mem), b = exp(-1 / tau_syn), both in steps. The gradient flows through the reset. ds/du is one
    surrogate gradient around v_threshold for any number of spikes, since Sinabs' SingleExponential is not periodic.
    With at most one spike per step (SingleSpike) it equals `cuba_lif` or `lif`.

    Args:
        tau_mem: Membrane time constant, `"2 steps"` as in Sinabs, or ms.
        tau_syn: Synaptic time constant, `"2 steps"` or ms; no synapse where neither it nor `alpha` is given.
        min_v_mem: Lower bound of the membrane; None: no bound.
        input_gain: g: `1-a`, Sinabs' norm_input=True, or a number, 1 for norm_input=False.
        learn: Learned quantities: `[tau_mem, tau_syn]`, or the factors that replace them.

    Shape:
        x: `[T, B, ...]`; state: `SinabsLIFState(v, i)`, each `[B, ...]`; returns whole numbers of spikes >= 0,
        `[T, B, ...]`, and the state.

    Source: Sinabs 3.1.3, sinabs.layers.LIF.
    """

    graded: ClassVar[bool] = True
    tau_mem: TauMem = setting(default="2 steps", read_by=learnable_quantity)
    tau_syn: TauSyn = setting(default=None, read_by=learnable_quantity)
    alpha: Alpha = setting(default=None, read_by=learnable_quantity)
    v_leak: Annotated[Learnable, FINITE] = no_setting(0.0)
    v_threshold: FiringThreshold = 1.0
    min_v_mem: Annotated[float | None, Interval(high=0, with_high=True)] = None
    decay: DecayRule = no_setting("exact")
    input_gain: InputGain = "1-a"  # pyright: ignore[reportIncompatibleVariableOverride]
    surrogate: SurrogateSetting = setting(default={"type": "exponential", "grad_width": 0.5})

    def prepare(self) -> None:
        no_synapse = self.tau_syn is None and self.alpha is None
        synapse = Decay("tau_syn", "alpha", self.tau_syn, self.alpha, self.dt, self.decay)
        self.synapse_decay = None if no_synapse else synapse
        super().prepare()

    def learnable(self) -> dict[str, tuple[float, Interval]]:
        """Return the learnable quantities: the two decays, as in Sinabs."""
        decays = [decay for decay in (self.membrane_decay, self.synapse_decay) if decay is not None]
        return {decay.setting: (decay.initial_value(), decay.legal_values()) for decay in decays}

    def coefficients(self) -> MembraneCoefficients:
        b = 0.0 if self.synapse_decay is None else self.factor(self.synapse_decay)
        return super().coefficients()._replace(b=b, v_threshold=self.v_threshold)

    def definitions(self) -> dict[str, str]:
        b = {} if self.synapse_decay is None else {"b": self.synapse_decay.definition("b")}
        return super().definitions() | b

    def initial_state(self, x: Tensor) -> SinabsLIFState:
        return SinabsLIFState(torch.zeros_like(x), torch.zeros_like(x))

    def step(
        self, x: Tensor, state: SinabsLIFState, coefficients: MembraneCoefficients
    ) -> tuple[Tensor, SinabsLIFState]:
        if self.synapse_decay is None:
            j, i = x, state.i
        else:
            j = i = coefficients.b * (state.i + x)
        u = self.integrate(state.v, j, coefficients)
        s = multi_spike(u, self.surrogate, self.v_threshold)
        v = u - s * self.v_threshold
        if self.min_v_mem is not None:
            # Not clamp: as in Sinabs, a membrane exactly at the bound has no gradient.
            v = torch.relu(v - self.min_v_mem) + self.min_v_mem
        return s, SinabsLIFState(v, i)

    def decays(self) -> list[Decay]:
        return [*super().decays(), *([] if self.synapse_decay is None else [self.synapse_decay])]

    def in_nir(self, dt: float) -> InNIR:
        node = NIRNode("LIF", LEAKY) if self.synapse_decay is None else NIRNode("CubaLIF", SYNAPTIC)
        return self.node_in_nir(node, dt, lost_of(self.info(), one_spike="type: lif or cuba_lif", lowest="min_v_mem"))

    def info(self) -> NeuronInfo:
        own = replace(
            super().info(),
            firing=Firing(self.v_threshold, several=True),
            reset=AfterSpike("subtract", self.v_threshold),
            lowest=self.min_v_mem,
        )
        if self.synapse_decay is None:
            return own
        # An impulse stays on the synapse for tau_syn / dt steps, which adds one power of the number of steps.
        power = None if own.drive_power is None else own.drive_power + 1
        fixes: dict[int, Fix] = {1: (("input_gain", "1-a"),)}
        warning = DtWarning("jump_decays_first")
        return replace(own, synapse="decay_first", drive_power=power, fixes=fixes, warnings=(warning,))
