"""Hidden outputs and states over time for losses that ask for them by name.

No kernel returns the states of each step, so a layer whose states are read runs a second time, by the plain loop with
autograd.

Axes: T steps, B samples, then the layer's own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from snnlab.errors import ConfigError, did_you_mean
from snnlab.kernels.reference import unroll
from snnlab.nn.layer import EXTRA_PREFIX, Counts
from snnlab.nn.losses.loss import LossTerm, RegularizedLoss
from snnlab.nn.network import BuiltNetwork
from snnlab.nn.neurons.base import Neuron, cast_coefficients, named_neurons, to_full_precision
from snnlab.nn.neurons.recurrent import Recurrent

_OUTPUT = f"{EXTRA_PREFIX}output"


def recorded(counts: Counts, name: str) -> Tensor:
    """Return what a loss has asked for in `records`: the outputs of a layer, `lif1`, or a state of it, `lif1.v`.

    Args:
        counts: The counts that the loss gets.
        name: The name in `records`.

    Shape:
        returns `[T, B, ...]`; 0 past a sample's length for outputs, the last valid value for states.
    """
    layer, _, variable = name.rpartition(".")
    key = f"{name}.{_OUTPUT}"
    return counts[key] if key in counts else counts[f"{layer}.{EXTRA_PREFIX}{variable}"]


def records_of(loss: LossTerm) -> list[str]:
    """Return the names that a loss and its terms have in `records`."""
    terms = [loss]
    if isinstance(loss, RegularizedLoss):
        terms = [loss.main, *(one.term for _, one in loss.weighted_terms())]
    return list(dict.fromkeys(name for one in terms for name in one.records))


def bind_records(loss: LossTerm, built: BuiltNetwork) -> None:
    """Let the layers that a loss names in `records` hand over their outputs and states."""
    neurons = dict(named_neurons(built.network))
    wanted: dict[str, list[str]] = {}
    for name in records_of(loss):
        layer, _, variable = (name, "", "") if name in neurons else name.rpartition(".")
        if layer not in neurons:
            near = did_you_mean(name, neurons)
            raise ConfigError("loss.records", f"there is no layer of neurons '{name}'", near, () if near else neurons)
        known = neurons[layer].parts()[0].state_variables()
        if variable and variable not in known:
            raise ConfigError("loss.records", f"{layer} has no state '{variable}'", "", known)
        wanted.setdefault(layer, []).append(variable)
    for layer, variables in wanted.items():
        neurons[layer].register_forward_hook(_Recording(variables), with_kwargs=True)


class _Recording:
    """A forward hook that hands over outputs, and states of each step, through `counts`.

    Args:
        variables: Names of states; an empty one stands for the outputs.
    """

    def __init__(self, variables: list[str]) -> None:
        self.variables = variables

    def __call__(self, neuron: Neuron, inputs: tuple[Any, ...], named: Mapping[str, Any], output: Any) -> None:
        """Add what is wanted to `counts`, if the call has it."""
        arguments = dict(zip(("x", "state"), inputs, strict=False)) | dict(named)
        counts: Counts | None = arguments.get("counts")
        if counts is None:
            return
        if "" in self.variables:
            counts[_OUTPUT] = output[0]
        if any(self.variables):
            states = [*_states(neuron, arguments["x"], arguments.get("state"), arguments.get("lengths"))]
            for name in filter(None, self.variables):
                counts[f"{EXTRA_PREFIX}{name}"] = torch.stack([getattr(state, name) for state in states])


def _states(neuron: Neuron, x: Tensor, state: Any, lengths: Tensor | None) -> Iterator[Any]:
    """Yield the state after each step, of the neurons within a recurrent layer."""
    x = to_full_precision(x)
    state = neuron.initial_state(x[0]) if state is None else state
    k = cast_coefficients(neuron.coefficients(), x)
    for t in range(len(x)):
        left = None if lengths is None else (lengths - t).clamp(0, 1)
        _, state = unroll(neuron.step, x[t : t + 1], state, k, left)
        yield state.neuron if isinstance(neuron, Recurrent) else state
