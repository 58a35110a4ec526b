"""Neurons behind a convolution of events, in pieces of time of which the backward pass computes each again.

What such a layer keeps for each neuron and step can be more than all the rest of a network, and to compute it again
takes a tenth of a training step: its input is a few events, of which nothing else is asked. All numbers are the same
bit for bit, but for gradients that are sums over time, which are added up piece by piece.

Axes: T steps, B samples, n neurons as they lie in memory.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from snnlab.nn.kernels.numba_job import Job
from snnlab.nn.kernels.numba_walks import Drive, Kept, go_back, go_forward, room_for_outputs
from snnlab.nn.kernels.rule import Run
from snnlab.nn.neurons.membrane import Coefficients

# Neurons times steps up to which all is kept, and those of a piece beyond: 128 and 16 MiB in float32.
WHOLE, AT_ONCE = 2**25, 2**22


class Pieces(NamedTuple):
    """Pieces of time and the states before them.

    Attributes:
        ends: Where each piece ends.
        v: Membranes before them, `[B, ...]` each.
        i: Currents before them; none without a synapse.
    """

    ends: tuple[int, ...]
    v: list[Tensor]
    i: list[Tensor]


def ends_of(job: Job) -> tuple[int, ...]:
    """Return where pieces of time end; only T where all is kept."""
    num_steps, neurons = job.shape[0], job.shape[1:].numel()
    if job.padding is None or num_steps * neurons <= WHOLE:
        return (num_steps,)
    return (*range(steps := max(1, AT_ONCE // neurons), num_steps, steps), num_steps)


def forward_in_pieces(
    job: Job, drive: Drive, v0: Tensor, i0: Tensor | None, k: Coefficients, ends: tuple[int, ...]
) -> tuple[Run, Pieces]:
    """Walk forward, and keep the states at the pieces' beginnings alone."""
    pieces = Pieces(ends, [], [])
    y, v, i, n = room_for_outputs(job, v0), v0, i0, None
    for first, last in zip((0, *ends), ends, strict=False):
        pieces.v.append(v)
        pieces.i.extend(() if i is None else (i,))
        done = go_forward(_of_steps(job, first, last), _of_frames(drive, job, first, last), v, i, k, y=y[first:last])
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
) -> dict[str, Tensor]:
    """Walk back, and return the gradients of what is wanted by its name."""
    gy, gv, gi, gn = grads
    found: dict[str, Tensor] = {}
    for piece in reversed(range(len(pieces.ends))):
        first, last = pieces.ends[piece - 1] if piece else 0, pieces.ends[piece]
        its_job, its_drive = _of_steps(job, first, last), _of_frames(drive, job, first, last)
        v, i = pieces.v[piece], pieces.i[piece] if pieces.i else None
        u = job.room(v, last - first, job.shape[1])
        j = torch.empty_like(u) if keeps_j else None
        go_forward(its_job._replace(counts=False), its_drive, v, i, k, u, j)
        arrived = None if gy is None else gy[first:last], gv, gi, gn
        own = go_back(its_job, its_drive, Kept(u, j, v, i), k, wanted, arrived, again=False)
        gv, gi = own.pop("v0"), own.pop("i0", None)
        found = {name: part + found[name] if name in found else part for name, part in own.items()}
    return found | {name: part for name, part in (("v0", gv), ("i0", gi)) if part is not None}


def _of_steps(job: Job, first: int, last: int) -> Job:
    """Return the job of some steps."""
    shape = torch.Size((last - first, *job.shape[1:]))
    return job._replace(shape=shape, steps=(job.steps - first).clip(0, last - first))


def _of_frames(drive: Drive, job: Job, first: int, last: int) -> Drive:
    """Return the events of some steps."""
    assert drive.events is not None
    offsets, *rest = drive.events
    rows = job.shape[1] * drive.frame[0] * drive.frame[1]
    return drive._replace(events=(offsets[first * rows : last * rows + 1], *rest))
