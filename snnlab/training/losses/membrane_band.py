"""Membranes of spiking layers kept between two bounds.

Axes: B samples.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Annotated

import torch
from torch import Tensor

from snnlab.errors import ConfigError, listing
from snnlab.intervals import above, below
from snnlab.nn.neurons.base import Neuron
from snnlab.nn.neurons.membrane_cost import MembraneCost, shows_membrane
from snnlab.nn.temporal import Counts
from snnlab.training.losses.contract import REGULARISERS, Regulariser, Task, Valued, chosen, mean_over_samples

_log = logging.getLogger(__name__)


@REGULARISERS.register("membrane_band")
class MembraneBand(Regulariser):
    """How far membranes are below a lower bound or above an upper one, at every step, in units of the threshold.

        value = mean over samples, layers, neurons and steps of max(0, lower - u)^2 + max(0, u - upper)^2

    with u the membrane on which a spike is decided, before the reset, as a part of the threshold: a neuron fires from 1
    on. Kernels keep no membranes, so these layers go once more through their input by the plain loop: name those few
    that need it.

    Args:
        lower: The lowest membrane that costs nothing, below 1; null for no bound.
        upper: The highest membrane that costs nothing; null for no bound.
        layers: Names of spiking layers or of blocks; null for all.
    """

    def __init__(
        self,
        lower: Annotated[float | None, "thresholds", below(1)] = None,
        upper: Annotated[float | None, "thresholds", above(0)] = None,
        layers: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        if lower is None and upper is None:
            raise ConfigError("lower", "set it, or upper, or both")
        if lower is not None and upper is not None and lower >= upper:
            raise ConfigError("lower", f"must be below upper ({upper:g}), got {lower:g}")
        self.cost, self.layers = MembraneCost(lower, upper), layers
        self._names: list[str] = []
        self._said = False

    def bind(self, task: Task) -> None:
        self._names = chosen(self.layers, task.built.spiking, "spiking layer")
        neurons = {name: task.built.network.get_submodule(name) for name in self._names}
        for name, neuron in neurons.items():
            if not isinstance(neuron, Neuron) or not shows_membrane(neuron, task.built.spiking[name]):
                raise ConfigError("layers", f"'{name}' does not show its membrane", "name other layers, in layers")
        for neuron in neurons.values():
            neuron.register_forward_hook(self.cost, with_kwargs=True)

    def forward(
        self, y: Tensor, targets: Tensor, lengths: Tensor, counts: Counts, weight: Tensor | None = None
    ) -> Valued:
        self._say()
        layers = [counts[f"{name}.{self.cost.key}"].flatten(1).mean(1) / lengths for name in self._names]
        value = mean_over_samples(torch.stack(layers).mean(0), weight)
        return value, {"membrane_band": value}

    def _say(self) -> None:
        """Say, at the first training batch, what makes a step longer."""
        if self.training and not self._said:
            self._said = True
            _log.info(
                "for the membranes of %s a step takes longer: besides their kernel they run by the plain loop",
                listing(self._names),
            )
