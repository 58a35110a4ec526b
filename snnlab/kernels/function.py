"""A neuron with a step, run by rendered loops or by the plain loop: which of them, and the way into autograd.

Axes: T steps, B samples, then the layer's own; n neurons as they lie in memory.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cache, partial
from importlib.util import find_spec
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from snnlab.errors import SnnlabError
from snnlab.kernels import cpu
from snnlab.kernels.layout import Layout, Pool
from snnlab.kernels.reference import difference, unroll
from snnlab.kernels.traced import Refused, Traced, numbers_of, refuse, traced
from snnlab.threads import share

log = logging.getLogger(__name__)

Backend = Literal["auto", "reference", "numba", "triton"]

# The precisions in which a rendered loop's spikes are those of the plain loop, bit for bit.
EXACT = (torch.float32, torch.float64)

# Neurons of a task: their states stay in the second-level cache.
GROUP = 2**15


class Output(NamedTuple):
    """What a neuron gives.

    Attributes:
        y: Output, `[T, B, ...]`, pooled or not; zeros past a sample's length.
        state: The state after the last valid step.
        counts: Outputs of each neuron, summed over the valid steps, `[B, ...]`; None where nobody asks.
        pooled: Whether y is pooled.
    """

    y: Tensor
    state: Any
    counts: Tensor | None
    pooled: bool = False


def resolve(backend: Backend, device: torch.device, dtype: torch.dtype) -> Backend:
    """Return the backend that runs: itself, or for `auto` the fastest that this device and precision have.

    Raises:
        ValueError: if the one that is named cannot run there.
    """
    if backend == "auto":
        if dtype not in EXACT or torch.compiler.is_compiling():
            return "reference"  # the compiler sees through the plain loop, and not through a rendered one
        if device.type in ("cpu", "meta"):
            return "numba"
        return "triton" if device.type == "cuda" and _has_triton() else "reference"
    if backend == "numba" and device.type not in ("cpu", "meta"):
        raise ValueError(f"backend: numba runs on the CPU, and this is on {device}; set backend: auto")
    if backend == "triton" and device.type != "cuda":
        raise ValueError(f"backend: triton runs on NVIDIA's GPUs, and this is on {device}; set backend: auto")
    if backend == "triton" and not _has_triton():
        raise ValueError("backend: triton needs Triton: pip install triton; or set backend: auto")
    if backend != "reference" and dtype not in EXACT:
        raise ValueError(f"backend: {backend} runs in float32 and float64, not in {dtype}; set backend: auto")
    return backend


@cache
def _has_triton() -> bool:
    return find_spec("triton") is not None


def run(
    step: Callable[..., Any],
    x: Tensor,
    state: Any,
    k: Any,
    lengths: Tensor | None = None,
    *,
    backend: Backend = "auto",
    count: bool = False,
    pool: Pool | None = None,
    inplace: bool = False,
) -> Output:
    """Run all steps of a neuron; outputs and states are those of the plain loop, bit for bit.

    Args:
        step: `step(x, state, k) -> (y, state)`, a method or a function.
        x: Input.
        state: State before it, a NamedTuple.
        k: Coefficients, rounded to the precision of x: a number, a tensor, or nested tuples of them.
        lengths: Valid steps of each sample, or None where all are.
        backend: What runs it; `auto` takes the plain loop where the step cannot be traced.
        count: Whether to count spikes.
        pool: A pooling of the output to do on the way where that is possible; see `Output.pooled`.
        inplace: Whether what is kept for the gradient may be written in x's place, because nobody looks at x again.

    Shape:
        x: `[T, B, ...]`; state: of `[B, ...]`; lengths: `[B]`; tensors of k: broadcast to one sample.

    Raises:
        ValueError: if the state has another shape or precision than a step of x, lengths are not whole numbers, or a
            backend that is named cannot run the step.
    """
    found = plan(step, x, state, k, backend=backend, pool=pool)
    if isinstance(found, str):
        y, state = unroll(step, x, state, k, lengths)
        return Output(y, state, y.sum(0) if count else None)
    return run_traced(found, x, state, k, lengths, count=count, pool=pool, inplace=inplace)


def plan(
    step: Callable[..., Any], x: Tensor, state: Any, k: Any, *, backend: Backend = "auto", pool: Pool | None = None
) -> Traced | str:
    """Return the traced step that `run_traced` takes, or why the plain loop runs: "reference", or what a step does.

    Raises:
        ValueError: if a backend that is named cannot run the step.
    """
    chosen = resolve(backend, x.device, x.dtype)
    if chosen == "reference":
        return chosen
    asks = torch.is_grad_enabled()
    numbers = numbers_of(k)
    wanted = frozenset(
        name for name, value in numbers.items() if asks and isinstance(value, Tensor) and value.requires_grad
    )
    grad = asks and (bool(wanted) or x.requires_grad or any(part.requires_grad for part in _tensors(state)))
    found = traced(step, state, k, wanted, grad=grad, keep_y=pool is not None and pool.kind == "max")
    if isinstance(found, Traced) and found.unchecked:
        found = _checked(found, step, state, k)
    if isinstance(found, Traced):
        return found
    if backend != "auto":
        raise ValueError(f"backend: {backend} cannot run this step: {found.why}")
    return found.why


def _checked(found: Traced, step: Callable[..., Any], state: Any, k: Any) -> Traced | Refused:
    """Compare a step with the plain loop before it runs for the first time; in Python, which compiles nothing."""

    def run(x: Tensor, state: Any, k: Any) -> tuple[Tensor, Any]:
        with _mode("python"):
            done = run_traced(found, x, state, k)
        return done.y, done.state

    exact = not getattr(getattr(step, "__self__", None), "approximate", False)
    problem = difference(run, step, state, k, grad=bool(found.step.to), exact=exact)
    found.unchecked = False
    return found if problem is None else refuse(found, problem)


def _tensors(state: Any) -> Iterator[Tensor]:
    for part in state if isinstance(state, tuple) else (state,):
        if isinstance(part, Tensor):
            yield part
        elif isinstance(part, tuple):
            yield from _tensors(part)


class Call(NamedTuple):
    """What is fixed for all steps of a run.

    Attributes:
        traced: The step.
        layout: How the neurons lie.
        shape: That of all steps, `[T, B, ...]`.
        steps: Valid steps of each sample, `[B]`, or None where all are.
        count: Whether spikes are counted.
        pool: The pooling that is done on the way.
        inplace: Whether x may be written over.
        numbers: What the loops are given of numbers; None in the place of a tensor.
        state: The type of the state.
    """

    traced: Traced
    layout: Layout
    shape: torch.Size
    steps: Tensor | None
    count: bool
    pool: Pool | None
    inplace: bool
    numbers: dict[str, float | None]
    state: Any

    @property
    def sample(self) -> torch.Size:
        """Shape of one sample at one step."""
        return self.shape[2:]

    @property
    def outputs(self) -> torch.Size:
        """Shape of what one sample gives at one step."""
        return self.sample if self.pool is None else self.pool.shape(self.sample)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the variables of the state."""
        return self.state._fields

    def values(self, tensors: Sequence[Tensor]) -> dict[str, Tensor | float]:
        """Return the numbers with their tensors."""
        given = iter(tensors)
        return {name: next(given) if value is None else value for name, value in self.numbers.items()}

    def room(self, like: Tensor, *front: int) -> Tensor:
        """Return memory for rows of neurons."""
        return like.new_empty(*front, self.sample.numel())

    def copied(self, part: Tensor | None, like: Tensor) -> Tensor:
        """Return rows of a state that may be changed, with these values or zeros."""
        rows = self.room(like, self.shape[1])
        return rows.zero_() if part is None else rows.copy_(self.layout.flat(part.detach()))


