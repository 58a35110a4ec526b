"""A neuron with a step, run by rendered loops or by the plain loop: which of them, and the way into autograd.

Axes: T steps, B samples, then the layer's own; n neurons as they lie in memory.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cache, lru_cache, partial
from importlib.util import find_spec
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from snnlab.compat import graph_is_kept, in_transform, traced_by_torch
from snnlab.errors import ConfigError, SnnlabError
from snnlab.kernels import gpu
from snnlab.kernels.emit import Form, in_memory, sums
from snnlab.kernels.layout import Layout, Pool
from snnlab.kernels.reference import difference, unroll
from snnlab.kernels.trace import Step
from snnlab.kernels.traced import Direction, Refused, Traced, numbers_of, refuse, say_plain, traced
from snnlab.threads import share

log = logging.getLogger(__name__)

Backend = Literal["auto", "reference", "numba", "triton"]

# The version of all kernels together: raised with what changes the last digits of an output or a gradient. A training
# is the same bit for bit within one version. What recorded none, as before there were versions, was of the first.
KERNELS, FIRST_KERNELS = 2, 1

# The precisions in which a rendered loop's spikes are those of the plain loop, bit for bit.
EXACT = (torch.float32, torch.float64)

# Neurons of a task: their states stay in the second-level cache.
GROUP = 2**15


class Kernel(NamedTuple):
    """What runs a step: as it is traced, and `numba` or `triton`."""

    traced: Traced
    backend: Backend


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


def kernels_of(backend: Backend) -> int | None:
    """Return the version of the kernels that a backend runs; None for the plain loop, which has no versions."""
    return None if backend == "reference" else KERNELS


_AUTO = "set backend: auto"


def resolve(backend: Backend, device: torch.device, dtype: torch.dtype) -> Backend:
    """Return the backend that runs: itself, or for `auto` the fastest that this device and precision have.

    Raises:
        ConfigError: if the one that is named cannot run there.
    """
    if backend == "auto":
        if dtype not in EXACT or traced_by_torch():
            return "reference"  # torch's tools look through the plain loop, and not through a rendered one
        if device.type in ("cpu", "meta"):
            return "numba"
        return "triton" if device.type == "cuda" and _has_triton() else "reference"
    if backend == "numba" and device.type not in ("cpu", "meta"):
        raise ConfigError("backend", f"numba runs on the CPU, and this is on {device}", _AUTO)
    if backend == "triton" and device.type != "cuda":
        raise ConfigError("backend", f"triton runs on NVIDIA's GPUs, and this is on {device}", _AUTO)
    if backend == "triton" and not _has_triton():
        raise ConfigError("backend", "triton needs Triton: pip install triton", f"or {_AUTO}")
    if backend != "reference" and traced_by_torch():
        raise ConfigError("backend", f"{backend} is compiled, and torch's tools cannot look into it", _AUTO)
    if backend != "reference" and dtype not in EXACT:
        raise ConfigError("backend", f"{backend} runs in float32 and float64, not in {dtype}", _AUTO)
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
        ConfigError: if the state has another shape or precision than a step of x, lengths are not whole numbers, or a
            backend that is named cannot run the step.
    """
    found = kernel_for(step, x, state, k, backend=backend, pool=pool)
    if isinstance(found, str):
        y, state = unroll(step, x, state, k, lengths)
        return Output(y, state, y.sum(0) if count else None)
    return run_kernel(found, x, state, k, lengths, count=count, pool=pool, inplace=inplace)


