"""What training has made of the quantities that neurons learn, in the units in which a user thinks of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from torch import Tensor, nn

from snnlab.nn.neurons.base import named_neurons
from snnlab.nn.neurons.membrane import LeakyMembrane
from snnlab.nn.neurons.recurrent import Recurrent

# Of what a log says of them.
PREFIX = "learned/"


class Learned(NamedTuple):
    """A quantity that a layer of neurons learns, as it is now.

    Attributes:
        layer: The layer's dotted name.
        name: What the user calls it, such as `tau_mem`.
        unit: `ms`; `steps`, for a time constant where steps have no length; empty where it has none.
        values: One, or each channel's or neuron's own, detached, in double precision.
    """

    layer: str
    name: str
    unit: str
    values: Tensor

    @property
    def key(self) -> str:
        """Name and unit, as logs and arrays have it: `tau_mem_ms`."""
        return f"{self.name}_{self.unit}" if self.unit else self.name


def learned(network: nn.Module) -> Iterator[Learned]:
    """Yield what the neurons of a network learn; of a factor a step also the time constant that it stands for."""
    for layer, outer in named_neurons(network):
        neuron = outer.neuron if isinstance(outer, Recurrent) else outer
        if not isinstance(neuron, LeakyMembrane):
            continue
        for name in neuron.learn_per:
            value = neuron.learned_value(name)
            decay = next((decay for decay in neuron.decays() if decay.given == name), None)
            if decay is not None:
                yield Learned(layer, decay.tau_name, "steps" if decay.dt is None else "ms", decay.length(value))
            if decay is None or decay.given == decay.factor_name:
                yield Learned(layer, name, "", value)


def learned_figures(network: nn.Module) -> dict[str, float]:
    """Return what a log says of them: `learned/tau_mem_ms/LAYER`; of several values the mean, the least and the most.

    The least and the most stand under `learned/tau_mem_ms_min/LAYER` and `..._max/LAYER`.
    """
    found: dict[str, float] = {}
    for each in learned(network):
        found[f"{PREFIX}{each.key}/{each.layer}"] = float(each.values.mean())
        if each.values.numel() > 1:
            found[f"{PREFIX}{each.key}_min/{each.layer}"] = float(each.values.min())
            found[f"{PREFIX}{each.key}_max/{each.layer}"] = float(each.values.max())
    return found
