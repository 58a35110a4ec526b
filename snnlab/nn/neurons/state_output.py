"""Neurons whose output is a variable of their state, such as the membrane, in place of their spikes."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from snnlab.errors import ConfigError, did_you_mean
from snnlab.nn.neurons.base import Neuron, NeuronWrapper


class StateOutput(NeuronWrapper):
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
        known = neuron.state_variables()
        if not known or neuron.reach == "recording":
            raise ConfigError("output", f"{type(neuron).__name__} computes all steps at once, without a state of each")
        if variable not in known:
            raise ConfigError(
                "output", f"{type(neuron).__name__} has no variable '{variable}'", did_you_mean(variable, known), known
            )
        super().__init__(neuron)
        self.variable, self.spiking = variable, False  # type: ignore[misc]

    def step(self, x: Tensor, state: Any, coefficients: Any) -> tuple[Tensor, Any]:
        _, after = self.neuron.step(x, state, coefficients)
        return getattr(after, self.variable), after

    def why_no_node(self) -> tuple[str, str]:
        return f"output: {self.variable}", "output: null"

    def extra_repr(self) -> str:
        """Return what `print(network)` shows."""
        return f"output={self.variable}"
