"""Neurons behind a convolution of events, in pieces of time of which the backward pass computes all but the last again.

What such a layer keeps for each neuron and step can be more than all the rest of a network, and to compute it again
takes a tenth of a training step: its input is a few events. All numbers are the same bit for bit, but for gradients
that are sums over time, which are added up piece by piece.

Axes: T steps, B samples, n neurons as they lie in memory.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from snnlab.nn.kernels.numba_job import Job
from snnlab.nn.kernels.numba_walks import Drive, Kept, go_back, go_forward, room_for_outputs
from snnlab.nn.kernels.rule import Run
from snnlab.nn.neurons.membrane import Coefficients

# Neurons times steps up to which all is kept, and those of a piece beyond: 64 and 16 MiB in float32.
WHOLE, AT_ONCE = 2**24, 2**22


class Pieces(NamedTuple):
    """Pieces of time and the states before them.

    Attributes:
        ends: Where each piece ends.
        v: Membranes before them, `[B, ...]` each.
        i: Currents before them; none without a synapse.
        kept: What is kept of the last piece: membranes before resets and, if they are needed, currents.
    """

    ends: tuple[int, ...]
    v: list[Tensor]
    i: list[Tensor]
    kept: list[Tensor | None]

    @classmethod
    def of(cls, ends: tuple[int, ...], held: Sequence[Any]) -> Pieces:
        """Return pieces of v, i and what is kept, one behind the other."""
        many = len(ends)
        return cls(ends, list(held[:many]), list(held[many:-2]), list(held[-2:]))


def ends_of(job: Job) -> tuple[int, ...]:
    """Return where pieces of time end; only T where all is kept."""
    num_steps, neurons = job.shape[0], max(1, job.shape[1:].numel())
    if job.padding is None or num_steps * neurons <= WHOLE:
        return (num_steps,)
    return (*range(steps := max(1, AT_ONCE // neurons), num_steps, steps), num_steps)


def forward_in_pieces(
    job: Job, drive: Drive, v0: Tensor, i0: Tensor | None, k: Coefficients, ends: tuple[int, ...], keeps_j: bool
) -> tuple[Run, Pieces]:
    """Walk forward, and keep the states before each piece, and what the way back through the last one needs."""
    pieces = Pieces(ends, [], [], _rooms(job, v0, ends, -1, keeps_j))
    y, v, i, n = room_for_outputs(job, v0), v0, i0, None
    for first, last in zip((0, *ends), ends, strict=False):
        pieces.v.append(v)
        pieces.i.extend(() if i is None else (i,))
        u, j = pieces.kept if last == job.shape[0] else (None, None)
        its_job, its_drive = _of_steps(job, first, last), _of_frames(drive, job, first, last)
        done = go_forward(its_job, its_drive, v, i, k, u, j, y[first:last])
        v, i = done.v, done.i
        n = done.n if n is None or done.n is None else n + done.n
    return Run(job.layout.spread(y, job.outputs), v, i, n), pieces


def back_in_pieces(
    job: Job,
    drive: Drive,
    pieces: Pieces,
    k: Coefficients,
    wanted: Collection[str],
    keeps_j: bool,
    grads: Sequence[Tensor | None],
    again: bool,
) -> dict[str, Tensor]:
    """Walk back, and return the gradients of what is wanted by its name."""
    gy, gv, gi, gn = grads
    found: dict[str, Tensor] = {}
    for piece in reversed(range(len(pieces.ends))):
        first, last = pieces.ends[piece - 1] if piece else 0, pieces.ends[piece]
        its_job, its_drive = _of_steps(job, first, last), _of_frames(drive, job, first, last)
        v, i = pieces.v[piece], pieces.i[piece] if pieces.i else None
        u, j = pieces.kept
        if last < job.shape[0]:
            u, j = _rooms(job, v, pieces.ends, piece, keeps_j)
            go_forward(its_job._replace(counts=False), its_drive, v, i, k, u, j)
        arrived = None if gy is None else gy[first:last], gv, gi, gn
        own = go_back(its_job, its_drive, Kept(u, j, v, i), k, wanted, arrived, again)
        gv, gi = own.pop("v0"), own.pop("i0", None)
        found = {name: part + found[name] if name in found else part for name, part in own.items()}
    return found | {name: part for name, part in (("v0", gv), ("i0", gi)) if part is not None}


def _rooms(job: Job, like: Tensor, ends: tuple[int, ...], piece: int, keeps_j: bool) -> list[Tensor | None]:
    """Return memory for what the way back through a piece needs."""
    first, last = (0, *ends)[piece + len(ends) if piece < 0 else piece], ends[piece]
    shape = last - first, job.shape[1]
    return [job.room(like, *shape), job.room(like, *shape) if keeps_j else None]


def _of_steps(job: Job, first: int, last: int) -> Job:
    """Return the job of some steps."""
    shape = torch.Size((last - first, *job.shape[1:]))
    return job._replace(shape=shape, steps=(job.steps - first).clip(0, last - first))


def _of_frames(drive: Drive, job: Job, first: int, last: int) -> Drive:
    """Return the events of some steps."""
    assert drive.events is not None
    offsets, *rest = drive.events
    batch = job.shape[1]
    return drive._replace(events=(offsets[first * batch : last * batch], *rest))