def run_traced(
    found: Traced,
    x: Tensor,
    state: Any,
    k: Any,
    lengths: Tensor | None = None,
    *,
    count: bool = False,
    pool: Pool | None = None,
    inplace: bool = False,
) -> Output:
    """Run all steps of a traced step; see `run`."""
    step = found.step
    if pool is not None and (not pool.fits(x) or (pool.kind == "max" and not step.binary)):
        pool = None
    layout = Layout.channels_last() if pool is not None else Layout.of(x)
    if layout is None:
        x, layout = x.contiguous(), Layout(tuple(range(x.dim() - 2)))
    for name, part in zip(state._fields, state, strict=True):
        require_state(name, part, x)
    numbers = found.numbers(k)
    floats = {name: None if isinstance(value, Tensor) else value for name, value in numbers.items()}
    steps = valid(lengths, *x.shape[:2])
    call = Call(found, layout, x.shape, steps, count, pool, inplace, floats, type(state))
    tensors = [value for value in numbers.values() if isinstance(value, Tensor)]
    if step.to:
        y, *rest = _Recurrence.apply(call, x, *state, *tensors)
    else:
        y, *rest = go_forward(call, x, state, tensors).outputs(call)
    counts = rest.pop() if count else None
    return Output(y, type(state)(*rest), counts, pool is not None)


