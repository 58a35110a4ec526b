"""A kernel of the canonical recurrence that computes nothing, and takes and drops the memory of `numba_cpu` or `eager`.

Axes: T steps, B samples, n neurons as they lie in memory.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from snnlab.nn.kernels.bells import GIVEN, bell_of
from snnlab.nn.kernels.layout import Layout
from snnlab.nn.kernels.pool import Pool
from snnlab.nn.kernels.rule import Rule, Run
from snnlab.nn.neurons.membrane import Coefficients

_INPUTS = ("x", "v0", "i0", *Coefficients._fields)


class _Task(NamedTuple):
    rule: Rule
    counts: bool
    pool: Pool | None
    layout: Layout
    shape: torch.Size
    overwrite: bool
    reuses: bool


def run(
    x: Tensor,
    v0: Tensor,
    i0: Tensor | None,
    k: Coefficients,
    rule: Rule,
    lengths: Tensor | None,
    count: bool = False,
    pool: Pool | None = None,
    overwrite: bool = False,
    *,
    reuses: bool = True,
) -> Run:
    """Return zeros in the shapes of a run, and keep for the backward pass what the compiled kernel keeps.

    Args:
        x: See `numba_cpu.run`, as the rest.
        v0: Membrane before the input.
        i0: Current before it.
        k: Numbers of the recurrence.
        rule: The neuron's dialect.
        lengths: Not looked at.
        count: Whether spikes are counted.
        pool: A pooling that is done on the way.
        overwrite: Whether what is kept is written in x's place.
        reuses: Whether the gradient of x is written in the place of what was kept, as `eager` does not.

    Shape:
        See `numba_cpu.run`.
    """
    layout = Layout((1, 2, 0)) if pool is not None else Layout.of(x)
    if layout is None:
        x, layout = x.contiguous(), Layout(tuple(range(x.dim() - 2)))
    task = _Task(rule, count and rule.spikes, pool, layout, x.shape, overwrite, reuses)
    return Run(*_Hollow.apply(task, x, v0, i0, *k))


class _Hollow(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, task: _Task, x: Tensor, v0: Tensor, i0: Tensor | None, *k: Any) -> Any:
        wanted = {name for name, needed in zip(_INPUTS, ctx.needs_input_grad[1:], strict=True) if needed}
        decay_first = task.rule.synapse == "decay_first"
        keeps_x = ("g" in wanted and i0 is None) or ("b" in wanted and decay_first)
        j = torch.zeros_like(x) if i0 is not None and wanted & {"g", "b"} else None
        over = task.overwrite and not keeps_x
        u = (x.detach() if over else torch.zeros_like(x)) if task.rule.spikes and wanted else None
        v, i = torch.zeros_like(x[0]), None if i0 is None else torch.zeros_like(x[0])
        n = torch.zeros_like(v) if task.counts else None
        shape = task.shape[2:] if task.pool is None else task.pool.shape(task.shape[2:])
        y = task.layout.spread(x.new_zeros(*task.shape[:2], shape.numel()), shape)
        kept = y if not task.rule.spikes and "a" in wanted else u
        tensors = [number for number in k if isinstance(number, Tensor)]
        ctx.save_for_backward(kept, j, x if keeps_x else None, v0, i0, *tensors)
        ctx.numbers = [None if isinstance(number, Tensor) else number for number in k]
        ctx.task, ctx.wanted = task, wanted
        ctx.set_materialize_grads(False)
        return y, v, i, n

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        task: _Task = ctx.task
        u, _, _, v0, i0, *tensors = ctx.saved_tensors
        given = iter(tensors)
        k = Coefficients(*(next(given) if number is None else number for number in ctx.numbers))
        rows = [_rows(task.layout, grad) for grad in grads]
        dx = u if task.rule.spikes and task.reuses else v0.new_zeros(task.shape)
        states = {name: torch.zeros_like(v0) for name, part in (("v0", v0), ("i0", i0)) if part is not None}
        learned = [name for name in Coefficients._fields if name in ctx.wanted]
        sums = v0.new_zeros(len(learned), *v0.shape, dtype=torch.float64)
        slope = _slope(u, v0, k, task.rule)
        found = {"x": dx, **states}
        for name, of_samples in zip(learned, sums, strict=True):
            number = getattr(k, name)
            found[name] = of_samples.sum(0).sum_to_size(number.shape).to(number.dtype)
        del rows, slope  # they were there until here
        return (None, *(found.get(name) for name in _INPUTS))


def _rows(layout: Layout, x: Tensor | None) -> Tensor | None:
    """Return a gradient as the walks take it, which is a copy where it lies in another order."""
    return None if x is None else layout.sorted(x).contiguous()


def _slope(u: Tensor | None, v0: Tensor, k: Coefficients, rule: Rule) -> Tensor | None:
    """Return the derivative of the spikes, if the walks have no formula for it and read it from memory."""
    if u is None or rule.surrogate is None or bell_of(rule.surrogate).formula != GIVEN:
        return None
    v_threshold = k.v_threshold.detach() if isinstance(k.v_threshold, Tensor) else k.v_threshold
    return rule.surrogate.derivative(torch.cat([v0[None], u]) - v_threshold, v_threshold)
