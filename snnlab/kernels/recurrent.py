"""Recurrent neurons: all steps in one part of the graph, each a feedback and one step of a rendered loop.

The gradients of the feedback's weights are computed once, from all steps together.

Axes: T steps, B samples, n neurons as they lie in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from snnlab.compat import graph_is_kept
from snnlab.kernels.function import (
    Call,
    Forward,
    Kernel,
    backward,
    called,
    forward,
    may_keep_in_x,
    refuse_second_derivative,
    require_state,
)
from snnlab.kernels.layout import Layout
from snnlab.kernels.reference import valid_steps


class Feedback(Protocol):
    """What the outputs of one step send back to the next; linear, and its adjoint written by hand."""

    def __call__(self, s: Tensor, weights: Any) -> Tensor:
        """Return what outputs `[B, ...]` send back."""
        ...

    def to_outputs(self, g: Tensor, weights: Any) -> Tensor:
        """Return the gradient of the outputs, where g is that of what they send back."""
        ...

    def to_weights(self, g: Tensor, s: Tensor, weights: Any) -> tuple[Tensor, Tensor | None]:
        """Return the gradients of weight and bias, of as many outputs `[N, ...]` as there are."""
        ...


class Layer(NamedTuple):
    """What is fixed for all steps.

    Attributes:
        call: The neurons.
        feedback: What they send back.
        weights: The type of its weights.
        masks: Which samples each step is valid for, or None where all are.
    """

    call: Call
    feedback: Feedback
    weights: Callable[..., Any]
    masks: Tensor | None


class RecurrentOutput(NamedTuple):
    """What recurrent neurons give.

    Attributes:
        y: Their output, `[T, B, ...]`; zeros past a sample's length.
        s: Their output at the last valid step, `[B, ...]`.
        state: Their state after the last valid step.
        counts: Spikes of each neuron, summed over the valid steps, `[B, ...]`; None where nobody asks.
    """

    y: Tensor
    s: Tensor
    state: Any
    counts: Tensor | None


def run(
    kernel: Kernel,
    feedback: Feedback,
    x: Tensor,
    s: Tensor,
    state: Any,
    k: Any,
    weights: Any,
    lengths: Tensor | None,
    *,
    count: bool,
) -> RecurrentOutput:
    """Run all steps of neurons whose input at each step holds what their last output sends back.

    Args:
        kernel: What runs the neurons' step, see `function.kernel_for`.
        feedback: What they send back.
        x: Input from outside, `[T, B, ...]`.
        s: Their output before the first step, `[B, ...]`.
        state: See `function.run`, as k, lengths and count.
        k: The neurons' coefficients.
        weights: Weight and bias of the feedback, a NamedTuple.
        lengths: Valid steps of each sample.
        count: Whether to count spikes.

    Raises:
        ValueError: see `function.run`.
    """
    layout = Layout.of(x)
    if layout is None:
        x, layout = x.contiguous(), Layout(tuple(range(x.dim() - 2)))
    require_state("s", s, x)
    call, tensors = called(kernel, layout, x, state, k, lengths, count, None)
    layer = Layer(call, feedback, type(weights), valid_steps(lengths, len(x), x))
    if call.step.to:
        y, last, *rest = _Recurrence.apply(layer, x, s, *weights, *state, *tensors)
    else:
        (y, last, *rest), _, _ = _forward(layer, x, s, weights, state, tensors)
    counts = rest.pop() if count else None
    return RecurrentOutput(y, last, type(state)(*rest), counts)


def _forward(
    layer: Layer, x: Tensor, s: Tensor, weights: Any, states: Sequence[Tensor], tensors: Sequence[Tensor]
) -> tuple[tuple[Tensor, ...], Forward, Tensor]:
    """Go through all steps; return the outputs, the way, and all that was sent back, `[T + 1, B, n]`."""
    call, (num_steps, batch) = layer.call, layer.call.shape[:2]
    inplace = may_keep_in_x(call)
    at_once = 1 if not inplace and call.step.x not in call.step.keep else num_steps
    drives, sent = call.room(x, at_once, batch), call.room(x, num_steps + 1, batch)
    sent[0] = call.layout.flat(s.detach())
    way = forward(call, drives, sent[1:], states, tensors, inplace=inplace)
    drive, y = call.layout.unflat(drives, call.sample), call.layout.unflat(sent[1:], call.sample)
    # Memory of its own, as in the plain loop: how a matrix product rounds may depend on where its factors lie.
    last = call.layout.unflat(sent[0].clone(), call.sample)
    for t in range(num_steps):
        at = t % at_once
        torch.add(x[t], layer.feedback(last if t else s, weights), out=drive[at])
        way.steps(t, t + 1, t - at)
        if layer.masks is None:
            last.copy_(y[t])
        else:
            torch.where(layer.masks[t], y[t], last, out=last)
    _, *rest = way.outputs(call)
    return (y, last, *rest), way, sent


class _Recurrence(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, layer: Layer, x: Tensor, s: Tensor, weight: Tensor, bias: Tensor | None, *rest: Tensor
    ) -> tuple[Tensor, ...]:
        many = len(layer.call.names)
        states, tensors = rest[:many], rest[many:]
        done, way, sent = _forward(layer, x, s, layer.weights(weight, bias), states, tensors)
        asked = any(ctx.needs_input_grad[3:5])
        ctx.save_for_backward(sent if asked else None, weight, bias, *way.keep, *states, *tensors)
        ctx.layer = layer
        ctx.set_materialize_grads(False)
        # Not as the views that they are: torch lets nobody change views out of here in place.
        return tuple(part.detach() for part in done)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        refuse_second_derivative(*grads)
        layer, call, (gy, gs, *rest) = ctx.layer, ctx.layer.call, grads
        sent, weight, bias, *saved = ctx.saved_tensors
        weights, kept, many = layer.weights(weight, bias), len(call.step.keep), len(call.names)
        keep, before, tensors = saved[:kept], saved[kept : kept + many], saved[kept + many :]
        arrives = call.room(before[0], 1, call.shape[1])
        way = backward(call, keep, before, tensors, (arrives, *rest), again=graph_is_kept())
        drive, arriving = call.layout.unflat(way.dx, call.sample), call.layout.unflat(arrives, call.sample)[0]
        late = torch.zeros_like(arriving) if gs is None else gs
        for t in range(call.shape[0] - 1, -1, -1):
            if gy is None:
                arriving.copy_(late)
            else:
                torch.add(gy[t], late, out=arriving)
            way.steps(t, t + 1, t)
            sent_back = layer.feedback.to_outputs(drive[t], weights)
            late = sent_back if layer.masks is None else torch.where(layer.masks[t], sent_back, late)
        found: tuple[Tensor | None, Tensor | None] = (None, None)
        if sent is not None:
            outputs = call.layout.unflat(sent[:-1], call.sample)
            found = layer.feedback.to_weights(drive.flatten(0, 1), outputs.flatten(0, 1), weights)
        asked = (part if ask else None for part, ask in zip(found, ctx.needs_input_grad[3:5], strict=True))
        return (None, drive, late, *asked, *way.states(call), *way.numbers(call, tensors))