def kernel_for(
    step: Callable[..., Any],
    x: Tensor,
    state: Any,
    k: Any,
    *,
    backend: Backend = "auto",
    pool: Pool | None = None,
    grad: bool = False,
) -> Kernel | str:
    """Return what runs a step, or why the plain loop does: "reference", or what the step does.

    Args:
        step: See `run`.
        x: See `run`.
        state: See `run`.
        k: See `run`.
        backend: See `run`.
        pool: See `run`.
        grad: Whether there is a backward pass even where none of these asks for gradients.

    Raises:
        ConfigError: if a backend that is named cannot run the step.
    """
    chosen = resolve(backend, x.device, x.dtype)
    if chosen == "reference":
        return chosen
    asks, wanted = torch.is_grad_enabled(), frozenset[str]()
    if asks and any(part.requires_grad for part in _tensors(k)):
        parts = numbers_of(k).items()
        wanted = frozenset(name for name, part in parts if isinstance(part, Tensor) and part.requires_grad)
    grad = grad or (asks and (bool(wanted) or x.requires_grad or any(part.requires_grad for part in _tensors(state))))
    found = traced(step, state, k, wanted, grad=grad, keep_y=pool is not None and pool.kind == "max")
    if isinstance(found, Traced) and found.unchecked:
        found = _checked(found, step, state, k)
    if isinstance(found, Traced):
        return Kernel(found, chosen)
    if backend != "auto":
        raise ConfigError("backend", f"{backend} cannot run this step: {found.why}", _AUTO)
    say_plain(found.why)
    return found.why


def _checked(found: Traced, step: Callable[..., Any], state: Any, k: Any) -> Traced | Refused:
    """Compare a step with the plain loop before it runs for the first time; in Python, which compiles nothing."""

    def run(x: Tensor, state: Any, k: Any) -> tuple[Tensor, Any]:
        with _mode("python"):
            done = run_kernel(Kernel(found, "numba"), x, state, k)
        return done.y, done.state

    exact = not getattr(getattr(step, "__self__", None), "approximate", False)
    problem = difference(run, step, state, k, grad=bool(found.step.to), exact=exact)
    found.unchecked = False
    return found if problem is None else refuse(found, problem)


def _tensors(parts: Any) -> Iterator[Tensor]:
    for part in parts if isinstance(parts, tuple) else (parts,):
        if isinstance(part, Tensor):
            yield part
        elif isinstance(part, tuple):
            yield from _tensors(part)


Grads = Sequence[Tensor | None]


class Given(NamedTuple):
    """Tensors that all steps are given.

    Attributes:
        own: What the way through them is given: the input, or what it is made of.
        states: The state before the first step.
        numbers: The numbers that are tensors.
    """

    own: Sequence[Any]
    states: Sequence[Tensor]
    numbers: Sequence[Tensor]


class Call(NamedTuple):
    """What is fixed for all steps of a run.

    Attributes:
        kernel: What runs the step.
        layout: How the neurons lie.
        shape: That of all steps, `[T, B, ...]`.
        steps: Valid steps of each sample, `[B]`, or None where all are.
        counting: Whether spikes are counted.
        pool: The pooling that is done on the way.
        numbers: What the loops are given of numbers; None in the place of a tensor.
        state: The type of the state.
    """

    kernel: Kernel
    layout: Layout
    shape: torch.Size
    steps: Tensor | None
    counting: bool
    pool: Pool | None
    numbers: Mapping[str, float | None]
    state: Any

    @property
    def step(self) -> Step:
        """The step as expressions."""
        return self.kernel.traced.step

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

    def parted(self, given: Sequence[Any]) -> Given:
        """Return tensors that stand one behind the other."""
        numbers = len(given) - [*self.numbers.values()].count(None)
        states = numbers - len(self.names)
        return Given(given[:states], given[states:numbers], given[numbers:])

    def empty(self, like: Tensor, *front: int, dtype: torch.dtype | None = None) -> Tensor:
        """Return memory for samples that lie as those of the input."""
        return self.layout.empty(like, (*front, *self.sample), dtype)

    def copied(self, part: Tensor | None, like: Tensor) -> Tensor:
        """Return a state that may be changed, with these values or zeros."""
        own = self.empty(like, self.shape[1])
        return own.zero_() if part is None else own.copy_(part.detach())

    def laid(self, part: Tensor | None) -> Tensor | None:
        """Return what lies as the input does."""
        return None if part is None else self.layout.laid(part.detach())


