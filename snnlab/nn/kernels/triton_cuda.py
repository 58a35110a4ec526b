"""The canonical recurrence on a GPU in Triton: one launch forward, one backward, each over all steps.

Axes: T steps, B samples, n neurons as they lie in memory.
"""

from __future__ import annotations

from collections.abc import Set
from typing import Any, NamedTuple

import torch
from torch import Tensor

from snnlab.nn.kernels import triton_backward, triton_forward
from snnlab.nn.kernels.bells import GIVEN
from snnlab.nn.kernels.checks import require_lengths, require_states
from snnlab.nn.kernels.derivative import refuse_second_derivative
from snnlab.nn.kernels.layout import Layout
from snnlab.nn.kernels.rule import Rule, Run
from snnlab.nn.kernels.triton_launch import dialect, formula_of, launch, layout_of, rows
from snnlab.nn.kernels.triton_numbers import table_of
from snnlab.nn.neurons.learn import Number
from snnlab.nn.neurons.membrane import Coefficients

_INPUTS = ("x", "v0", "i0", "rule", "lengths", "count", *Coefficients._fields)


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
        x: Input, float32 or float64, on a CUDA device.
        v0: Membrane before it.
        i0: Current before it; None without a synapse.
        k: Numbers of the recurrence; gradients reach those that are tensors.
        rule: The neuron's dialect.
        lengths: Valid steps of each sample, or None where all are.
        count: Whether to count each neuron's spikes.

    Shape:
        x: `[T, B, ...]`; v0, i0: `[B, ...]`; lengths: `[B]`; members of k: broadcast to one sample.

    Raises:
        ValueError: if the state has another shape or precision than a step of x, or lengths are not whole numbers.
    """
    require_states(x.shape[1:], x.dtype, v=v0, i=i0)
    require_lengths(lengths, x.shape[1])
    if torch.is_grad_enabled():
        return Run(*_Recurrence.apply(x, v0, i0, rule, lengths, count, *k))
    return _forward(x, v0, i0, k, rule, lengths, count, frozenset())[0]


class _Tape(NamedTuple):
    """What the backward walk needs of the forward one; None is what it does not need."""

    table: Tensor
    lengths: Tensor | None
    u: Tensor | None
    j: Tensor | None
    x: Tensor | None
    v0: Tensor | None
    i0: Tensor | None


class _Recurrence(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Any:
        x, v0, i0, rule, lengths, count, *numbers = inputs
        k = Coefficients(*numbers)
        wanted = {name for name, needed in zip(_INPUTS, ctx.needs_input_grad, strict=True) if needed}
        result, tape = _forward(x, v0, i0, k, rule, lengths, count, wanted)
        threshold = k.v_threshold
        ctx.rule, ctx.wanted, ctx.shape, ctx.layout = rule, wanted, x.shape, layout_of(x)
        ctx.learned = {name: value.shape for name, value in k._asdict().items() if name in wanted}
        ctx.v_threshold = None if isinstance(threshold, Tensor) else threshold
        ctx.save_for_backward(*tape, threshold if isinstance(threshold, Tensor) else None)
        ctx.set_materialize_grads(False)
        return tuple(result)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        refuse_second_derivative()
        *tape, learned = ctx.saved_tensors
        found = _backward(ctx, _Tape(*tape), learned if ctx.v_threshold is None else ctx.v_threshold, grads)
        return tuple(found.get(name) for name in _INPUTS)


def _forward(
    x: Tensor,
    v0: Tensor,
    i0: Tensor | None,
    k: Coefficients,
    rule: Rule,
    lengths: Tensor | None,
    count: bool,
    wanted: Set[str],
) -> tuple[Run, _Tape]:
    """Return the outputs, and what the gradients of `wanted` need."""
    layout = layout_of(x)
    # Outputs lie as x does. Where x has gaps they are contiguous, as the kernel walks, until they are brought there.
    like = x if Layout.of(x) else x.contiguous()
    y, v = torch.empty_like(like), torch.empty_like(like[0])
    i = None if i0 is None else torch.empty_like(v)
    n = torch.zeros_like(v) if count and rule.spikes else None
    u = torch.empty_like(like) if rule.spikes and wanted else None
    j = torch.empty_like(like) if i0 is not None and wanted & {"g", "b"} else None
    table = table_of(k, rule, layout, x.shape[2:], x)
    lengths = None if lengths is None else lengths.to(x.device)
    parts = rows(layout, x=like, v0=v0, i0=i0, y=y, v=v, i=i, count=n, u=u, j=j)
    launch(triton_forward.forward, x.shape, table=table, lengths=lengths, **dialect(rule), **parts)
    needs_x = wanted & {"g" if i0 is None else "b"} and rule.synapse != "jump_first"
    tape = _Tape(
        table,
        lengths,
        u=y if not rule.spikes and "a" in wanted else u,  # an integrator's output is its membrane
        j=j,
        x=like if needs_x else None,
        v0=v0 if rule.reset_delay or "a" in wanted else None,
        i0=i0 if "b" in wanted else None,
    )
    result = Run(y, v, i, n)
    if like is not x:
        result = Run(_as(y, x), _as(v, x[0]), *(None if part is None else _as(part, x[0]) for part in (i, n)))
    return result, tape


def _as(part: Tensor, x: Tensor) -> Tensor:
    """Return a part in the memory order of x."""
    return torch.empty_like(x).copy_(part)


def _backward(ctx: Any, tape: _Tape, v_threshold: Number, grads: tuple[Tensor | None, ...]) -> dict[str, Tensor]:
    """Return the gradients that are wanted by the name of the input."""
    rule: Rule = ctx.rule
    table, lengths, *kept = tape
    parts = dict(zip(_Tape._fields[2:], kept, strict=True)) | dict(zip(("gy", "gv", "gi", "gn"), grads, strict=True))
    parts |= {"given": _slope(tape.u, v_threshold, rule), "given0": _slope(tape.v0, v_threshold, rule)}
    of_state = (ctx.shape[1], ctx.shape[2:].numel())
    shapes = {"x": (ctx.shape[0], *of_state)} | dict.fromkeys(("v0", "i0", *Coefficients._fields), of_state)
    # The kernel adds to the gradients of coefficients.
    found = {name: table.new_zeros(shape) if name in ctx.learned else None for name, shape in shapes.items()}
    found |= {name: table.new_empty(shapes[name]) for name in ("x", "v0", "i0") if name in ctx.wanted}
    launch(
        triton_backward.backward,
        ctx.shape,
        table=table,
        lengths=lengths,
        **dialect(rule),
        attached=not rule.detach_reset,
        formula=formula_of(rule),
        **rows(ctx.layout, **parts),
        **{f"d{name}": part for name, part in found.items()},
    )
    grown = {name: ctx.layout.spread(part, ctx.shape[2:]) for name, part in found.items() if part is not None}
    for name, shape in ctx.learned.items():
        # In an order that does not depend on the run; the shape is that of a layer, of channels or of neurons.
        grown[name] = grown[name].sum(0, dtype=torch.float64).sum_to_size(shape).to(table.dtype)
    return grown


def _slope(u: Tensor | None, v_threshold: Number, rule: Rule) -> Tensor | None:
    """Return the derivative of a surrogate whose formula the kernels do not know."""
    if u is None or rule.surrogate is None or formula_of(rule) != GIVEN:
        return None
    return rule.surrogate.derivative(u - v_threshold, v_threshold)
