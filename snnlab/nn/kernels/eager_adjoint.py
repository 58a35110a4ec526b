"""The backward pass of the eager kernel, from the last step to the first.

`eager_reset` leads from the output to the membrane u. From there, with gi what arrives at the last current:

    no synapse                     dx = g * gu[t]
    j[t] = b * j[t-1] + x[t]       gj[t] = g * gu[t] + b * gj[t+1], and + gi at the last step;   dx = gj[t]
    j[t] = b * (j[t-1] + x[t])     gj as above;                                                  dx = b * gj[t]

Axes: T steps, B samples.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from snnlab.nn.kernels.eager_forward import Tape
from snnlab.nn.kernels.eager_reset import MembraneAdjoint
from snnlab.nn.kernels.eager_steps import Ends, Rooms, blocks, tiles
from snnlab.nn.kernels.eager_sums import Sums, accumulate, add_at_ends, later_rows
from snnlab.nn.kernels.rule import Rule
from snnlab.nn.neurons.membrane import Coefficients, is_number

# The step that the membrane before the input is, where its spikes reset the first.
_BEFORE = slice(-1, 0)


class Arriving(NamedTuple):
    """Gradients of the outputs.

    Attributes:
        y: At the output, `[T, B, ...]`.
        v: At the last membrane, `[B, ...]`; None where nothing arrives.
        i: At the last current, `[B, ...]`; None where nothing arrives.
    """

    y: Tensor
    v: Tensor | None
    i: Tensor | None

    def of(self, some: slice) -> Arriving:
        """Return what arrives at some samples."""
        y, v, i = self
        return Arriving(y[:, some], None if v is None else v[some], None if i is None else i[some])


def adjoint(
    tape: Tape,
    k: Coefficients,
    rule: Rule,
    lengths: Sequence[int],
    wanted: Collection[str],
    arriving: Arriving,
    dx: Tensor | None,
) -> dict[str, Tensor | None]:
    """Return the gradients by the names of the inputs.

    Args:
        tape: What the forward pass kept.
        k: Numbers of the recurrence.
        rule: The neuron's dialect.
        lengths: Valid steps of each sample.
        wanted: The inputs that ask for a gradient.
        arriving: Gradients of the outputs.
        dx: Memory for the gradient of x, written; None where it is not wanted.
    """
    sums = Sums(k, wanted)
    dv, di = torch.empty_like(tape.v0), None if tape.i0 is None else torch.empty_like(tape.i0)
    for some, ends in blocks(tape.v0, lengths):
        block = _Block(tape.of(some), arriving.of(some), k, rule, ends, sums)
        block.run(None if dx is None else dx[:, some])
        dv[some] = block.before_membranes()
        if di is not None and tape.i0 is not None:
            di[some] = block.before_currents(tape.i0[some])
    return {"x": dx, "v0": dv, "i0": di, **sums.rounded()}


class _Block:
    """The backward pass of some samples; after `run`, `gu` and `gj` are the gradients of their first step."""

    def __init__(self, tape: Tape, arriving: Arriving, k: Coefficients, rule: Rule, ends: Ends, sums: Sums) -> None:
        self.tape, self.arriving, self.k, self.rule, self.ends, self.sums = tape, arriving, k, rule, ends, sums
        self.groups = tiles(ends.longest, tape.v0)
        self.rooms = Rooms(tape.v0, self.groups)
        self.membranes = MembraneAdjoint(arriving.v, k, rule, ends, self.rooms, sums)
        self.gu = self.gj = torch.zeros_like(tape.v0)

    def run(self, dx: Tensor | None) -> None:
        """Go through all steps, and write the gradient of the input if there is room for it."""
        scale = {"none": self.k.g, "jump_first": 1.0, "decay_first": self.k.b}[self.rule.synapse]
        for turn, steps in enumerate(reversed(self.groups)):
            # The first row is needed for the group before: two rooms take turns.
            rooms = [self.rooms(f"{name}{turn % 2}", steps) for name in ("gu", "gj")]
            if dx is not None and is_number(scale, 1.0):
                rooms[self.tape.i0 is not None] = dx[steps]
            drive = self._membranes(steps, rooms[0])
            if self.tape.i0 is not None:
                drive = self._currents(steps, drive, rooms[1])
            if dx is not None and not is_number(scale, 1.0):
                torch.mul(drive, scale, out=dx[steps])
        if dx is not None:
            dx[self.ends.longest :] = 0.0

    def before_membranes(self) -> Tensor:
        """Return the gradient of the membrane before the input."""
        v0, gv = self.tape.v0[None], torch.zeros_like(self.gu)[None]
        if self.rule.reset_delay:
            self.membranes.run(_BEFORE, v0, torch.zeros_like(gv), self.gu, gv)
        else:
            torch.mul(self.gu, self.k.a, out=gv[0])
            add_at_ends(gv, self.arriving.v, 1.0, self.ends, _BEFORE)
            if "a" in self.sums:
                self.sums.add("a", self.gu * v0)
        return gv[0]

    def before_currents(self, i0: Tensor) -> Tensor:
        """Return the gradient of the current before the input, `i0`."""
        gi = (self.gj * self.k.b)[None]
        add_at_ends(gi, self.arriving.i, 1.0, self.ends, _BEFORE)
        if "b" in self.sums:
            self.sums.add("b", self.gj * i0)
        return gi[0]

    def _membranes(self, steps: slice, gu: Tensor) -> Tensor:
        tape = self.tape
        self.membranes.run(steps, None if tape.u is None else tape.u[steps], self.arriving.y[steps], self.gu, gu)
        self.gu = gu[0]
        if "c" in self.sums:
            self.sums.add("c", gu)
        if "g" in self.sums and tape.j is not None:
            self.sums.add("g", gu * tape.j[steps])
        return gu

    def _currents(self, steps: slice, gu: Tensor, gj: Tensor) -> Tensor:
        tape, b = self.tape, self.k.b
        torch.mul(gu, self.k.g, out=gj)
        add_at_ends(gj, self.arriving.i, 1.0, self.ends, steps)
        accumulate(gj, [b] * len(gj), self.gj)
        if "b" in self.sums and tape.j is not None:
            self.sums.add("b", later_rows(gj, self.gj) * tape.j[steps])
            if tape.x is not None:
                self.sums.add("b", gj * tape.x[steps])
        self.gj = gj[0]
        return gj
