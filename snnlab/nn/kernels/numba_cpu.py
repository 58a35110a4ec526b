"""The canonical recurrence in compiled loops for CPUs: what is kept between the walks, and their way into autograd.

Axes: T steps, B samples, n neurons as they lie in memory.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from snnlab.compat import graph_is_kept
from snnlab.event_frames import EventFrames
from snnlab.nn.kernels.checks import require_states
from snnlab.nn.kernels.derivative import refuse_second_derivative
from snnlab.nn.kernels.layout import Layout
from snnlab.nn.kernels.numba_events import Arrays, Convolution, find
from snnlab.nn.kernels.numba_job import Job, valid_steps
from snnlab.nn.kernels.numba_pieces import Pieces, back_in_pieces, ends_of, forward_in_pieces
from snnlab.nn.kernels.numba_walks import Drive, Kept, go_back, go_forward
from snnlab.nn.kernels.pool import Pool
from snnlab.nn.kernels.rule import Rule, Run
from snnlab.nn.neurons.membrane import Coefficients

CHANNELS_LAST = Layout((1, 2, 0))

_INPUTS = ("x", "v0", "i0", "weight", "bias", *Coefficients._fields)


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
) -> Run:
    """Run all steps; outputs and states are those of the plain loop, bit for bit.

    Args:
        x: Input.
        v0: Membrane before it.
        i0: Current before it; None without a synapse.
        k: Numbers of the recurrence; gradients reach those that are tensors.
        rule: The neuron's dialect.
        lengths: Valid steps of each sample, or None where all are.
        count: Whether to count spikes.
        pool: A pooling of the output to do on the way; x is an image then, and lies channels-last.
        overwrite: Whether what is kept for the gradient may be written in x's place, because nobody looks at x again.

    Shape:
        x: `[T, B, ...]`; v0, i0: `[B, ...]`; lengths: `[B]`; members of k: broadcast to one sample.

    Raises:
        ValueError: if the state has another shape or precision than a step of x, or lengths are not whole numbers.
    """
    layout = Layout.of(x) if pool is None else CHANNELS_LAST
    if layout is None:
        x = x.contiguous()
        layout = Layout(tuple(range(x.dim() - 2)))
    steps = valid_steps(lengths, *x.shape[:2])
    job = Job(rule, steps, count and rule.spikes, pool, layout, x.shape, overwrite, None)
    require_states(job.shape[1:], x.dtype, v=v0, i=i0)
    return _run(job, Drive(x, None, None, x.shape[2:]), v0, i0, k)


def run_events(
    frames: Tensor | EventFrames,
    convolution: Convolution,
    v0: Tensor,
    i0: Tensor | None,
    k: Coefficients,
    rule: Rule,
    lengths: Tensor | None,
    count: bool = False,
    pool: Pool | None = None,
) -> Run:
    """Run all steps on a convolution of events, which is summed event by event and is nowhere as a whole.

    Outputs are those of the convolution and then the neurons up to the rounding of the convolution's sums. Gradients
    reach its kernel and bias, and not the frames.

    Args:
        frames: Frames of events, few of whose cells are not zero.
        convolution: What brings them to the neurons.
        v0: See `run`, as the rest.
        i0: See `run`.
        k: See `run`; neither g without a synapse nor b of a synapse that decays first may be learned.
        rule: See `run`.
        lengths: See `run`.
        count: See `run`.
        pool: See `run`.

    Shape:
        frames: `[T, B, P, H, W]`; v0, i0: `[B, features, H', W']`.

    Raises:
        ValueError: see `run`.
    """
    shape = torch.Size((*frames.shape[:2], *convolution.image(frames.shape[2:])))
    job = Job(rule, valid_steps(lengths, *shape[:2]), count, pool, CHANNELS_LAST, shape, False, convolution.padding)
    dtype, lists = (frames.dtype, find(frames)) if isinstance(frames, Tensor) else (frames.like.dtype, frames.lists)
    require_states(job.shape[1:], dtype, v=v0, i=i0)
    drive = Drive(None, lists, convolution, frames.shape[2:])
    return _run(job, drive, v0, i0, k)


def _run(job: Job, drive: Drive, v0: Tensor, i0: Tensor | None, k: Coefficients) -> Run:
    if not torch.is_grad_enabled():
        return go_forward(job, drive, v0, i0, k)
    weight, bias = (None, None) if drive.convolution is None else drive.convolution[:2]
    return Run(*_Recurrence.apply(job, drive.events, drive.frame, drive.x, v0, i0, weight, bias, *k))


class _Recurrence(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        job: Job,
        events: Arrays | None,
        frame: torch.Size,
        x: Tensor | None,
        v0: Tensor,
        i0: Tensor | None,
        weight: Tensor | None,
        bias: Tensor | None,
        *k: Any,
    ) -> Any:
        wanted = {name for name, needed in zip(_INPUTS, ctx.needs_input_grad[3:], strict=True) if needed}
        keeps = _Keeps.of(job, wanted, i0 is not None)
        drive = Drive(x, events, _convolution(job, weight, bias), frame)
        num_steps, batch = job.shape[:2]
        ends, u, j = ends_of(job) if keeps.u else (num_steps,), None, None
        if len(ends) > 1:
            done, pieces = forward_in_pieces(job, drive, v0, i0, Coefficients(*k), ends, keeps.j)
        else:
            j = job.room(v0, num_steps, batch) if keeps.j else None
            if keeps.u:
                given = None if keeps.x or not job.overwrite else x
                u = job.room(v0, num_steps, batch) if given is None else torch.from_numpy(job.layout.rows(given))
            done, pieces = go_forward(job, drive, v0, i0, Coefficients(*k), u, j), None
        if not job.rule.spikes and "a" in wanted:
            u = done.y
        tensors = [number for number in k if isinstance(number, Tensor)]
        # Saved as tensors, that autograd lets go of them with the graph, and a checkpoint at once.
        lists = [torch.from_numpy(part) for part in events or ()]
        held = [] if pieces is None else [*pieces.v, *pieces.i, *pieces.kept]
        ctx.save_for_backward(u, j, x if keeps.x else None, v0, i0, weight, bias, *lists, *held, *tensors)
        ctx.parts, ctx.ends = (len(lists), len(held)), ends
        ctx.numbers = [None if isinstance(number, Tensor) else number for number in k]
        ctx.job, ctx.wanted, ctx.frame, ctx.keeps_j = job, wanted, drive.frame, keeps.j
        ctx.set_materialize_grads(False)
        # Not as the views that they are: torch lets nobody change views out of here in place.
        return tuple(None if part is None else part.detach() for part in done)

    @staticmethod
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grads: Tensor | None
    ) -> tuple[Any, ...]:
        refuse_second_derivative()
        u, j, x, v0, i0, weight, bias, *rest = ctx.saved_tensors
        many, more = ctx.parts
        events, held, tensors = rest[:many], rest[many : many + more], rest[many + more :]
        given = iter(tensors)
        k = Coefficients(*(next(given) if number is None else number for number in ctx.numbers))
        drive = Drive(x, tuple(part.numpy() for part in events) or None, _convolution(ctx.job, weight, bias), ctx.frame)
        again = graph_is_kept()
        if held:
            pieces = Pieces.of(ctx.ends, held)
            found = back_in_pieces(ctx.job, drive, pieces, k, ctx.wanted, ctx.keeps_j, grads, again)
        else:
            found = go_back(ctx.job, drive, Kept(u, j, v0, i0), k, ctx.wanted, grads, again)
        return (None, None, None, *(found.get(name) for name in _INPUTS))


def _convolution(job: Job, weight: Tensor | None, bias: Tensor | None) -> Convolution | None:
    return None if weight is None or job.padding is None else Convolution(weight, bias, job.padding)


class _Keeps(NamedTuple):
    """What the backward walk needs of the forward one."""

    u: bool
    j: bool
    x: bool

    @classmethod
    def of(cls, job: Job, wanted: set[str], synapse: bool) -> _Keeps:
        return cls(
            u=job.rule.spikes and bool(wanted),
            j=synapse and bool(wanted & {"g", "b"}),
            x=("g" in wanted and not synapse) or ("b" in wanted and job.rule.synapse == "decay_first"),
        )