def require_state(name: str, part: Tensor, x: Tensor) -> None:
    """Raise a ValueError unless a state has the shape and precision of a step of x."""
    if (part.shape, part.dtype) != (x.shape[1:], x.dtype):
        has, needs = f"{part.dtype} {tuple(part.shape)}", f"{x.dtype} {tuple(x.shape[1:])}"
        raise ValueError(f"the state {name} has to be as a step of x, {needs}, and is {has}")


def valid(lengths: Tensor | None, num_steps: int, batch: int) -> Tensor | None:
    """Return how many steps of each sample are valid, a copy: the way back needs it as it was; None where all are.

    Raises:
        ValueError: if lengths are not whole numbers, one for each sample.
    """
    if lengths is None or lengths.shape == (batch,) == (0,):  # an empty list makes a tensor of floats
        return None
    if lengths.shape != (batch,) or lengths.is_floating_point():
        has = f"{lengths.dtype} {tuple(lengths.shape)}"
        raise ValueError(f"lengths have to be whole numbers of shape ({batch},), one for each sample, and are {has}")
    return lengths.clamp(0, num_steps).to(torch.int64, copy=True)


class Forward(NamedTuple):
    """What a way forward leaves: rows of outputs, states and counts, and what is kept."""

    y: Tensor
    after: list[Tensor]
    counts: Tensor | None
    keep: list[Tensor]

    def outputs(self, call: Call) -> list[Tensor]:
        """Return outputs, states and counts with a sample's own axes."""
        rows = [*self.after, *([] if self.counts is None else [self.counts])]
        return [call.layout.unflat(self.y, call.outputs), *(call.layout.unflat(part, call.sample) for part in rows)]


def go_forward(call: Call, x: Tensor, states: Sequence[Tensor], tensors: Sequence[Tensor]) -> Forward:
    """Go forward through all steps."""
    step, (num_steps, batch), rows = call.traced.step, call.shape[:2], call.layout.flat(x.detach())
    numbers, own = number_rows(call, call.values(tensors), rows)
    inplace = call.inplace and bool(step.keep) and step.x not in step.keep and step.keep[0] is not step.y
    form = cpu.Form(own, call.pool.kind if call.pool else None, inplace, call.count)
    y = rows.new_empty(num_steps, batch, call.outputs.numel())
    there = dict(zip(cpu.in_memory(step, form), (rows, y), strict=False))
    keep = [
        rows if inplace and at == 0 else there[node] if node in there else torch.empty_like(rows)
        for at, node in enumerate(step.keep)
    ]
    after = [call.copied(part, rows) for part in states]
    counts = call.room(rows, batch).zero_() if call.count else None
    given = {"x": rows, "y": y, "counts": counts, **numbers}
    given |= {f"keep{at}": part for at, part in enumerate(keep)}
    given |= {f"s_{name}": part for name, part in zip(call.names, after, strict=True)}
    launched(call, call.traced.loop("forward", form), given, rows)(0, num_steps)
    return Forward(y, after, counts, keep)


