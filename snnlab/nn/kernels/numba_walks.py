"""The compiled walks, called with tensors: the memory that they work in, and what they are told.

Axes: T steps, B samples, n neurons as they lie in memory.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from snnlab.nn.kernels.bells import GIVEN, Bell, bell_of
from snnlab.nn.kernels.numba_backward import backward
from snnlab.nn.kernels.numba_events import NOWHERE, Arrays, Convolution, Reach, none
from snnlab.nn.kernels.numba_forward import forward
from snnlab.nn.kernels.numba_job import RESETS, SYNAPSES, Job, without_graph
from snnlab.nn.kernels.numba_vectors import LANES
from snnlab.nn.kernels.rule import Run
from snnlab.nn.neurons.membrane import Coefficients

# Parts in which the gradient of a kernel is summed, whatever the number of threads.
PARTS = 32


class Drive(NamedTuple):
    """What drives the neurons: an input for each, or a convolution of events.

    Attributes:
        x: The input, `[T, B, ...]`; None where there are events, or where nobody needs it any more.
        events: Events as `find` finds them, or None.
        convolution: What brings them to the neurons.
        frame: Shape of one sample of x, or of a frame.
    """

    x: Tensor | None
    events: Arrays | None
    convolution: Convolution | None
    frame: torch.Size

    def meeting(self, job: Job, like: Tensor) -> tuple[Arrays, Reach]:
        """Return events and their reach as the walks take them."""
        if self.events is None or self.convolution is None:
            return none(like), NOWHERE
        return self.convolution.meeting(self.events, self.frame, job.lines)


class Kept(NamedTuple):
    """What is kept for the backward walk: membrane before resets, current, and the states before the first step.

    Shape:
        u, j: rows of neurons, `[T, B, n]`, but `[T, B, ...]` where u is an integrator's output; v0, i0: `[B, ...]`.
    """

    u: Tensor | None
    j: Tensor | None
    v0: Tensor
    i0: Tensor | None


def go_forward(
    job: Job,
    drive: Drive,
    v0: Tensor,
    i0: Tensor | None,
    k: Coefficients,
    u: Tensor | None = None,
    j: Tensor | None = None,
    y: Tensor | None = None,
) -> Run:
    """Walk forward; write u and j where they are wanted, and the outputs where they shall be."""
    batch = job.shape[1]
    v, i = _copied(job, v0, v0), None if i0 is None else _copied(job, i0, v0)
    n = job.room(v0, batch).zero_() if job.counts else None
    y = room_for_outputs(job, v0) if y is None else y
    walk = partial(
        forward,
        _rows(job, drive.x, v0, 3),
        v.numpy(),
        _array(i, v0, 2),
        *job.table(k, v0.dtype),
        job.steps,
        y.numpy(),
        _array(u, v0, 3),
        _array(j, v0, 3),
        _array(n, v0, 2),
        *drive.meeting(job, v0),
        job.piece,
        job.pooling(),
        RESETS[job.rule.reset],
        job.rule.reset_delay,
        job.rule.strict,
        SYNAPSES[job.rule.synapse],
        job.rule.spikes,
    )
    job.share(walk)
    of_sample = partial(job.layout.spread, shape=job.sample)
    return Run(
        job.layout.spread(y, job.outputs),
        of_sample(v),
        None if i is None else of_sample(i),
        None if n is None else of_sample(n),
    )


def go_back(
    job: Job,
    drive: Drive,
    kept: Kept,
    k: Coefficients,
    wanted: Collection[str],
    grads: tuple[Tensor | None, ...],
    again: bool,
) -> dict[str, Tensor]:
    """Walk back, and return the gradients of what is wanted by its name; u is written over unless it is asked again."""
    num_steps, batch = job.shape[:2]
    like, spikes, events = kept.v0, job.rule.spikes, drive.convolution is not None
    gy, gv, gi, gn = grads
    dv, di = _copied(job, gv, like), None if kept.i0 is None else _copied(job, gi, like)
    bell = Bell(-1) if job.rule.surrogate is None else bell_of(job.rule.surrogate)
    # What is written in place of u is read before: the gradient of the input needs no memory of its own.
    over = kept.u if spikes and not again else None
    dx = None if events else job.room(like, num_steps, batch) if over is None else over
    names = [name for name in Coefficients._fields if name in wanted]
    slots = np.array([names.index(name) if name in names else -1 for name in (*Coefficients._fields, "", "")])
    sums = torch.zeros(len(names), batch, job.sample.numel(), dtype=torch.float64)
    meeting, reach = drive.meeting(job, like)
    # In whole vectors, but without more zeros behind the kernel's rows.
    across = -(-reach[5] * reach[6] // LANES) * LANES
    dkernel = like.new_zeros(PARTS if events and "weight" in wanted else 0, *meeting[-2].shape[:2], across)
    dbias = job.room(like, batch).zero_() if "bias" in wanted else None
    walk = partial(
        backward,
        _rows(job, gy, like, 3),
        _rows(job, gn, like, 2),
        dv.numpy(),
        _array(di, like, 2),
        _array(kept.u, like, 3) if spikes else _rows(job, kept.u, like, 3),
        _array(kept.j, like, 3),
        _array(None, like, 3) if events else _rows(job, drive.x, like, 3),
        _rows(job, kept.v0 if job.rule.reset_delay or "a" in wanted else None, like, 2),
        _rows(job, kept.i0 if "b" in wanted else None, like, 2),
        _given(job, bell, kept, k),
        *job.table(k, like.dtype),
        job.steps,
        _array(dx, like, 3),
        sums.numpy(),
        slots,
        meeting,
        reach,
        dkernel.numpy(),
        _array(dbias, like, 2),
        job.piece,
        job.pooling(),
        RESETS[job.rule.reset],
        job.rule.reset_delay,
        not job.rule.detach_reset,
        job.rule.strict,
        SYNAPSES[job.rule.synapse],
        bell.formula,
        bell.lobes,
    )
    job.share_parts(walk, PARTS) if events else job.share(walk)
    spread = partial(job.layout.spread, shape=job.sample)
    found = {name: part for name, part in (("x", dx), ("v0", dv), ("i0", di)) if part is not None}
    found = {name: spread(part) for name, part in found.items()}
    for name, of_samples in zip(names, sums, strict=True):
        number = getattr(k, name)
        found[name] = spread(of_samples.sum(0)).sum_to_size(number.shape).to(number.dtype)
    if drive.convolution is not None and len(dkernel):
        found["weight"] = drive.convolution.of_kernel(dkernel.sum(0))
    if dbias is not None:
        found["bias"] = spread(dbias).sum((0, 2, 3))
    return found


def room_for_outputs(job: Job, like: Tensor) -> Tensor:
    """Return memory for rows of outputs."""
    return like.new_empty(*job.shape[:2], job.outputs.numel())


def _copied(job: Job, value: Tensor | None, like: Tensor) -> Tensor:
    """Return rows of neurons that may be changed, with these values or zeros."""
    rows = job.room(like, job.shape[1])
    if value is None:
        return rows.zero_()
    job.layout.spread(rows, job.sample).copy_(value)
    return rows


def _given(job: Job, bell: Bell, kept: Kept, k: Coefficients) -> np.ndarray:
    """Return the derivative of the spikes before the first step and at each, where the walk has no formula for it."""
    like = kept.v0
    if bell.formula != GIVEN or kept.u is None or job.rule.surrogate is None:
        return _array(None, like, 3)
    v_threshold = without_graph(k.v_threshold)
    u = job.layout.spread(kept.u, job.sample)
    derivative = job.rule.surrogate.derivative(torch.cat([like[None], u]) - v_threshold, v_threshold)
    return np.ascontiguousarray(job.layout.rows(derivative))


def _rows(job: Job, x: Tensor | None, like: Tensor, dims: int) -> np.ndarray:
    return _array(None, like, dims) if x is None else np.ascontiguousarray(job.layout.rows(x))


def _array(x: Tensor | None, like: Tensor, dims: int) -> np.ndarray:
    """Return a tensor's array, or one without room."""
    return like.new_empty([0] * dims).numpy() if x is None else x.numpy()
