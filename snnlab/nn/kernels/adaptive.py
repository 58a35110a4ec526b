"""The neuron with an adaptive threshold, all its steps in one walk, and its way into autograd.

Axes: T steps, B samples, n neurons as they lie in memory.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple

import torch
from torch import Tensor

from snnlab.nn.kernels.cells import Cell, Job, laid
from snnlab.nn.kernels.checks import require_states
from snnlab.nn.kernels.derivative import refuse_second_derivative
from snnlab.nn.kernels.rule import Rule
from snnlab.nn.neurons.adaptation import ThresholdNumbers

_INPUTS = ("x", "v", "w", *ThresholdNumbers._fields)


class AdaptedRun(NamedTuple):
    """What `run` returns.

    Attributes:
        y: Spikes, `[T, B, ...]`; zeros past a sample's length.
        v: Membrane after the last valid step, `[B, ...]`.
        w: Adaptation after the last valid step, `[B, ...]`.
        n: Spikes of each neuron, summed over the valid steps, `[B, ...]`; None where nobody asks.
    """

    y: Tensor
    v: Tensor
    w: Tensor
    n: Tensor | None


def run(
    make: type[Cell],
    x: Tensor,
    v: Tensor,
    w: Tensor,
    k: ThresholdNumbers,
    rule: Rule,
    lengths: Tensor | None,
    count: bool = False,
) -> AdaptedRun:
    """Run all steps; outputs and states are those of the plain loop, bit for bit.

    Args:
        make: The neurons, as their walk goes.
        x: Input.
        v: Membrane before it.
        w: Adaptation before it.
        k: Numbers of the recurrence; gradients reach those that are tensors.
        rule: The neuron's dialect.
        lengths: Valid steps of each sample, or None where all are.
        count: Whether to count spikes.

    Shape:
        x: `[T, B, ...]`; v, w: `[B, ...]`; lengths: `[B]`; members of k: broadcast to one sample.

    Raises:
        ValueError: if the state has another shape or precision than a step of x, or lengths are not whole numbers.
    """
    require_states(x.shape[1:], x.dtype, v=v, w=w)
    x, layout = laid(x)
    job = make.told(rule, lengths, count, layout, x.shape, len(x))
    if torch.is_grad_enabled():
        return AdaptedRun(*_Adaptive.apply(make, job, x, v, w, *k))
    return AdaptedRun(*_forward(make(job, k, x), x, v, w, set()))


def _forward(
    cell: Cell, x: Tensor, v: Tensor, w: Tensor, wanted: Collection[str]
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Walk through all steps; the cell has what is kept."""
    num_steps = len(x)
    cell.begin((v, w), wanted, num_steps)
    rows = {"x": cell.rows(x), "y": cell.room(num_steps, cell.batch)}
    cell.run(slice(num_steps), cell.array(rows["x"]), cell.array(rows["y"]), cell.job.steps)
    cell.keep({name: part for name, part in rows.items() if name in cell.keeping})
    v, w = cell.ends()
    return cell.spread(rows["y"]), v, w, None if cell.n is None else cell.spread(cell.n)


class _Adaptive(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, make: type[Cell], job: Job, x: Tensor, v: Tensor, w: Tensor, *k: Any) -> Any:
        wanted = {name for name, needed in zip(_INPUTS, ctx.needs_input_grad[2:], strict=True) if needed}
        cell = make(job, ThresholdNumbers(*k), x)
        done = _forward(cell, x, v, w, wanted)
        numbers = [number for number in k if isinstance(number, Tensor)]
        ctx.save_for_backward(*cell.kept.values(), *numbers)
        ctx.make, ctx.job, ctx.wanted, ctx.names = make, job, wanted, list(cell.kept)
        ctx.numbers = [None if isinstance(number, Tensor) else number for number in k]
        ctx.set_materialize_grads(False)
        # Not as the views that they are: torch lets nobody change views out of here in place.
        return tuple(None if part is None else part.detach() for part in done)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
        refuse_second_derivative()
        saved = ctx.saved_tensors
        kept, tensors = dict(zip(ctx.names, saved, strict=False)), iter(saved[len(ctx.names) :])
        k = ThresholdNumbers(*(next(tensors) if number is None else number for number in ctx.numbers))
        like = kept["gaps"]
        cell, (gy, gv, gw, gn) = ctx.make(ctx.job, k, like), grads
        cell.resume(kept, (gv, gw), gn, ctx.wanted)
        dx = torch.empty_like(like)
        arrives = cell.array(None if gy is None else cell.rows(gy))
        cell.back(slice(len(dx)), arrives, cell.array(dx), ctx.job.steps)
        found = {**cell.found(), "x": cell.spread(dx)}
        return (None, None, *(found.get(name) for name in _INPUTS))