def go_back(
    call: Call, keep: Sequence[Tensor], before: Sequence[Tensor], tensors: Sequence[Tensor],
    grads: Sequence[Tensor | None], again: bool,
) -> tuple[Tensor, list[Tensor], list[Tensor | None]]:  # fmt: skip
    """Go back through all steps; return the gradients of the input, of the state before it, and of the tensors.

    Args:
        call: The run.
        keep: What was kept.
        before: The state before the first step.
        tensors: The numbers that are tensors.
        grads: What arrives at the output, at the state after the last step, and at the counts.
        again: Whether somebody may go back once more, so that what was kept must stay.
    """
    step, (num_steps, batch), like = call.traced.step, call.shape[:2], before[0]
    gy, *rest = grads
    gn = rest.pop() if call.count else None
    values = call.values(tensors)
    numbers, own = number_rows(call, values, like)
    inplace = bool(keep) and not again and step.keep[0] not in (step.x, step.y)
    form = cpu.Form(own, call.pool.kind if call.pool else None, inplace, gn is not None, gy is not None)
    dx = keep[0] if inplace else call.room(like, num_steps, batch)
    arriving = [call.copied(part, like) for part in rest]
    sums = {name: like.new_zeros(batch, call.sample.numel(), dtype=torch.float64) for name in sums_of(step)}
    given: dict[str, Any] = {"dx": dx, "gy": rows_of(call, gy), "gn": rows_of(call, gn), **numbers, **sums}
    given |= {f"keep{at}": part for at, part in enumerate(keep)}
    given |= {f"g_{name}": part for name, part in zip(call.names, arriving, strict=True)}
    given |= {
        f"s_{name}": rows_of(call, part) for name, part in zip(call.names, before, strict=True) if name in step.carried
    }
    launched(call, call.traced.loop("backward", form), given, like)(0, num_steps)
    unflat = partial(call.layout.unflat, shape=call.sample)
    return unflat(dx), [unflat(part) for part in arriving], gradients_of(call, values, sums)


def sums_of(step: Any) -> list[str]:
    """Return the names of the gradients of numbers."""
    return [name for name in step.to if name.startswith("d_")]


def gradients_of(call: Call, values: dict[str, Tensor | float], sums: dict[str, Tensor]) -> list[Tensor | None]:
    """Return the gradients of the numbers that are tensors, of sums for each sample and neuron."""
    found: list[Tensor | None] = []
    for name, value in values.items():
        if not isinstance(value, Tensor):
            continue
        part = sums.get(f"d_{name}")
        if part is None:
            found.append(None)
        else:
            of_neurons = call.layout.unflat(part.sum(0), call.sample)
            found.append(of_neurons.sum_to_size(value.shape).to(value.dtype))
    return found


def rows_of(call: Call, part: Tensor | None) -> Tensor | None:
    """Return contiguous rows of neurons."""
    return None if part is None else call.layout.flat(part.detach()).contiguous()


def number_rows(call: Call, values: dict[str, Tensor | float], like: Tensor) -> tuple[dict[str, Any], frozenset[str]]:
    """Return the numbers as loops take them, and of which neurons have their own."""
    given: dict[str, Any] = {}
    own = set()
    for name, value in values.items():
        if isinstance(value, Tensor) and value.numel() > 1:
            own.add(name)
            given[name] = call.layout.of_neurons(value.detach(), call.sample).contiguous()
        else:
            given[name] = value.detach() if isinstance(value, Tensor) else value
    return given, frozenset(own)


_running = threading.local()


@contextmanager
def _mode(mode: Literal["python", "off"]) -> Iterator[None]:
    before = getattr(_running, "mode", None)
    _running.mode = mode
    try:
        yield
    finally:
        _running.mode = before


def without_loops() -> AbstractContextManager[None]:
    """Let the loops of this thread do nothing for a while: what is looked at is the memory that runs take."""
    return _mode("off")


def launched(call: Call, loop: Callable[[], Any], given: dict[str, Any], like: Tensor) -> Callable[..., None]:
    """Return what runs a loop from one step to before another: `(begin, end, skip=0)`."""
    mode = getattr(_running, "mode", None)
    if like.is_meta or mode == "off":
        return lambda begin, end, skip=0: None
    return Launch(call, loop(), given, like, compiled=mode is None)


