"""The two-compartment leaky integrate-and-fire neuron."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from snnlab.nn.neurons.base import DetachReset, SurrogateNeuron
from snnlab.nn.neurons.info import AfterSpike, DtWarning, Firing, NeuronInfo
from snnlab.nn.neurons.learn import InShape, Number, Per, learned_parameter
from snnlab.nn.neurons.register import NEURONS
from snnlab.nn.surrogate import SurrogateSetting, spike
from snnlab.spec.declared import setting
from snnlab.spec.interval import Finite, Interval, Positive


class TCLIFState(NamedTuple):
    """Potential of the dendrite and v, that of the soma, each `[B, ...]`."""

    dendrite: Tensor
    v: Tensor


class TCLIFCoefficients(NamedTuple):
    """Gain of the soma on the dendrite, negative in the equations, and of the dendrite on the soma."""

    to_dendrite: Number
    to_soma: Number


@NEURONS.register("tc_lif")
class TCLIF(SurrogateNeuron):
    """Two-compartment neuron: a dendrite integrates the input, and drives a soma that spikes and inhibits it.

    Neither leaks; the compartments oscillate, so that an input is remembered for long. Both gains are learned, between
    0 and 1, as logits.

    Args:
        beta1: Logit of the gain of the soma on the dendrite, at first.
        beta2: Logit of the gain of the dendrite on the soma, at first.
        gamma: What a spike subtracts from the dendrite.
        v_threshold: Firing threshold of the soma, and what a spike subtracts from it.
        per: Whether the gains are learned per layer, channel or neuron.

    Shape:
        x: `[T, B, ...]`; state: `TCLIFState(dendrite, v)`, each `[B, ...]`; returns spikes in {0, 1}, `[T, B, ...]`,
        and the state.

    Source: Zhang et al., TC-LIF: a two-compartment spiking neuron model for long-term sequential modelling, AAAI 2024,
    and its code.
    """

    beta1: Finite = 0.0
    beta2: Finite = 0.0
    gamma: Finite = 0.5
    v_threshold: Positive = 1.0
    detach_reset: DetachReset = False
    per: Per = "layer"
    surrogate: SurrogateSetting = setting(default={"type": "triangle", "alpha": 1.0})
    in_shape: InShape = None

    def prepare(self) -> None:
        super().prepare()
        logits = {"beta1": self.beta1, "beta2": self.beta2}
        self.learned = nn.ParameterDict(
            {name: learned_parameter(name, at, Interval(), self.per, self.in_shape) for name, at in logits.items()}
        )

    def learned_values(self) -> Iterator[tuple[str, str, Tensor]]:
        yield from ((name, "", value.detach().double()) for name, value in self.learned.items())

    def coefficients(self) -> TCLIFCoefficients:
        return TCLIFCoefficients(*(self.learned[name].double().sigmoid() for name in ("beta1", "beta2")))

    def definitions(self) -> dict[str, str]:
        return {"to_dendrite": "sigmoid(beta1)", "to_soma": "sigmoid(beta2)"}

    def initial_state(self, x: Tensor) -> TCLIFState:
        return TCLIFState(torch.zeros_like(x), torch.zeros_like(x))

    def step(self, x: Tensor, state: TCLIFState, coefficients: TCLIFCoefficients) -> tuple[Tensor, TCLIFState]:
        k = coefficients
        d = state.dendrite - k.to_dendrite * state.v + x
        u = state.v + k.to_soma * d
        s = spike(u - self.v_threshold, self.surrogate, self.v_threshold)
        r = s.detach() if self.detach_reset else s
        return s, TCLIFState(d - r * self.gamma, u - r * self.v_threshold)

    def info(self) -> NeuronInfo:
        found = DtWarning("late_current", advice="train again where dt changes")
        reset = AfterSpike("subtract", self.v_threshold)
        return NeuronInfo(firing=Firing(self.v_threshold), reset=reset, warnings=(found,))
