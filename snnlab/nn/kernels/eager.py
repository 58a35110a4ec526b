"""The canonical recurrence in PyTorch alone: no graph over the steps, and a backward pass written by hand.

`eager_forward` and `eager_adjoint` are the two passes, `eager_steps` is how they walk through memory.

Axes: T steps, B samples.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from snnlab.nn.kernels.checks import require_lengths, require_states
from snnlab.nn.kernels.derivative import refuse_second_derivative
from snnlab.nn.kernels.eager_adjoint import Arriving, adjoint
from snnlab.nn.kernels.eager_forward import Tape, forward
from snnlab.nn.kernels.rule import Rule, Run
from snnlab.nn.neurons.membrane import Coefficients

_INPUTS = ("x", "v0", "i0", "rule", "lengths", *Coefficients._fields)


def run(
    x: Tensor,
    v0: Tensor,
    i0: Tensor | None,
    k: Coefficients,
    rule: Rule,
    lengths: Tensor | None,
    count: bool = False,
) -> Run:
    """Run all steps; outputs and states are those of the plain loop, bit for bit.

    Args:
        x: Input.
        v0: Membrane before it.
        i0: Current before it; None without a synapse.
        k: Numbers of the recurrence; gradients reach those that are tensors.
        rule: The neuron's dialect.
        lengths: Valid steps of each sample, between 0 and T; None where all are.
        count: Whether to count each neuron's spikes.

    Shape:
        x: `[T, B, ...]`; v0, i0: `[B, ...]`; lengths: `[B]`; members of k: broadcast to one sample.

    Raises:
        ValueError: if the state has another shape or precision than a step of x, or lengths are not whole numbers.
    """
    require_states(x.shape[1:], x.dtype, v=v0, i=i0)
    require_lengths(lengths, x.shape[1])
    ends = [x.shape[0]] * x.shape[1] if lengths is None else lengths.clamp(0, x.shape[0]).tolist()
    if torch.is_grad_enabled():
        y, v, i = _Recurrence.apply(x, v0, i0, rule, ends, *k)
    else:
        (y, v, i), _ = forward(x, v0, i0, k, rule, ends, frozenset())
    return Run(y, v, i, y.sum(0) if count and rule.spikes else None)


class _Recurrence(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, v0: Tensor, i0: Tensor | None, rule: Rule, lengths: list[int], *k: Any) -> Any:
        wanted = frozenset(name for name, needed in zip(_INPUTS, ctx.needs_input_grad, strict=True) if needed)
        outputs, tape = forward(x, v0, i0, Coefficients(*k), rule, lengths, wanted)
        ctx.rule, ctx.lengths, ctx.wanted = rule, lengths, wanted
        ctx.layout = x.shape, outputs[0].stride()
        ctx.numbers = [None if isinstance(number, Tensor) else number for number in k]
        ctx.save_for_backward(*tape, *(number for number in k if isinstance(number, Tensor)))
        ctx.set_materialize_grads(False)
        return outputs

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        refuse_second_derivative()
        parts = len(Tape._fields)
        saved = ctx.saved_tensors  # once: where they are computed again, they are there for one look
        tape, tensors = Tape(*saved[:parts]), iter(saved[parts:])
        k = Coefficients(*(next(tensors) if number is None else number for number in ctx.numbers))
        (shape, strides), v0, (gy, gv, gi) = ctx.layout, tape.v0, gradients
        dx = v0.new_empty_strided(shape, strides) if "x" in ctx.wanted else None
        gy = v0.new_zeros(()).expand(shape) if gy is None else gy
        found = adjoint(tape, k, ctx.rule, ctx.lengths, ctx.wanted, Arriving(gy, gv, gi), dx)
        return tuple(found.get(name) for name in _INPUTS)