class Launch:
    """A loop for CPUs with what it is given, ready to run any steps."""

    def __init__(self, call: Call, loop: Any, given: dict[str, Any], like: Tensor, *, compiled: bool) -> None:
        (num_steps, batch), neurons = call.shape[:2], call.sample.numel()
        real = np.float32 if like.dtype == torch.float32 else np.float64
        given |= {"lengths": np.full(batch, num_steps, np.int64) if call.steps is None else call.steps}
        given |= {"batch": np.uintp(batch), "neurons": np.uintp(neurons), "group": _group(call)}
        given |= {"begin": np.uintp(0), "end": np.uintp(0), "skip": np.uintp(0)}
        if call.pool is not None:
            channels, _, width = call.sample
            given |= {"size": np.uintp(call.pool.size), "channels": np.uintp(channels)}
            given |= {"width": np.uintp(width * channels), "windows": np.uintp(width // call.pool.size)}
        self.arguments = [_argument(given[name], real) for name in loop.arguments]
        self.at = loop.arguments.index("begin")
        self.function = loop.prepare(self.arguments) if compiled else loop.plain
        self.tasks = batch * -(-neurons // given["group"])
        self.values = batch * neurons

    def __call__(self, begin: int, end: int, skip: int = 0) -> None:
        self.arguments[self.at : self.at + 3] = np.uintp(begin), np.uintp(end), np.uintp(skip)
        share(partial(self.function, *self.arguments), self.tasks, self.values * (end - begin))


def _argument(value: Any, real: Any) -> Any:
    if isinstance(value, Tensor):
        return value.reshape(-1).numpy() if value.dim() else real(value.item())
    return real(value) if isinstance(value, float) else value


def _group(call: Call) -> int:
    """Return the neurons of a task: fewer where there are fewer samples than threads; nothing else depends on it."""
    neurons, batch = max(1, call.sample.numel()), max(1, call.shape[1])
    parts = math.ceil(torch.get_num_threads() / batch)
    group = max(1, min(GROUP, -(-neurons // parts)))
    if call.pool is None:
        return group
    channels, _, width = call.sample
    piece = call.pool.size * width * channels
    return max(1, group // piece) * piece


class _Recurrence(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, call: Call, x: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        many = len(call.names)
        states, tensors = rest[:many], rest[many:]
        done = go_forward(call, x, states, tensors)
        # Saved as tensors, that autograd lets go of them with the graph, and a checkpoint at once.
        ctx.save_for_backward(*done.keep, *states, *tensors)
        ctx.call = call
        ctx.set_materialize_grads(False)
        # Not as the views that they are: torch lets nobody change views out of here in place.
        return tuple(part.detach() for part in done.outputs(call))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        refuse_second_derivative()
        call: Call = ctx.call
        kept, many = len(call.traced.step.keep), len(call.names)
        saved = ctx.saved_tensors
        keep, before, tensors = saved[:kept], saved[kept : kept + many], saved[kept + many :]
        dx, states, numbers = go_back(call, keep, before, tensors, grads, may_come_again())
        return (None, dx, *states, *numbers)


def may_come_again() -> bool:
    """Return whether the graph outlives the backward pass that runs, as with `retain_graph`."""
    # Where torch does not say, it may.
    keeps = getattr(getattr(torch._C, "_autograd", None), "_get_current_graph_task_keep_graph", None)
    return keeps is None or keeps()


def refuse_second_derivative() -> None:
    """Raise an error in a backward pass that shall be differentiated again.

    PyTorch's `once_differentiable` raises when it is, and only where the gradient that arrives has a graph: after a
    loss that is linear in the spikes, a second derivative would silently miss this neuron's part.

    Raises:
        SnnlabError: if the pass runs with `create_graph`.
    """
    if torch.is_grad_enabled():
        raise SnnlabError(
            "the backward pass of a rendered loop cannot be differentiated again (create_graph); set backend: reference"
            " for second derivatives"
        )