def run_kernel(
    kernel: Kernel,
    x: Tensor,
    state: Any,
    k: Any,
    lengths: Tensor | None = None,
    *,
    count: bool = False,
    pool: Pool | None = None,
    inplace: bool = False,
) -> Output:
    """Run all steps of a step that was traced; see `run`."""
    if kernel.backend != "numba":
        pool, inplace = None, False
    if pool is not None and (not pool.fits(x) or (pool.kind == "max" and not kernel.traced.step.binary)):
        pool = None
    x, layout = (x, Layout.channels_last()) if pool is not None else Layout.of(x)
    call, tensors = called(kernel, layout, x, state, k, lengths, count, pool)
    y, *rest = gone_through(_Dense(call, inplace and may_keep_in_x(call)), [x], state, tensors)
    counts = rest.pop() if count else None
    return Output(y, type(state)(*rest), counts, pool is not None)


def called(
    kernel: Kernel,
    layout: Layout,
    x: Tensor,
    state: Any,
    k: Any,
    lengths: Tensor | None,
    count: bool,
    pool: Pool | None,
) -> tuple[Call, list[Tensor]]:
    """Return a run, and its numbers that are tensors.

    Raises:
        ConfigError: if the state has another shape or precision than a step of x, or lengths are not whole numbers.
    """
    for name, part in zip(state._fields, state, strict=True):
        require_state(name, part, x)
    numbers = kernel.traced.numbers(k)
    floats = {name: None if isinstance(value, Tensor) else float(value) for name, value in numbers.items()}
    call = Call(kernel, layout, x.shape, valid(lengths, *x.shape[:2]), count, pool, floats, type(state))
    return call, [value for value in numbers.values() if isinstance(value, Tensor)]


def require_state(name: str, part: Tensor, x: Tensor) -> None:
    """Raise a ConfigError unless a state has the shape and precision of a step of x."""
    if (part.shape, part.dtype) != (x.shape[1:], x.dtype):
        has, needs = f"{part.dtype} {tuple(part.shape)}", f"{x.dtype} {tuple(x.shape[1:])}"
        raise ValueError(f"the state {name} has to be as a step of x, {needs}, and is {has}")


def valid(lengths: Tensor | None, num_steps: int, batch: int) -> Tensor | None:
    """Return how many steps of each sample are valid, a copy: the way back needs it as it was; None where all are.

    Raises:
        ConfigError: if lengths are not whole numbers, one for each sample.
    """
    if lengths is None or lengths.shape == (batch,) == (0,):  # an empty list makes a tensor of floats
        return None
    if lengths.shape != (batch,) or lengths.is_floating_point():
        has = f"{lengths.dtype} {tuple(lengths.shape)}"
        raise ValueError(f"lengths have to be whole numbers of shape ({batch},), one for each sample, and are {has}")
    return lengths.clamp(0, num_steps).to(torch.int64, copy=True)


# -- All steps in one part of the graph -------------------------------------------------------------------------------


class Way(Protocol):
    """How all steps are gone through, forward and back."""

    @property
    def call(self) -> Call:
        """The neurons."""
        ...

    def forward(self, given: Given) -> tuple[list[Tensor], Grads]:
        """Return the outputs, and what is saved besides states and numbers."""
        ...

    def backward(self, saved: Given, grads: Grads, asked: Sequence[bool]) -> Grads:
        """Return the gradients of all that forward was given, of which some are asked for.

        What was saved stands in the place of what is the way's own.
        """
        ...


def gone_through(way: Way, own: Sequence[Any], state: Any, tensors: Sequence[Tensor]) -> list[Any]:
    """Return the outputs of all steps."""
    if way.call.step.to:
        return list(_Recurrence.apply(way, *own, *state, *tensors))
    return way.forward(Given(own, state, tensors))[0]


