"""Spikes a sample, all of them or those above a budget.

Axes: B samples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Literal

from torch import Tensor

from snnlab.nn.temporal import Counts
from snnlab.training.losses.budget import Budget, total
from snnlab.training.losses.contract import REGULARISERS, Regulariser, Task, Valued
from snnlab.training.losses.means import mean_over_samples
from snnlab.training.losses.naming import chosen


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
