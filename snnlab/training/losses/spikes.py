"""Spikes a sample; and budgets of what may be spent without a cost, of spikes or of operations.

Axes: B samples.
"""

from __future__ import annotations

import logging
import math
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import Annotated, Literal

import torch
from torch import Tensor

from snnlab import intervals
from snnlab.errors import ConfigError
from snnlab.nn.fan_out import fan_out
from snnlab.nn.temporal import Counts
from snnlab.training.losses.contract import REGULARISERS, Regulariser, Task, Valued, chosen, mean_over_samples
from snnlab.training.losses.spiking_output import spikes_once

_log = logging.getLogger(__name__)

# So many times the budget is a slip, or a network that will fall silent.
FAR_ABOVE = 10


class Budget(Regulariser):
    """How often what is spent on a sample holds a budget: the squared logarithm, where it is more than once.

    A hundred times the budget pulls only a few times as hard as twice the budget, so that a network that begins far
    above it is not silenced at once. Nothing pulls a silenced one back: a `rate_band` with a lower bound would.

    Args:
        budget: What costs nothing, > 0.
        layers: Names of spiking layers or of blocks; null for all.

    Raises:
        ConfigError: if only a silent network could keep to it.
    """

    def __init__(self, budget: float, layers: Sequence[str] | None) -> None:
        super().__init__()
        self.budget, self.layers = budget, layers
        self._names: list[str] = []
        self._looked = False

    def bind(self, task: Task) -> None:
        self._names = chosen(self.layers, task.built.spiking, "spiking layer")

    @abstractmethod
    def spent(self, counts: Counts) -> Tensor:
        """Return what is spent on each sample, `[B]`."""

    def require_reach(self, task: Task, most: float) -> None:
        """Refuse a budget that nothing can exceed.

        Args:
            task: What the loss is used for.
            most: What is spent at one step in which every neuron fires once.

        Raises:
            ConfigError: naming what can be spent.
        """
        if spikes_once(task.built.network) and self.budget >= most * task.num_steps:
            raise ConfigError(
                "budget",
                (
                    f"{self.budget:,.10g} cannot be exceeded: if every neuron fired at each of"
                    f" {task.num_steps} steps, that would be {most * task.num_steps:,.10g}"
                ),
            )

    def forward(
        self, y: Tensor, targets: Tensor, lengths: Tensor, counts: Counts, weight: Tensor | None = None
    ) -> Valued:
        spent = self.spent(counts)
        self._look(spent)
        value = mean_over_samples(above(spent, self.budget), weight)
        return value, {"budget": value}

    def _look(self, spent: Tensor) -> None:
        """Say, at the first training batch, if silence meets the budget, or probably will."""
        if not self.training or self._looked:
            return
        self._looked = True
        mean, budget = float(spent.detach().mean()), f"{self.budget:,.10g}"
        if mean == 0:
            _log.warning("the budget of %s is met by silence: nothing that it counts fires on the first batch", budget)
        elif mean > FAR_ABOVE * self.budget:
            _log.warning(
                "the first batch takes %s a sample, far more than the budget of %s: the network may fall silent to keep"
                " it; begin with a larger one, or set a lower bound beside it (type: rate_band)",
                f"{mean:,.0f}",
                budget,
            )


def above(value: Tensor, bound: float) -> Tensor:
    """Return max(0, ln(value / bound))^2, which is smooth at the bound and has no gradient below."""
    return (value / bound).clamp(min=1).log().square()


def total(parts: Iterable[Tensor]) -> Tensor:
    """Return each sample's sum over all layers and neurons, `[B, n]` each to `[B]`."""
    return torch.stack([part.sum(1) for part in parts]).sum(0)


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
    """

    def __init__(
        self, budget: Annotated[float, "spikes a sample", intervals.above(0)], layers: Sequence[str] | None = None
    ) -> None:
        super().__init__(budget, layers)

    def bind(self, task: Task) -> None:
        super().bind(task)
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

    Source: Yik et al., The NeuroBench framework, Nature Communications 2025, for synaptic operations.
    """

    def __init__(
        self, budget: Annotated[float, "operations a sample", intervals.above(0)], layers: Sequence[str] | None = None
    ) -> None:
        super().__init__(budget, layers)

    def bind(self, task: Task) -> None:
        super().bind(task)
        reached = fan_out(task.built, task.in_shape)
        for number, name in enumerate(self._names):
            self.register_buffer(f"fan_out{number}", reached[name], persistent=False)
        self.require_reach(task, sum(float(reached[name].sum()) for name in self._names))

    def spent(self, counts: Counts) -> Tensor:
        return total(
            (counts[name] * self.get_buffer(f"fan_out{number}")).flatten(1) for number, name in enumerate(self._names)
        )
