"""The forward pass of the eager kernel: the plain loop's operations, in its order, into memory that is used again.

A product with a spike is exact, so that fusing it with a sum rounds as the plain loop does. a * v is not, and stays an
operation of its own.

Axes: T steps, B samples.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from snnlab.nn.kernels.eager_steps import Ends, Rooms, blocks, tiles
from snnlab.nn.kernels.rule import Rule
from snnlab.nn.neurons.learn import Number
from snnlab.nn.neurons.membrane import Coefficients, is_number

Outputs = tuple[Tensor, Tensor, Tensor | None]


class Tape(NamedTuple):
    """What the backward pass needs; None where it does not need it.

    Attributes:
        u: Membrane before the reset, `[T, B, ...]`; that of an integrator is its output.
        j: The current, or x where there is no synapse, `[T, B, ...]`.
        x: Input, `[T, B, ...]`.
        v0: Membrane before the input, `[B, ...]`.
        i0: Current before it; None without a synapse.
    """

    u: Tensor | None
    j: Tensor | None
    x: Tensor | None
    v0: Tensor
    i0: Tensor | None

    def of(self, some: slice) -> Tape:
        """Return what was kept of some samples."""
        u, j, x = (None if part is None else part[:, some] for part in self[:3])
        return Tape(u, j, x, self.v0[some], None if self.i0 is None else self.i0[some])


def forward(
    x: Tensor,
    v0: Tensor,
    i0: Tensor | None,
    k: Coefficients,
    rule: Rule,
    lengths: Sequence[int],
    wanted: Collection[str],
) -> tuple[Outputs, Tape]:
    """Return y, v and i, and what the gradients of `wanted` need of the run."""
    v0 = torch.empty_like(x[0]).copy_(v0)  # laid out as x, as all rows of the backward pass will be
    y, v = torch.empty_like(x), v0.clone()
    i = None if i0 is None else torch.empty_like(v).copy_(i0)
    u = y if not rule.spikes else torch.empty_like(x) if wanted else None
    j = torch.empty_like(x) if i0 is not None and {"g", "b"} & {*wanted} else None
    for some, ends in blocks(v, lengths):
        state = v[some], None if i is None else i[some]
        rows = y[:, some], None if u is None else u[:, some], None if j is None else j[:, some]
        _run(x[:, some], state, rows, k, rule, ends)
    u = u if rule.spikes or "a" in wanted else None
    j = x if i0 is None and "g" in wanted else j
    return (y, v, i), Tape(u, j, x if rule.synapse == "decay_first" and "b" in wanted else None, v0, i0)


def _run(
    x: Tensor,
    state: tuple[Tensor, Tensor | None],
    rows: tuple[Tensor, Tensor | None, Tensor | None],
    k: Coefficients,
    rule: Rule,
    ends: Ends,
) -> None:
    """Run some samples.

    Args:
        x: Their input.
        state: Their v and i; the state before the input, replaced by that after it.
        rows: y, u and j, written; None for u or j where it is not kept.
        k: Numbers of the recurrence.
        rule: The neuron's dialect.
        ends: Where the samples end.
    """
    (v_end, i_end), (y, u, j) = state, rows
    membrane, i = Membrane(v_end.clone(), k, rule), None if i_end is None else i_end.clone()
    groups = tiles(ends.longest, v_end)
    rooms = Rooms(v_end, groups)
    for steps in groups:
        drive = x[steps]
        if i is not None and i_end is not None:
            drive = _currents(i, drive, k, rule, rooms("j", steps) if j is None else j[steps])
            i = drive[-1]
            for step, samples in ends.within(steps):
                i_end[samples] = drive[step, samples]
        membranes = rooms("u", steps) if u is None else u[steps]
        membrane.run(_gained(drive, k, rooms("drive", steps)), membranes, y[steps])
        for step, samples in ends.within(steps):
            v_end[samples] = membrane.after(membranes[step], y[steps][step])[samples]
    for length, samples in ends.samples.items():
        y[length:, samples] = 0.0


class Membrane:
    """The membranes of some samples, from one step to the next."""

    def __init__(self, v: Tensor, k: Coefficients, rule: Rule) -> None:
        self.k, self.rule = k, rule
        self.v, self.room = v, torch.empty_like(v)
        self.s = fire(v, k, rule, torch.empty_like(v))  # which a delayed reset needs

    def run(self, drives: Tensor, membranes: Tensor, outputs: Tensor) -> None:
        """Write the membrane before the reset, and the output: the spikes, unless it is the membrane itself."""
        k, rule, v, s = self.k, self.rule, self.v, self.s
        resets_now = rule.reset != "none" and not rule.reset_delay
        for drive, u, y in zip(drives.unbind(), membranes.unbind(), outputs.unbind(), strict=True):
            if rule.reset_delay and rule.reset == "value":
                v = reset(v, s, k, rule, self.room)
            if is_number(k.a, 1.0):
                torch.add(v, drive, out=u)
            else:
                torch.mul(v, k.a, out=u).add_(drive)
            if rule.reset_delay and rule.reset == "subtract":
                reset(u, s, k, rule, u)
            if rule.spikes:
                s = fire(u, k, rule, y)
            v = reset(u, s, k, rule, self.room) if resets_now else u
        self.v, self.s = v, s

    def after(self, u: Tensor, s: Tensor) -> Tensor:
        """Return the membrane that a step leaves."""
        if self.rule.reset == "none" or self.rule.reset_delay:
            return u
        return reset(u, s, self.k, self.rule, torch.empty_like(u))


def fire(u: Tensor, k: Coefficients, rule: Rule, out: Tensor) -> Tensor:
    """Write the spikes of u."""
    return (torch.gt if rule.strict else torch.ge)(u, k.v_threshold, out=out)


def reset(u: Tensor, s: Tensor, k: Coefficients, rule: Rule, out: Tensor) -> Tensor:
    """Write u reset by its spikes; where it is reset by subtraction, `out` may be u."""
    if rule.reset == "subtract":
        return add_product(u, s, k.r, out, sign=-1.0)
    silent(u, k, rule, out).mul_(u)
    return out if is_number(k.v_reset, 0.0) else add_product(out, s, k.v_reset, out)


def silent(u: Tensor, k: Coefficients, rule: Rule, out: Tensor) -> Tensor:
    """Write 1 - s for the spikes s of u."""
    return (torch.le if rule.strict else torch.lt)(u, k.v_threshold, out=out)


def add_product(one: Tensor, other: Tensor, factor: Number, out: Tensor, sign: float = 1.0) -> Tensor:
    """Write one + sign * other * factor."""
    if isinstance(factor, Tensor):
        return torch.addcmul(one, other, factor, value=sign, out=out)
    return torch.add(one, other, alpha=sign * factor, out=out)


def _currents(i: Tensor, x: Tensor, k: Coefficients, rule: Rule, out: Tensor) -> Tensor:
    """Write the current of each step of x."""
    for x_t, j in zip(x.unbind(), out.unbind(), strict=True):
        if rule.synapse == "jump_first":
            torch.mul(i, k.b, out=j).add_(x_t)
        else:
            torch.add(i, x_t, out=j).mul_(k.b)
        i = j
    return out


def _gained(drive: Tensor, k: Coefficients, out: Tensor) -> Tensor:
    """Return g * j + c; `out` is written where that is not j itself."""
    if not is_number(k.g, 1.0):
        drive = torch.mul(drive, k.g, out=out)
    return drive if is_number(k.c, 0.0) else torch.add(drive, k.c, out=out)
