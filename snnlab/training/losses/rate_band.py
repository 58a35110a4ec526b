"""Rates of spiking layers kept between two bounds.

Axes: B samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from torch import Tensor

from snnlab import intervals
from snnlab.errors import ConfigError
from snnlab.nn.temporal import Counts
from snnlab.training.losses.contract import REGULARISERS, Regulariser, Task, Valued, chosen, mean_over_samples
from snnlab.training.losses.spikes import above
from snnlab.training.losses.spiking_output import spikes_once


@REGULARISERS.register("rate_band")
class RateBand(Regulariser):
    """How far rates are below a lower bound or above an upper one, in parts of the bound.

        value = mean over samples, layers and units of max(0, 1 - rate/lower)^2 + max(0, ln(rate/upper))^2

    A unit is a layer, whose rate is the mean of its neurons', or each neuron; the rates are those on each recording, so
    that a lower bound for neurons asks every neuron to fire on every recording. A silent unit costs 1, one at twice the
    upper bound 0.48, whatever dt is.

    Args:
        lower: The lowest rate that costs nothing; null for no bound.
        upper: The highest rate that costs nothing; null for no bound.
        of: What a unit is.
        layers: Names of spiking layers or of blocks; null for all.

    Source: Rossbroich et al., Fluctuation-driven initialization, Neuromorphic Computing and Engineering 2022, whose
        programs (stork) square the spikes below a lower bound for neurons and above an upper one for a layer.
    """

    def __init__(
        self,
        lower: Annotated[float | None, "Hz; spikes a step where steps have no length", intervals.above(0)] = None,
        upper: Annotated[float | None, "Hz; spikes a step where steps have no length", intervals.above(0)] = None,
        of: Literal["layer", "neuron"] = "layer",
        layers: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        if lower is None and upper is None:
            raise ConfigError("lower", "set it, or upper, or both")
        if lower is not None and upper is not None and lower >= upper:
            raise ConfigError("lower", f"must be below upper ({upper:g}), got {lower:g}")
        self.lower, self.upper, self.of, self.layers = lower, upper, of, layers
        self._names: list[str] = []
        self._per_step = 1.0

    def bind(self, task: Task) -> None:
        self._names = chosen(self.layers, task.built.spiking, "spiking layer")
        self._per_step = 1.0 if task.dt is None else 1000.0 / task.dt
        if spikes_once(task.built.network):
            self._require_reach(
                "1 spike a step" if task.dt is None else f"{self._per_step:g} Hz, a spike in every step"
            )

    def forward(
        self, y: Tensor, targets: Tensor, lengths: Tensor, counts: Counts, weight: Tensor | None = None
    ) -> Valued:
        each = torch.stack([self._outside(counts[name], lengths) for name in self._names]).mean(0)
        value = mean_over_samples(each, weight)
        return value, {"rate_band": value}

    def _outside(self, counts: Tensor, lengths: Tensor) -> Tensor:
        rates = counts.flatten(1) * (self._per_step / lengths[:, None])
        if self.of == "layer":
            rates = rates.mean(1, keepdim=True)
        costs = torch.zeros_like(rates)
        if self.lower is not None:
            costs = costs + (1 - rates / self.lower).relu().square()
        if self.upper is not None:
            costs = costs + above(rates, self.upper)
        return costs.mean(1)

    def _require_reach(self, most: str) -> None:
        if self.lower is not None and self.lower > self._per_step:
            raise ConfigError("lower", f"{self.lower:g} cannot be reached: at most {most}")
        if self.upper is not None and self.upper >= self._per_step:
            raise ConfigError("upper", f"{self.upper:g} cannot be exceeded: at most {most}")
