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
    Backward,
    Call,
    Forward,
    Given,
    Grads,
    Kernel,
    called,
    gone_through,
    may_keep_in_x,
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

    def forward(self, given: Given) -> tuple[list[Tensor], Grads]:
        """Go through all steps; kept besides are the weights and all that was sent back, `[T + 1, B, ...]`."""
        call, (num_steps, batch), (x, s, weight, bias) = self.call, self.call.shape[:2], given.own
        inplace, weights = may_keep_in_x(call), self.weights(weight, bias)
        at_once = 1 if not inplace and call.step.x not in call.step.keep else num_steps
        drive, sent = call.empty(x, at_once, batch), call.empty(x, num_steps + 1, batch)
        sent[0], y = s.detach(), sent[1:]
        done = Forward(call, drive, y, given, inplace=inplace)
        # Memory of its own, as in the plain loop: how a matrix product rounds may depend on where its factors lie.
        last = sent[0].clone()
        for t in range(num_steps):
            at = t % at_once
            torch.add(x[t], self.feedback(last if t else s, weights), out=drive[at])
            done.steps(t, t + 1, t - at)
            if self.masks is None:
                last.copy_(y[t])
            else:
                torch.where(self.masks[t], y[t], last, out=last)
        _, *rest = done.outputs()
        learns = weight.requires_grad or (bias is not None and bias.requires_grad)
        # Not as the view that it is: torch lets nobody change views out of here in place.
        return [y.detach(), last, *rest], [sent if learns else None, weight, bias, *done.keep]

    def backward(self, saved: Given, grads: Grads, asked: Sequence[bool]) -> Grads:
        """Go through all steps from the last one back."""
        call, (gy, gs, *rest), (sent, weight, bias, *keep) = self.call, grads, saved.own
        weights = self.weights(weight, bias)
        arrives = call.empty(saved.states[0], 1, call.shape[1])
        back = Backward(call, keep, saved, (arrives, *rest), again=graph_is_kept())
        drive, arriving = back.dx, arrives[0]
        late = torch.zeros_like(arriving) if gs is None else gs
        for t in range(call.shape[0] - 1, -1, -1):
            if gy is None:
                arriving.copy_(late)
            else:
                torch.add(gy[t], late, out=arriving)
            back.steps(t, t + 1, t)
            sent_back = self.feedback.to_outputs(drive[t], weights)
            late = sent_back if self.masks is None else torch.where(self.masks[t], sent_back, late)
        found: tuple[Tensor | None, Tensor | None] = (None, None)
        if sent is not None:
            found = self.feedback.to_weights(drive.flatten(0, 1), sent[:-1].flatten(0, 1), weights)
        of_weights = (part if ask else None for part, ask in zip(found, asked[2:4], strict=True))
        return [drive, late, *of_weights, *back.before, *back.numbers()]


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
    x, layout = Layout.of(x)
    require_state("s", s, x)
    call, tensors = called(kernel, layout, x, state, k, lengths, count, None)
    layer = Layer(call, feedback, type(weights), valid_steps(lengths, len(x), x))
    y, last, *rest = gone_through(layer, [x, s, *weights], state, tensors)
    counts = rest.pop() if count else None
    return RecurrentOutput(y, last, type(state)(*rest), counts)
