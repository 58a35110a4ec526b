"""The temporal-segment leaky integrate-and-fire neuron."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from snnlab.errors import ConfigError
from snnlab.nn.neurons.base import SurrogateNeuron
from snnlab.nn.neurons.info import AfterSpike, DtWarning, Firing, NeuronInfo
from snnlab.nn.neurons.learn import InShape, Number
from snnlab.nn.neurons.register import NEURONS
from snnlab.nn.surrogate import SurrogateSetting, spike
from snnlab.spec.declared import setting
from snnlab.spec.interval import Finite, Positive


class TSLIFState(NamedTuple):
    """Potential of the dendrite and v, that of the soma, each `[B, ...]`."""

    dendrite: Tensor
    v: Tensor


class TSLIFCoefficients(NamedTuple):
    """The learned factors, gains and output weights; see the equations."""

    dendrite_decay: Number
    dendrite_gain: Number
    soma_decay: Number
    soma_gain: Number
    to_dendrite: Number
    to_soma: Number
    soma_weight: Number
    dendrite_weight: Number


@NEURONS.register("ts_lif")
class TSLIF(SurrogateNeuron):
    """Two-compartment neuron for time series: dendrite and soma each spike, and its output is their weighted sum.

    All coefficients are learned, per layer; the two output weights per neuron, normal at first. The output is no spike:
    rates and operations are not counted. The decay and gain of a compartment are free numbers, as in the code.

    Args:
        dendrite_decay: Factor of the dendrite in one step; d0 of the code.
        dendrite_gain: Gain of the input on it; d1.
        soma_decay: Factor of the soma in one step; d2.
        soma_gain: Gain of the input on it; d3.
        to_dendrite: Inhibition of the dendrite by the soma; yy.
        to_soma: Inhibition of the soma by the dendrite; kk.
        gamma: What a spike of the dendrite subtracts from it.
        v_threshold: Firing threshold of both, and what a spike of the soma subtracts from it.

    Shape:
        x: `[T, B, ...]`; state: `TSLIFState(dendrite, v)`, each `[B, ...]`; returns `[T, B, ...]` and the state.

    Source: TS-LIF: a temporal segment spiking neuron network for time series forecasting, ICLR 2025, and its code,
    TSLIFNode.
    """

    spiking: ClassVar[bool] = False

    dendrite_decay: Finite = 0.8
    dendrite_gain: Finite = 0.2
    soma_decay: Finite = 0.3
    soma_gain: Finite = 0.7
    to_dendrite: Finite = 0.1
    to_soma: Finite = 0.8
    gamma: Finite = 0.5
    v_threshold: Positive = 1.0
    surrogate: SurrogateSetting = setting(default={"type": "atan", "alpha": 2.0})
    in_shape: InShape = None

    def prepare(self) -> None:
        super().prepare()
        if self.in_shape is None:
            raise ConfigError("", "ts_lif has weights for each neuron and needs in_shape, the shape of one sample")
        *names, soma_weight, dendrite_weight = TSLIFCoefficients._fields
        learned = {name: torch.tensor(getattr(self, name)) for name in names}
        learned |= {name: torch.randn(self.in_shape) for name in (soma_weight, dendrite_weight)}
        self.learned = nn.ParameterDict({name: nn.Parameter(value) for name, value in learned.items()})

    def learned_values(self) -> Iterator[tuple[str, str, Tensor]]:
        yield from ((name, "", value.detach().double()) for name, value in self.learned.items())

    def coefficients(self) -> TSLIFCoefficients:
        return TSLIFCoefficients(**self.learned)

    def initial_state(self, x: Tensor) -> TSLIFState:
        return TSLIFState(torch.zeros_like(x), torch.zeros_like(x))

    def step(self, x: Tensor, state: TSLIFState, coefficients: TSLIFCoefficients) -> tuple[Tensor, TSLIFState]:
        k = coefficients
        d = k.dendrite_decay * state.dendrite + k.dendrite_gain * x - k.to_dendrite * state.v
        u = k.soma_decay * state.v + k.soma_gain * x - k.to_soma * d
        long = spike(d - self.v_threshold, self.surrogate, self.v_threshold, strict=True)
        s = spike(u - self.v_threshold, self.surrogate, self.v_threshold, strict=True)
        after = TSLIFState(d - long * self.gamma, u - s * self.v_threshold)
        return k.soma_weight * s + k.dendrite_weight * long, after

    def info(self) -> NeuronInfo:
        found = DtWarning("late_current", advice="train again where dt changes")
        firing = Firing(self.v_threshold, strict=True)
        return NeuronInfo(firing=firing, reset=AfterSpike("subtract", self.v_threshold), warnings=(found,))
