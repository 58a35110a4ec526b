"""Recurrent neurons: all steps in one piece of the graph, each a feedback and a step of a compiled walk.

The gradients of the feedback's weights are computed once, from all steps together.

Axes: T steps, B samples, n neurons as they lie in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from snnlab.nn.kernels.cells import Cell, Job, laid
from snnlab.nn.kernels.checks import require_states
from snnlab.nn.kernels.derivative import refuse_second_derivative
from snnlab.nn.kernels.rule import Rule


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
    """What the recurrence is told besides numbers.

    Attributes:
        make: The neurons, as their walk goes.
        numbers: The type of their numbers.
        feedback: What they send back.
        weights: The type of its weights.
        states: How many variables the state of a neuron has.
        job: What the walks are told; its shape is that of one step.
        num_steps: T.
    """

    make: type[Cell]
    numbers: Callable[..., Any]
    feedback: Feedback
    weights: Callable[..., Any]
    states: int
    job: Job
    num_steps: int


class RecurrentRun(NamedTuple):
    """What `run` returns.

    Attributes:
        y: The neurons' output, `[T, B, ...]`; zeros past a sample's length.
        s: Their output at the last valid step, `[B, ...]`.
        n: Spikes of each neuron, summed over the valid steps, `[B, ...]`; None where nobody asks or nothing spikes.
        states: Their state after the last valid step.
    """

    y: Tensor
    s: Tensor
    n: Tensor | None
    states: tuple[Tensor, ...]


def run(
    cells: Mapping[str, type[Cell]],
    x: Tensor,
    s: Tensor,
    states: Sequence[Tensor],
    feedback: Feedback,
    weights: Any,
    cell: str,
    k: Any,
    rule: Rule,
    lengths: Tensor | None,
    count: bool = False,
) -> RecurrentRun:
    """Run all steps; outputs and states are those of the plain loop, bit for bit.

    Args:
        cells: The neurons that have walks, by their kind.
        x: Input.
        s: Output before it.
        states: Variables of the neurons' state before it.
        feedback: What the neurons send back.
        weights: Its weights; gradients reach them.
        cell: The kind of the neurons, one of `cells`.
        k: Their numbers; gradients reach those that are tensors.
        rule: Their dialect.
        lengths: Valid steps of each sample, or None where all are.
        count: Whether to count spikes.

    Shape:
        x: `[T, B, ...]`; s, states: `[B, ...]`; lengths: `[B]`; members of k: broadcast to one sample.

    Raises:
        ValueError: if the state has another shape or precision than a step of x, or lengths are not whole numbers.
    """
    make = cells[cell]
    require_states(x.shape[1:], x.dtype, s=s, **dict(zip(make.states, states, strict=False)))
    x, layout = laid(x)
    job = make.told(rule, lengths, count and rule.spikes, layout, torch.Size((1, *x.shape[1:])), len(x))
    layer = Layer(make, type(k), feedback, type(weights), len(states), job, len(x))
    if torch.is_grad_enabled():
        y, s, n, *states = _Recurrence.apply(layer, x, s, *weights, *states, *k)
    else:
        y, s, n, *states = _forward(layer, make(job, k, x), x, s, weights, states, set())[0]
    return RecurrentRun(y, s, n, tuple(states))


def _forward(
    layer: Layer, cell: Cell, x: Tensor, s: Tensor, weights: Any, states: Sequence[Tensor], wanted: Collection[str]
) -> tuple[tuple[Any, ...], Tensor]:
    """Go through all steps; return the outputs and all that was sent back, `[T + 1, B, n]`."""
    num_steps, batch = layer.num_steps, cell.batch
    cell.begin(states, wanted, num_steps)
    keeps_drive = "x" in cell.keeping
    drives, sent = cell.room(num_steps if keeps_drive else 1, batch), cell.room(num_steps + 1, batch)
    sent[0] = cell.rows(s)
    (valid, which), y = cell.valid(num_steps), cell.spread(sent[1:])
    # Memory of its own, as in the plain loop: how a matrix product rounds may depend on where its factors lie.
    last = cell.spread(sent[0].clone())
    drive, drive_rows, sent_rows = cell.spread(drives), cell.array(drives), cell.array(sent)
    for t in range(num_steps):
        at = t if keeps_drive else 0
        torch.add(x[t], layer.feedback(last if t else s, weights), out=drive[at])
        cell.run(slice(t, t + 1), drive_rows[at : at + 1], sent_rows[t + 1 : t + 2], valid[t])
        if which is None:
            last.copy_(y[t])
        else:
            torch.where(which[t], y[t], last, out=last)
    rows = {"x": drives, "y": sent[1:]}
    cell.keep({name: part for name, part in rows.items() if name in cell.keeping})
    return (y, last, None if cell.n is None else cell.spread(cell.n), *cell.ends()), sent


def _back(
    layer: Layer, cell: Cell, weights: Any, gy: Tensor | None, gs: Tensor | None, num_steps: int
) -> tuple[Tensor, Tensor]:
    """Go back through all steps; return the gradients of the drive, `[T, B, n]`, and of the output before the first."""
    drives, arrives = cell.room(num_steps, cell.batch), cell.room(1, cell.batch)
    (valid, which), drive, arriving = cell.valid(num_steps), cell.spread(drives), cell.spread(arrives)[0]
    drive_rows, arrive_rows = cell.array(drives), cell.array(arrives)
    late = torch.zeros_like(arriving) if gs is None else gs
    for t in range(num_steps - 1, -1, -1):
        if gy is None:
            arriving.copy_(late)
        else:
            torch.add(gy[t], late, out=arriving)
        cell.back(slice(t, t + 1), arrive_rows, drive_rows[t : t + 1], valid[t])
        sent = layer.feedback.to_outputs(drive[t], weights)
        late = sent if which is None else torch.where(which[t], sent, late)
    return drives, late


class _Recurrence(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, layer: Layer, x: Tensor, s: Tensor, weight: Tensor, bias: Tensor | None, *numbers: Any
    ) -> Any:
        states, k = numbers[: layer.states], layer.numbers(*numbers[layer.states :])
        cell = layer.make(layer.job, k, x)
        ctx.inputs = ("x", "s", "weight", "bias", *cell.states[: layer.states], *k._fields)
        wanted = {name for name, needed in zip(ctx.inputs, ctx.needs_input_grad[1:], strict=True) if needed}
        done, sent = _forward(layer, cell, x, s, layer.weights(weight, bias), states, wanted)
        learned = [number for number in k if isinstance(number, Tensor)]
        ctx.save_for_backward(
            sent if wanted & {"weight", "bias"} else None, weight, bias, *cell.kept.values(), *learned
        )
        ctx.layer, ctx.wanted, ctx.names = layer, wanted, list(cell.kept)
        ctx.numbers = [None if isinstance(number, Tensor) else number for number in k]
        ctx.set_materialize_grads(False)
        # Not as the views that they are: torch lets nobody change views out of here in place.
        return tuple(None if part is None else part.detach() for part in done)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
        refuse_second_derivative()
        layer, wanted, (gy, gs, gn, *gstates) = ctx.layer, ctx.wanted, grads
        sent, weight, bias, *saved = ctx.saved_tensors
        kept, tensors = dict(zip(ctx.names, saved, strict=False)), iter(saved[len(ctx.names) :])
        k = layer.numbers(*(next(tensors) if number is None else number for number in ctx.numbers))
        cell, weights = layer.make(layer.job, k, weight), layer.weights(weight, bias)
        cell.resume(kept, gstates, gn, wanted)
        drives, late = _back(layer, cell, weights, gy, gs, layer.num_steps)
        drive = cell.spread(drives)
        found: dict[str, Any] = {**cell.found(), "x": drive, "s": late}
        if sent is not None:
            outputs = cell.spread(sent[:-1]).flatten(0, 1)
            found["weight"], found["bias"] = layer.feedback.to_weights(drive.flatten(0, 1), outputs, weights)
        return (None, *(found.get(name) if name in wanted else None for name in ctx.inputs))
