"""Online training through time: traces of what a layer gets, and derivatives within a step.

Axes: T steps, B samples.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from snnlab.errors import ConfigError
from snnlab.kernels.reference import cut_time, detached
from snnlab.nn.learning.connections import CONVOLUTIONS, connections_of, derivatives_of
from snnlab.nn.learning.rule import RULES, ForwardRule, Gradients, Piece, RuleContext, Task
from snnlab.nn.network import Network, zero_past_end
from snnlab.nn.neurons.base import Neuron
from snnlab.nn.neurons.recurrent import Recurrent


class _OTTTState(NamedTuple):
    """What is kept from step to step: the network's state, and by layer the trace of its input and of a constant 1."""

    state: dict[str, Any]
    traces: dict[str, tuple[Tensor, Tensor]]


@RULES.register("ottt")
class OTTT(ForwardRule):
    """Online training through time: a weight's gradient is the spatial one times a trace of what its layer gets.

        trace[t] = leak * trace[t-1] + x[t],   dL/dW = sum_t delta[t] trace[t]^T

    with delta[t] the derivative of the loss of step t by the drive of the neurons, the states before it held fixed, and
    `leak` that of the neurons behind the layer. A bias has the trace of a constant 1. Other parameters learn as with
    `sltt`.

    Args:
        steps_at_once: Steps of a piece, which are computed together.

    Source: Xiao et al., Online training through time for spiking neural networks, NeurIPS 2022.
    """

    def bind(self, context: RuleContext) -> None:
        """Refuse a loss that is none per step, blocks, and neurons without one leak that the layer shares.

        Raises:
            ConfigError: as said, with the layer.
        """
        super().bind(context)
        built = context.built
        for one in connections_of(built.network):
            if one.neuron is not None:
                shape = built.shapes[one.between[-1] if one.between else one.name]
                x = next(built.network.parameters()).new_zeros(1, *shape)
                _require_one_leak(one.neuron, x, f"model.layers.{one.neuron_name}")

    def begin(self, network: Network, task: Task) -> _OTTTState:
        """Return no states and no traces."""
        return _OTTTState({}, {})

    def step(self, network: Network, kept: _OTTTState, piece: Piece, gradients: Gradients) -> _OTTTState:
        """Run some steps, layer by layer, with traces in place of the inputs in the gradients of weights."""
        connections = {one.name: one for one in connections_of(network)}
        state: dict[str, Any] = {}
        traces: dict[str, tuple[Tensor, Tensor]] = {}
        waiting: list[tuple[str, Any]] = []
        x = piece.x

        def run_waiting() -> None:
            nonlocal x
            if waiting:
                x = network.run_layers(waiting, x, kept.state, state, piece.lengths, piece.counts)
                waiting.clear()

        with cut_time():
            for name, layer in network.layers():
                if name not in connections:
                    waiting.append((name, layer))
                    continue
                run_waiting()
                one = connections[name]
                leak = 0.0 if one.neuron is None else derivatives_of(one.neuron, x.new_zeros(1), one.name).leak
                assert leak is not None
                traced, last = trace_of(x.detach(), leak, kept.traces.get(name))
                traces[name] = last
                x = _TracedLayer.apply(x, traced.inputs, traced.ones, layer, layer.weight, layer.bias)
            run_waiting()
            gradients.add_derivatives(piece.loss(zero_past_end(x, piece.lengths)))
        return _OTTTState(detached(state), traces)


def _require_one_leak(neuron: Neuron, x: Tensor, place: str) -> None:
    """Raise a ConfigError for neurons without one leak that all of them share at all steps."""
    kind = type(neuron).__name__.lower()
    if isinstance(neuron, Recurrent):
        raise ConfigError(place, "is recurrent, and the traces are those of what a layer gets from the one before")
    found = derivatives_of(neuron, x, place)
    if not found.has_one_leak():
        states = len(found.states)
        why = f"has {states} states" if states > 1 else "has no leak that all neurons share at all steps"
        raise ConfigError(place, f"{kind} {why}, and the traces have one leak")


class InputTraces(NamedTuple):
    """The traces of a layer's input and of a constant 1, `[T, B, ...]` and `[T]`."""

    inputs: Tensor
    ones: Tensor


def trace_of(
    x: Tensor, leak: float | Tensor, before: tuple[Tensor, Tensor] | None
) -> tuple[InputTraces, tuple[Tensor, Tensor]]:
    """Return trace[t] = leak * trace[t-1] + x[t] of all steps, and the last of each.

    Args:
        x: The input.
        leak: The factor.
        before: The traces before the first step; None: 0.

    Shape:
        x: `[T, B, ...]`.
    """
    inputs, ones = torch.empty_like(x), x.new_empty(len(x))
    last, one = (torch.zeros_like(x[0]), x.new_zeros(())) if before is None else before
    for t in range(len(x)):
        last, one = torch.add(x[t], last * leak, out=inputs[t]), torch.add(1.0, one * leak, out=ones[t])
    return InputTraces(inputs, ones), (last.clone(), one.clone())


class _TracedLayer(torch.autograd.Function):
    """A layer whose weights get the gradient that its traces have, and whose input gets its own."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, traces: Tensor, ones: Tensor, layer: Any, weight: Tensor, bias: Tensor | None
    ) -> Tensor:
        ctx.layer = layer
        ctx.save_for_backward(traces, ones, weight)
        with torch.no_grad():
            return layer(x.flatten(0, 1)).unflatten(0, x.shape[:2])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        traces, ones, weight = ctx.saved_tensors
        (g,) = grads
        wanted, layer = ctx.needs_input_grad, ctx.layer
        of_x: Tensor | None = None
        if isinstance(layer, CONVOLUTIONS):
            dims = len(layer.stride)
            of_x, of_weight, _ = torch.ops.aten.convolution_backward(
                *(g.flatten(0, 1), traces.flatten(0, 1), weight, None, layer.stride, layer.padding, layer.dilation),
                *(False, [0] * dims, layer.groups, (wanted[0], wanted[4], False)),
            )
            over = (1, *range(3, g.dim()))
        else:
            of_x = (g @ weight) if wanted[0] else None
            of_weight = g.flatten(0, -2).T @ traces.flatten(0, -2) if wanted[4] else None
            over = tuple(range(1, g.dim() - 1))
        if isinstance(layer, CONVOLUTIONS) and of_x is not None:
            of_x = of_x.unflatten(0, g.shape[:2])
        of_bias = (g.sum(over) * ones[:, None]).sum(0) if wanted[5] else None
        return of_x, None, None, None, of_weight, of_bias
