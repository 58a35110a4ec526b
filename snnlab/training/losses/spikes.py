"""Spikes a sample, all of them or those above a budget; and a budget of synaptic operations.

Axes: B samples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Literal

from torch import Tensor

from snnlab.nn.fan_out import fan_out
from snnlab.nn.temporal import Counts
from snnlab.training.losses.budget import Budget, total
from snnlab.training.losses.contract import REGULARISERS, Regulariser, Task, Valued, chosen, mean_over_samples


@REGULARISERS.register("spikes")
class Spikes(Regulariser):
    """The number of spikes a sample, or the sum of its neurons' squared numbers.

        value = mean over samples of sum_i n[i]^power,   n[i]: spikes of neuron i

    Args:
        power: 1 for the number, which a sample's log calls spikes_per_sample; 2 asks most of the busiest neurons.
        layers: Names of spiking layers or of blocks; null for all.
    """

    def __init__(self, power: Literal[1, 2] = 1, layers: Sequence[str] | None = None) -> None:
        super().__init__()
        self.power, self.layers = power, layers
        self._names: list[str] = []

    def bind(self, task: Task) -> None:
        self._names = chosen(self.layers, task.built.spiking, "spiking layer")

    def forward(
        self, y: Tensor, targets: Tensor, lengths: Tensor, counts: Counts, weight: Tensor | None = None
    ) -> Valued:
        numbers = (counts[name].flatten(1) for name in self._names)
        value = mean_over_samples(total(n if self.power == 1 else n.square() for n in numbers), weight)
        return value, {"spikes": value}


@REGULARISERS.register("spike_budget")
class SpikeBudget(Budget):
    """How often the number of spikes a sample holds a budget: the squared logarithm, where it is more than once.

        value = mean over samples of max(0, ln(spikes / budget))^2

    Args:
        budget: Spikes a sample that cost nothing.
        layers: Names of spiking layers or of blocks; null for all.
    """

    def __init__(self, budget: Annotated[float, "spikes a sample"], layers: Sequence[str] | None = None) -> None:
        super().__init__(budget)
        self.layers = layers
        self._names: list[str] = []

    def bind(self, task: Task) -> None:
        self._names = chosen(self.layers, task.built.spiking, "spiking layer")
        self.require_reach(task, sum(math.prod(task.built.spiking[name]) for name in self._names))

    def spent(self, counts: Counts) -> Tensor:
        return total(counts[name].flatten(1) for name in self._names)


@REGULARISERS.register("synaptic_operations")
class SynapticOperations(Budget):
    """How often the synaptic operations of a sample hold a budget: the squared logarithm, where it is more than once.

        value = mean over samples of max(0, ln(operations / budget))^2,   operations = sum_i n[i] * fan_out[i]

    with n[i] the spikes of neuron i and fan_out[i] its connections: the outputs of the next layers with weights that a
    spike of it alone reaches, and its own layer's where that is recurrent. Spikes that a pool joins are counted each by
    itself, weights of 0 are counted, and what the input does in the first layer is not: no spike of the network can
    change it. NeuroBench's figure is lower by the first two and higher by the third.

    Args:
        budget: Operations a sample that cost nothing.
        layers: Names of spiking layers or of blocks; null for all.

    Source: Yik et al., The NeuroBench framework, Nature Communications 2025, for synaptic operations.
    """

    def __init__(self, budget: Annotated[float, "operations a sample"], layers: Sequence[str] | None = None) -> None:
        super().__init__(budget)
        self.layers = layers
        self._names: list[str] = []

    def bind(self, task: Task) -> None:
        self._names = chosen(self.layers, task.built.spiking, "spiking layer")
        reached = fan_out(task.built, task.in_shape)
        for number, name in enumerate(self._names):
            self.register_buffer(f"fan_out{number}", reached[name], persistent=False)
        self.require_reach(task, sum(float(reached[name].sum()) for name in self._names))

    def spent(self, counts: Counts) -> Tensor:
        return total(
            (counts[name] * self.get_buffer(f"fan_out{number}")).flatten(1) for number, name in enumerate(self._names)
        )
