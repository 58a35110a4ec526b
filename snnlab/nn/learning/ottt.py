"""Online training through time: traces of what a layer gets, and derivatives within a step.

Within a piece, the sum over its steps of delta[t] trace[t]^T is that of D[t] x[t]^T, D[t] = delta[t] + leak D[t+1]:
the backward pass of neurons with one leak and a detached reset, through time, for a gradient of their outputs that has
come through no time. So the weights of a layer have the house's fast backward pass; traces are needed between pieces
only. The gradient for the layers before has its own pass, in which time is cut.

Axes: T steps, B samples.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from snnlab.errors import ConfigError
from snnlab.kernels.forward_derivatives import INPUT
from snnlab.kernels.reference import cut_time, detached
from snnlab.nn.learning.connections import Connection, connections_of, derivatives_of
from snnlab.nn.learning.rule import RULES, ForwardRule, Gradients, Piece, RuleContext, Task
from snnlab.nn.network import Network, zero_past_end
from snnlab.nn.neurons.base import Neuron
from snnlab.nn.neurons.recurrent import Recurrent
from snnlab.nn.stages import Stage, run_stages


class _InputTraces(NamedTuple):
    """The trace of a layer's input, `[B, ...]`, and that of a constant 1."""

    inputs: Tensor
    ones: Tensor | float


class _OTTTState(NamedTuple):
    """What is kept from step to step: the network's state, and the traces by layer."""

    state: dict[str, Any]
    traces: dict[str, _InputTraces]


class _Boundary(NamedTuple):
    """The state of neurons before a piece, of which the derivative is taken, and how it depends on weights."""

    state: Tensor
    connection: Connection
    traces: _InputTraces
    gain: float | Tensor


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
        """Refuse a loss that is none per step, blocks, and neurons without one leak that the layer shares."""
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
        """Run some steps, group by group: a layer with weights and its neurons."""
        state, traces = dict[str, Any](), dict[str, _InputTraces]()
        boundaries: list[_Boundary] = []
        is_last = piece.first + len(piece.x) == piece.task.num_steps
        x, lengths, counts = piece.x, piece.lengths, piece.counts
        for one, stages in _groups(connections_of(network), network.plan(x).stages):
            if one is None or one.neuron is None:
                with cut_time():
                    x = run_stages(stages, x, kept.state, state, lengths, counts)
                continue
            assert one.neuron_name is not None
            of_step = derivatives_of(one.neuron, x.new_zeros(1), one.name)
            leak, gain = of_step.leak, of_step.derivative(of_step.states[0], INPUT)
            assert leak is not None
            assert gain is not None
            if not is_last:
                traces[one.name] = _carried(x.detach(), leak, kept.traces.get(one.name))
            before = kept.state
            if one.name in kept.traces:
                held = before[one.neuron_name]
                start = held[0].detach().requires_grad_()
                boundaries.append(_Boundary(start, one, kept.traces[one.name], gain))
                before = {**before, one.neuron_name: type(held)(start)}
            own, others = [*one.layer.parameters()], [*one.neuron.parameters()]
            y: Tensor | None = None
            if any(parameter.requires_grad for parameter in own):
                with _held(others):
                    y = run_stages(stages, x.detach(), before, state, lengths, counts)
            if y is None or x.requires_grad or any(parameter.requires_grad for parameter in others):
                with cut_time(), _held(own):
                    spatial = run_stages(stages, x, kept.state, {**state}, lengths, counts if y is None else None)
                y = spatial if y is None else _Joined.apply(y, spatial)
            assert y is not None
            x = y
        loss = piece.loss(zero_past_end(x, piece.lengths))
        starts = [one.state for one in boundaries]
        found = torch.autograd.grad(loss, [*gradients.parameters, *starts], allow_unused=True)
        for parameter, gradient in zip(gradients.parameters, found, strict=False):
            gradients.add(parameter, gradient)
        for one, gradient in zip(boundaries, found[len(gradients.parameters) :], strict=True):
            if gradient is not None:
                _add_boundary(network, one, gradient, gradients)
        return _OTTTState(detached(state), traces)


def _groups(
    connections: Sequence[Connection], stages: Sequence[Stage]
) -> Iterator[tuple[Connection | None, list[Stage]]]:
    """Yield the stages of a plan in groups: a layer with weights up to its neurons, or others."""
    known = {one.name: one for one in connections}
    current: Connection | None = None
    group: list[Stage] = []
    for stage in stages:
        names = [name for name, _ in stage.layers]
        begun = next((known[name] for name in names if name in known), None)
        if group and current is None and begun is not None:
            yield None, group
            group = []
        current = current or begun
        group.append(stage)
        if current is not None and current.neuron_name in (None, *names):
            yield current, group
            current, group = None, []
    if group:
        yield current, group


@contextmanager
def _held(parameters: Iterable[nn.Parameter]) -> Iterator[None]:
    """Take parameters as constants."""
    learning = [one for one in parameters if one.requires_grad]
    for one in learning:
        one.requires_grad_(False)
    try:
        yield
    finally:
        for one in learning:
            one.requires_grad_()


class _Joined(torch.autograd.Function):
    """Equal outputs of two passes, as one tensor whose gradient goes to both."""

    @staticmethod
    def forward(ctx: Any, one: Tensor, other: Tensor) -> Tensor:
        return one.view_as(one)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        return grads[0], grads[0]


def _carried(x: Tensor, leak: float | Tensor, before: _InputTraces | None) -> _InputTraces:
    """Return the traces after some steps, leak^T trace + sum_t leak^(T-1-t) x[t]."""
    powers = torch.as_tensor(leak, dtype=x.dtype, device=x.device).reshape(()) ** torch.arange(
        len(x) - 1, -1, -1, dtype=x.dtype, device=x.device
    )
    inputs, ones = torch.einsum("t,t...->...", powers, x), powers.sum()
    if before is None:
        return _InputTraces(inputs, ones)
    whole = powers[0] * leak
    return _InputTraces(inputs + whole * before.inputs, ones + whole * before.ones)


def _add_boundary(network: Network, one: _Boundary, gradient: Tensor, gradients: Gradients) -> None:
    """Add what the steps before a piece have to do with the gradients of its steps: dv/dW = gain * trace."""
    connection, traces = one.connection, one.traces
    layer = connection.layer
    drive = layer(traces.inputs)
    if layer.bias is not None:  # its trace in place of a 1
        after = (1,) * (drive.dim() - 2) if not isinstance(layer, nn.Linear) else ()
        drive = drive + (traces.ones - 1) * layer.bias.view(-1, *after)
    for name in connection.between:
        drive = network.get_submodule(name)(drive)
    learning = [parameter for parameter in layer.parameters() if parameter.requires_grad]
    found = torch.autograd.grad(drive, learning, gradient * one.gain)
    for parameter, part in zip(learning, found, strict=True):
        gradients.add(parameter, part)


def _require_one_leak(neuron: Neuron, x: Tensor, place: str) -> None:
    """Raise a ConfigError for neurons without one leak that all of them share at all steps."""
    kind = type(neuron).__name__.lower()
    if isinstance(neuron, Recurrent):
        raise ConfigError(place, "is recurrent, and the traces are those of what a layer gets from the one before")
    found = derivatives_of(neuron, x, place)
    if not found.has_leak(shared=True):
        states = len(found.states)
        why = f"has {states} states" if states > 1 else "has no leak that all neurons share at all steps"
        raise ConfigError(place, f"{kind} {why}, and the traces have one leak")
