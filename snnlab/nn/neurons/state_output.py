"""Neurons whose output is a variable of their state, such as the membrane, in place of their spikes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from snnlab.errors import ConfigError, did_you_mean
from snnlab.nn.neurons.base import Neuron
from snnlab.nn.neurons.info import NeuronInfo
from snnlab.nn.neurons.nir_node import InNIR, Lost
from snnlab.nn.neurons.time_constants import Constant


class StateOutput(Neuron):
    """Neurons that spike and are reset as ever, and give a variable of their state after each step as output.

        (s[t], state[t]) = neuron(x[t], state[t-1]),   y[t] = state[t].variable

    As a readout, `output: v` is the membrane after its reset; with `reset_delay: true`, before it. The spikes are
    not counted.

    Args:
        neuron: The neurons, whose spikes stay within the layer.
        variable: Name of the variable.

    Shape:
        x: `[T, B, ...]`; state: that of the neurons; returns the variable, `[T, B, ...]`, and the state.
    """

    def __init__(self, neuron: Neuron, variable: str) -> None:
        if neuron.parallel or neuron.reach == "recording":
            raise ConfigError("output", f"{type(neuron).__name__} computes all steps at once, without a state of each")
        in_shape = getattr(neuron, "in_shape", None) or (1,)
        known = type(neuron.initial_state(torch.zeros(1, *in_shape)))._fields
        if variable not in known:
            raise ConfigError(
                "output", f"{type(neuron).__name__} has no variable '{variable}'", did_you_mean(variable, known), known
            )
        super().__init__(getattr(neuron, "dt", None))
        self.neuron, self.variable = neuron, variable
        self.spiking, self.approximate = False, neuron.approximate  # type: ignore[misc]

    def coefficients(self) -> Any:
        return self.neuron.coefficients()

    def initial_state(self, x: Tensor) -> Any:
        return self.neuron.initial_state(x)

    def step(self, x: Tensor, state: Any, coefficients: Any) -> tuple[Tensor, Any]:
        _, after = self.neuron.step(x, state, coefficients)
        return getattr(after, self.variable), after

    def weighted_input(self, x: Tensor) -> Tensor:
        return self.neuron.weighted_input(x)

    def in_nir(self, dt: float) -> InNIR:
        return InNIR("", {}, [Lost(f"output: {self.variable}", "output: null", "")])

    def learned_values(self) -> Iterator[tuple[str, str, Tensor]]:
        yield from self.neuron.learned_values()

    def map_quantities(self, change: Callable[[Tensor], Tensor]) -> None:
        self.neuron.map_quantities(change)

    def scale_time_constants(self, shape: tuple[int, ...], factor: Callable[[tuple[int, ...]], Tensor]) -> bool:
        return self.neuron.scale_time_constants(shape, factor)

    def constants(self) -> list[Constant]:
        return self.neuron.constants()

    def info(self) -> NeuronInfo:
        return self.neuron.info()

    def extra_repr(self) -> str:
        """Return what `print(network)` shows."""
        return f"output={self.variable}"
