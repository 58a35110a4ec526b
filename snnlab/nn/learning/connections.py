"""The layers with weights of a plain sequence, the neurons behind each, and the derivatives of their step.

Axes: B samples.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from snnlab.compat import has_no_hooks
from snnlab.errors import ConfigError
from snnlab.kernels.forward_derivatives import INPUT, OUTPUT, ForwardDerivatives, constant_derivative, evaluate
from snnlab.kernels.trace_cache import TracedStep, numbers_of, trace_step
from snnlab.nn.layer import TemporalLayer
from snnlab.nn.layers.dropout import Dropout
from snnlab.nn.layers.pool import SumPool
from snnlab.nn.network import Network
from snnlab.nn.neurons.base import Neuron, cast_coefficients

LINEAR, CONVOLUTIONS = nn.Linear, (nn.Conv1d, nn.Conv2d, nn.Conv3d)
WEIGHTED = (LINEAR, *CONVOLUTIONS)
# Linear maps without weights, which are the same at each step.
_FIXED = (nn.Flatten, nn.Identity, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d, SumPool)


class Connection(NamedTuple):
    """A layer with weights and the neurons behind it.

    Attributes:
        name: Name of the layer.
        layer: The layer.
        between: Names of the linear maps between it and the neurons.
        neuron_name: Name of the neurons; None if none are behind it: a readout without memory.
        neuron: The neurons.
    """

    name: str
    layer: nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d
    between: tuple[str, ...]
    neuron_name: str | None
    neuron: Neuron | None


def connections_of(network: Network, place: str = "model.layers") -> list[Connection]:
    """Return the layers with weights of a network, in order."""
    layers, found = [*network.layers()], []
    for at, (name, layer) in enumerate(layers):
        where = f"{place}.{name}"
        if isinstance(layer, Network):
            raise ConfigError(where, "is a block, and the rule follows a plain sequence of layers")
        if isinstance(layer, (Neuron, Dropout)):
            continue
        if type(layer) in WEIGHTED:
            if is_parametrized(layer) or not has_no_hooks(layer) or isinstance(getattr(layer, "padding", 0), str):
                raise ConfigError(where, "its weight or padding is computed, or it has a hook")
            found.append(_connection(name, layer, layers[at + 1 :], place))
        elif isinstance(layer, TemporalLayer) or any(one.requires_grad for one in layer.parameters()):
            raise ConfigError(where, "is neither linear, nor a convolution, nor neurons, and has weights or a state")
    return found


def _connection(name: str, layer: Any, behind: list[tuple[str, nn.Module]], place: str) -> Connection:
    between: list[str] = []
    other: str | None = None
    for next_name, next_layer in behind:
        if isinstance(next_layer, Neuron):
            if other is not None:
                raise ConfigError(
                    f"{place}.{other}", f"is no fixed linear map, and lies between {name} and {next_name}"
                )
            return Connection(name, layer, tuple(between), next_name, next_layer)
        other = other or (None if isinstance(next_layer, (*_FIXED, *WEIGHTED)) else next_name)
        between.append(next_name)
    return Connection(name, layer, tuple(between), None, None)


class StepDerivatives(NamedTuple):
    """The derivatives of a neuron's step, with its numbers as they were when it was asked.

    Attributes:
        run: Runs steps with their derivatives.
        states: Names of the state variables.
        numbers: The numbers of the step by name, with the graph of learned ones.
    """

    run: ForwardDerivatives
    states: tuple[str, ...]
    numbers: Mapping[str, float | Tensor]

    def derivative(self, output: str, by: str) -> float | Tensor | None:
        """Return a derivative that is the same at all steps, a number or one for each neuron; None for any other."""
        found = constant_derivative(self.run.graph, (output, by), self.numbers)
        return found.detach() if isinstance(found, Tensor) else found

    @property
    def leak(self) -> float | Tensor | None:
        """The factor by which the one state of a neuron decays in each step; None if there is no such factor."""
        return self.derivative(self.states[0], self.states[0]) if len(self.states) == 1 else None

    def has_leak(self, *, shared: bool = False) -> bool:
        """Return whether a trace of the input with this leak gives the derivative of the output by the weights.

        dv[t]/dv[t-1] = leak,   dv[t]/dx[t] a number,   dy[t]/dv[t-1] = leak * (dy[t]/dx[t]) / (dv[t]/dx[t])

        Args:
            shared: Whether all neurons must have the same leak and gain.
        """
        if self.leak is None:
            return False
        (v,), graph = self.states, self.run.graph
        gain = self.derivative(v, INPUT)
        if gain is None or (OUTPUT, INPUT) not in graph.derivatives:
            return False
        if shared and any(isinstance(one, Tensor) and one.numel() != 1 for one in (self.leak, gain)):
            return False
        rng = torch.Generator().manual_seed(0)
        x, before = (torch.randn(256, generator=rng, dtype=torch.float64) for _ in range(2))
        numbers = {name: _mean(value) for name, value in self.numbers.items()}
        roots = [graph.derivatives[key] for key in ((OUTPUT, INPUT), (OUTPUT, v)) if key in graph.derivatives]
        of_x, *rest = evaluate(roots, {INPUT: x, v: before}, numbers, torch.float64)
        of_v = rest[0] if rest else torch.zeros(())
        return torch.allclose(of_v * _mean(gain) + 0 * x, of_x * _mean(self.leak) + 0 * x, rtol=1e-5, atol=1e-9)


def _mean(value: float | Tensor) -> float | Tensor:
    return value.detach().double().mean().cpu() if isinstance(value, Tensor) else value


def derivatives_of(neuron: Neuron, x: Tensor, place: str) -> StepDerivatives:
    """Return the derivatives of a neuron's step, or of the neurons within a recurrent layer.

    Args:
        neuron: The neurons.
        x: Their input at one step, for its dtype and shape.
        place: Place of the layer, for errors.

    Shape:
        x: `[B, ...]`.
    """
    own = neuron.parts()[0]
    state, k = own.initial_state(x), cast_coefficients(own.coefficients(), x)
    learned = frozenset(name for name, part in numbers_of(k).items() if isinstance(part, Tensor) and part.requires_grad)
    found = trace_step(own.step, state, k, learned, dtype=x.dtype, grad=True)
    if not isinstance(found, TracedStep):
        raise ConfigError(place, f"the derivatives of its step are not known: {found.reason}")
    return StepDerivatives(forward_derivatives(found, x.dtype), state._fields, found.numbers(k))


_made: dict[tuple[int, torch.dtype], tuple[TracedStep, ForwardDerivatives]] = {}


def forward_derivatives(traced: TracedStep, dtype: torch.dtype) -> ForwardDerivatives:
    """Return the derivatives of a traced step, made once."""
    key = id(traced), dtype
    if key not in _made or _made[key][0] is not traced:
        _made[key] = traced, ForwardDerivatives(traced, dtype)
    return _made[key][1]
