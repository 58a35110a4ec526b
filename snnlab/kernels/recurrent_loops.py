"""Recurrent neurons: all steps in one node of the autograd graph, each a feedback and one step of a rendered loop.

The gradients of the feedback's weights are computed once, from all steps together.

Axes: T steps, B samples, n neurons in the order of memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from snnlab.compat import graph_is_kept
from snnlab.kernels.function import (
    BackwardPass,
    ForwardPass,
    Grads,
    Kernel,
    KernelArgs,
    KernelCall,
    can_save_in_x,
    make_call,
    require_state,
    run_time_loop,
)
from snnlab.kernels.layout import Layout
from snnlab.kernels.reference import valid_steps


class LinearMap(Protocol):
    """A linear map with given weights from the outputs of one step to the input of the next, with its gradients."""

    def __call__(self, s: Tensor) -> Tensor:
        """Return the feedback of outputs `[B, ...]`."""
        ...

    def output_gradient(self, g: Tensor) -> Tensor:
        """Return the gradient of the outputs from g, that of the feedback."""
        ...

    def weight_gradients(self, g: Tensor, s: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the gradients of weight and bias from those of the feedback, for outputs `[N, ...]`."""
        ...


class LinearFeedback(Protocol):
    """A feedback that is a linear map."""

    def linear_map(self, weights: Any) -> LinearMap:
        """Return the map of these weights."""
        ...


class RecurrentLoop(NamedTuple):
    """The loop of recurrent neurons.

    Attributes:
        call: The settings of the call.
        feedback: The feedback.
        weights: The type of its weights.
        masks: Valid samples of each step; None if all are.
    """

    call: KernelCall
    feedback: LinearFeedback
    weights: Callable[..., Any]
    masks: Tensor | None

    def forward(self, args: KernelArgs) -> tuple[list[Tensor], Grads]:
        """Run all steps; the weights and the outputs of all steps, `[T + 1, B, ...]`, are saved in addition."""
        call, (num_steps, batch), (x, s, weight, bias) = self.call, self.call.shape[:2], args.inputs
        inplace, feedback = can_save_in_x(call), self.feedback.linear_map(self.weights(weight, bias))
        drive_steps = 1 if not inplace and call.step.x not in call.step.saved else num_steps
        drive, outputs = call.empty(x, drive_steps, batch), call.empty(x, num_steps + 1, batch)
        outputs[0], y = s.detach(), outputs[1:]
        forward = ForwardPass(call, drive, y, args, inplace=inplace)
        # Separate memory, as in the plain loop: the rounding of a matrix product may depend on where its factors lie.
        last = outputs[0].clone()
        for t in range(num_steps):
            at = t % drive_steps
            torch.add(x[t], feedback(last if t else s), out=drive[at])
            forward.run(t, t + 1, t - at)
            if self.masks is None:
                last.copy_(y[t])
            else:
                torch.where(self.masks[t], y[t], last, out=last)
        _, *rest = forward.outputs()
        learns = weight.requires_grad or (bias is not None and bias.requires_grad)
        # Detached, because torch forbids in-place changes of a view that a custom function returns.
        return [y.detach(), last, *rest], [outputs if learns else None, weight, bias, *forward.saved]

    def backward(self, saved: KernelArgs, grads: Grads, needs_grad: Sequence[bool]) -> Grads:
        """Run all steps backward, from the last one."""
        call, (gy, gs, *rest), (outputs, weight, bias, *values) = self.call, grads, saved.inputs
        feedback = self.feedback.linear_map(self.weights(weight, bias))
        output_grad = call.empty(saved.states[0], 1, call.shape[1])
        back = BackwardPass(call, values, saved, (output_grad, *rest), again=graph_is_kept())
        drive_grad, step_grad = back.dx, output_grad[0]
        delayed_grad = torch.zeros_like(step_grad) if gs is None else gs
        for t in range(call.shape[0] - 1, -1, -1):
            if gy is None:
                step_grad.copy_(delayed_grad)
            else:
                torch.add(gy[t], delayed_grad, out=step_grad)
            back.run(t, t + 1, t)
            if call.cut:
                continue
            feedback_grad = feedback.output_gradient(drive_grad[t])
            masks = self.masks
            delayed_grad = feedback_grad if masks is None else torch.where(masks[t], feedback_grad, delayed_grad)
        found: tuple[Tensor | None, Tensor | None] = (None, None)
        if outputs is not None:
            found = feedback.weight_gradients(drive_grad.flatten(0, 1), outputs[:-1].flatten(0, 1))
        weight_grads = (part if needed else None for part, needed in zip(found, needs_grad[2:4], strict=True))
        return [drive_grad, delayed_grad, *weight_grads, *back.state_grads, *back.numbers()]


class RecurrentOutput(NamedTuple):
    """Output of recurrent neurons.

    Attributes:
        y: Output, `[T, B, ...]`; zeros past a sample's length.
        s: Output at the last valid step, `[B, ...]`.
        state: State after the last valid step.
        counts: Spikes of each neuron, summed over the valid steps, `[B, ...]`; None if not counted.
    """

    y: Tensor
    s: Tensor
    state: Any
    counts: Tensor | None


def run(
    kernel: Kernel,
    feedback: LinearFeedback,
    x: Tensor,
    s: Tensor,
    state: Any,
    k: Any,
    weights: Any,
    lengths: Tensor | None,
    *,
    count: bool,
) -> RecurrentOutput:
    """Run all steps of neurons whose input at each step includes the feedback of their last output.

    Args:
        kernel: The kernel of the neurons' step.
        feedback: The feedback.
        x: External input, `[T, B, ...]`.
        s: Output before the first step, `[B, ...]`.
        state: State before the first step, a NamedTuple of `[B, ...]`.
        k: The neurons' coefficients.
        weights: Weight and bias of the feedback, a NamedTuple.
        lengths: Valid steps of each sample; None if all are.
        count: Whether to count spikes.
    """
    x, layout = Layout.infer(x)
    require_state("s", s, x)
    call, tensors = make_call(kernel, layout, x, state, k, lengths, count, None)
    loop = RecurrentLoop(call, feedback, type(weights), valid_steps(lengths, len(x), x))
    y, last, *rest = run_time_loop(loop, [x, s, *weights], state, tensors)
    counts = rest.pop() if count else None
    return RecurrentOutput(y, last, call.last_state(rest), counts)