class _Recurrence(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, way: Way, *tensors: Any) -> tuple[Tensor, ...]:
        given = way.call.parted(tensors)
        outputs, saved = way.forward(given)
        # Saved as tensors, that autograd lets go of them with the graph, and a checkpoint at once.
        ctx.save_for_backward(*saved, *given.states, *given.numbers)
        ctx.way = way
        ctx.set_materialize_grads(False)
        return tuple(outputs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        refuse_second_derivative(*grads)
        way: Way = ctx.way
        return (None, *way.backward(way.call.parted(ctx.saved_tensors), grads, ctx.needs_input_grad[1:]))


def refuse_second_derivative(*grads: Tensor | None) -> None:
    """Raise an error in a backward pass that shall be differentiated again, or is given several gradients at once.

    PyTorch's `once_differentiable` raises when it is, and only where the gradient that arrives has a graph: after a
    loss that is linear in the spikes, a second derivative would silently miss this neuron's part.

    Args:
        grads: What arrives.

    Raises:
        SnnlabError: if the pass runs with `create_graph`, or the gradients are a batch of them.
    """
    if torch.is_grad_enabled():
        raise SnnlabError(
            "",
            "the backward pass of a rendered loop cannot be differentiated again (create_graph)",
            "set backend: reference for second derivatives",
        )
    if in_transform(*grads):
        raise SnnlabError(
            "",
            "the backward pass of a rendered loop takes one gradient at a time (no vmap, no is_grads_batched)",
            "set backend: reference for several at once",
        )


class _Dense(NamedTuple):
    """All steps of neurons whose whole input is there; what is kept first lies in its memory, or not."""

    call: Call
    inplace: bool

    def forward(self, given: Given) -> tuple[list[Tensor], Grads]:
        call, x = self.call, given.own[0].detach()
        y = call.layout.empty(x, (*call.shape[:2], *call.outputs))
        done = Forward(call, x, y, given, inplace=self.inplace)
        done.steps(0, call.shape[0])
        return done.outputs(), done.keep

    def backward(self, saved: Given, grads: Grads, asked: Sequence[bool]) -> Grads:
        call = self.call
        back = Backward(call, saved.own, saved, (call.laid(grads[0]), *grads[1:]), again=graph_is_kept())
        back.steps(0, call.shape[0])
        return [back.dx, *back.before, *back.numbers()]


def may_keep_in_x(call: Call) -> bool:
    """Return whether what is kept first can lie in x's memory."""
    step = call.step
    return bool(step.keep) and step.x not in step.keep and step.keep[0] is not step.y


class Forward:
    """Memory for outputs, states, counts and what is kept; `steps(begin, end, skip=0)` runs some steps.

    Args:
        call: The run.
        x: Inputs; not looked at where there are events.
        y: Outputs, to be written.
        given: State before the first step, and numbers.
        inplace: Whether what is kept first lies in x's memory.
        events: What loops are given of a convolution of events, see `events`.
    """

    def __init__(
        self,
        call: Call,
        x: Tensor,
        y: Tensor,
        given: Given,
        *,
        inplace: bool = False,
        events: Mapping[str, Any] | None = None,
    ) -> None:
        step, (num_steps, batch) = call.step, call.shape[:2]
        numbers, own = _laid_numbers(call, given.numbers)
        form = Form(own, call.pool, inplace, call.counting, events=events is not None)
        there = {node: x if node is step.x else y for node in in_memory(step, form)}
        self.call, self.y = call, y
        self.keep = [
            x if inplace and at == 0 else there[node] if node in there else call.empty(y, num_steps, batch)
            for at, node in enumerate(step.keep)
        ]
        self.after = [call.copied(part, y) for part in given.states]
        self.counts = call.empty(y, batch).zero_() if call.counting else None
        named = {"x": x, "y": y, "counts": self.counts, **numbers, **(events or {})}
        named |= {f"keep{at}": part for at, part in enumerate(self.keep)}
        named |= {f"s_{name}": part for name, part in zip(call.names, self.after, strict=True)}
        self.steps = _launched(call, "forward", form, named, y)

    def outputs(self) -> list[Tensor]:
        """Return outputs, states and counts."""
        return [self.y, *self.after, *([] if self.counts is None else [self.counts])]


class Backward:
    """Memory for gradients; `steps(begin, end, skip=0)` runs some steps, from the one before `end` back.

    `dx` is the gradient of the input, with events that of the bias, summed over time; `before` that of the state.

    Args:
        call: The run.
        keep: What was kept.
        given: State before the first step, and numbers.
        grads: What arrives at the output, as it lies, at the state after the last step, and at the counts.
        again: Whether somebody may go back once more, so that what was kept must stay.
        events: What loops are given of a convolution of events, see `events`.
    """

    def __init__(
        self,
        call: Call,
        keep: Sequence[Tensor],
        given: Given,
        grads: Grads,
        *,
        again: bool,
        events: Mapping[str, Any] | None = None,
    ) -> None:
        step, (num_steps, batch), like = call.step, call.shape[:2], given.states[0]
        gy, *rest = grads
        gn = rest.pop() if call.counting else None
        numbers, own = _laid_numbers(call, given.numbers)
        inplace = bool(keep) and not again and step.keep[0] not in (step.x, step.y) and events is None
        form = Form(own, call.pool, inplace, gn is not None, gy is not None, events is not None)
        self.call, self.given = call, given
        self.dx = keep[0] if inplace else call.empty(like, *[num_steps] * (events is None), batch)
        self.before = [call.copied(part, like) for part in rest]
        self.sums = {name: call.empty(like, batch, dtype=torch.float64).zero_() for name in sums(step)}
        named = {"dx": self.dx, "d_bias": self.dx, "gy": gy, "gn": call.laid(gn), **numbers, **self.sums}
        named |= {f"keep{at}": part for at, part in enumerate(keep)}
        named |= {f"g_{name}": part for name, part in zip(call.names, self.before, strict=True)}
        states = dict(zip(call.names, given.states, strict=True))
        named |= {f"s_{name}": call.laid(states[name]) for name in step.carried}
        if events is not None:
            named |= events
            self.dx.zero_()
        self.steps = _launched(call, "backward", form, named, like)

    def numbers(self) -> list[Tensor | None]:
        """Return the gradients of the numbers that are tensors."""
        names = [name for name, value in self.call.numbers.items() if value is None]
        found: list[Tensor | None] = []
        for name, value in zip(names, self.given.numbers, strict=True):
            part = self.sums.get(f"d_{name}")
            total = None if part is None else part.sum(0)
            found.append(None if total is None else total.sum_to_size(value.shape).to(value.dtype))
        return found


def _laid_numbers(call: Call, tensors: Sequence[Tensor]) -> tuple[Mapping[str, Any], frozenset[str]]:
    """Return the numbers as loops take them, and of which neurons have their own."""
    if not tensors:
        return call.numbers, frozenset()
    # One that has axes all the same, as where a layer has one neuron, is a number of all neurons.
    given = (value.detach().reshape(()) if value.numel() == 1 else value.detach() for value in tensors)
    values = {name: next(given) if value is None else value for name, value in call.numbers.items()}
    own = {name: value for name, value in values.items() if isinstance(value, Tensor) and value.dim()}
    laid = {name: call.layout.laid(value.expand(call.sample)) for name, value in own.items()}
    return values | laid, frozenset(own)


# -- Launches ---------------------------------------------------------------------------------------------------------


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


def loops_run() -> bool:
    """Return whether the loops of this thread run; see `without_loops`."""
    return getattr(_running, "mode", None) != "off"


def _launched(call: Call, way: Direction, form: Form, given: dict[str, Any], like: Tensor) -> Callable[..., None]:
    """Return what runs a loop from one step to before another: `(begin, end, skip=0)`.

    Where the input or its gradient is in memory for the later steps alone, it begins with step `skip`.
    """
    mode, traced = getattr(_running, "mode", None), call.kernel.traced
    if like.is_meta or mode == "off":
        if "y" in given:
            given["y"].zero_()  # spikes, as what comes behind may keep them as bytes
        return lambda begin, end, skip=0: None
    if call.kernel.backend == "numba":
        group = given.get("group") or _group(call)
        lengths = call.steps is not None
        loop = _loop(traced, way, form, call.shape, like.dtype, group, given.get("parts"), lengths, mode is None)
        return loop.given(given if call.steps is None else given | {"lengths": call.steps})
    kernel, names = traced.kernel(way, form)
    lengths = None if call.steps is None else call.steps.to(like.device)
    return gpu.Launch(kernel, names, call.shape, given | {"lengths": lengths}, list(traced.step.numbers), like)


class _Loop:
    """A loop for CPUs with all that it is given of shapes."""

    def __init__(
        self,
        traced: Traced,
        way: Direction,
        form: Form,
        shape: torch.Size,
        dtype: torch.dtype,
        group: int,
        parts: int | None,
        lengths: bool,
        compiled: bool,
    ) -> None:
        self.loop = traced.loop(way, form)
        self.function: Any = None if compiled else self.loop.plain
        self.real = np.float32 if dtype == torch.float32 else np.float64
        (num_steps, batch), neurons = shape[:2], shape[2:].numel()
        fixed: dict[str, Any] = {} if lengths else {"lengths": np.full(batch, num_steps, np.int64)}
        fixed |= {"batch": np.uintp(batch), "neurons": np.uintp(neurons), "windows": np.uintp(0)}
        fixed |= {"begin": np.uintp(0), "end": np.uintp(0), "skip": np.uintp(0), "group": group, "parts": parts}
        if form.pool is not None:
            channels, _, width = shape[2:]
            fixed |= {"size": np.uintp(form.pool.size), "channels": np.uintp(channels)}
            fixed |= {"width": np.uintp(width * channels), "windows": np.uintp(width // form.pool.size)}
        self.fixed = [fixed.get(name) for name in self.loop.arguments]
        self.open = [(at, name) for at, name in enumerate(self.loop.arguments) if name not in fixed]
        self.at = self.loop.arguments.index("begin")
        self.tasks, self.values = batch * -(-neurons // group), batch * neurons
        # Values that take as long as one of other loops.
        self.fast = 2 if form.events else 4
        # The tasks of a part of a kernel's gradient are one thread's, whatever the number of threads.
        self.parts = parts if way == "backward" else None

    def given(self, given: Mapping[str, Any]) -> Callable[..., None]:
        """Return what runs it from one step to before another."""
        arguments = self.fixed.copy()
        for at, name in self.open:
            arguments[at] = _argument(given[name], self.real)
        if self.function is None:
            self.function = self.loop.prepare(arguments)
        function, tasks = self.function, self.tasks

        def steps(begin: int, end: int, skip: int = 0) -> None:
            arguments[self.at : self.at + 3] = np.uintp(begin), np.uintp(end), np.uintp(skip * self.values)
            run, values = partial(function, *arguments), self.values * (end - begin) // self.fast
            if (of := self.parts) is None:
                share(run, tasks, values)
            else:
                share(lambda first, last: run(-(-first * tasks // of), -(-last * tasks // of)), of, values)

        return steps


_loop = lru_cache(maxsize=256)(_Loop)


def _argument(value: Any, real: Any) -> Any:
    if isinstance(value, Tensor):
        return value.numpy().ravel("K") if value.dim() else real(value.item())
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
