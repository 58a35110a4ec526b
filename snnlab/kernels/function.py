"""Running a neuron's step over time: the choice between rendered loops and the plain loop, and their autograd.

Axes: T steps, B samples, then the layer's own; n neurons in the order of memory.
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
from snnlab.kernels import gpu, trace_check
from snnlab.kernels.emit import LoopVariant, in_memory, number_grads
from snnlab.kernels.layout import Layout, Pool
from snnlab.kernels.reference import copy_to, time_is_cut, unroll
from snnlab.kernels.trace import StepGraph
from snnlab.kernels.trace_cache import (
    Direction,
    TracedStep,
    numbers_of,
    trace_step,
    warn_plain_loop,
)
from snnlab.kernels.trace_check import check_step, compare_run, has_values, tensors_in
from snnlab.threads import share

log = logging.getLogger(__name__)

Backend = Literal["auto", "reference", "numba", "triton"]

# The version of all kernels: raised by each change of the last digits of an output or a gradient. A training is the
# same bit for bit within one version. A run without a recorded version is of the first one.
KERNEL_VERSION = 3

# The dtypes in which a rendered loop gives the spikes of the plain loop, bit for bit.
EXACT = (torch.float32, torch.float64)

# Numbers from here on may overflow in single precision.
LARGE = 1e38

# Most neurons of a task, so that their states stay in the second-level cache.
GROUP = 2**15


class Kernel(NamedTuple):
    """A traced step and the backend that runs it, `numba` or `triton`."""

    traced: TracedStep
    backend: Backend


class KernelOutput(NamedTuple):
    """Output of a neuron.

    Attributes:
        y: Output, `[T, B, ...]`, pooled or not; zeros past a sample's length.
        state: The state after the last valid step.
        counts: Outputs of each neuron, summed over the valid steps, `[B, ...]`; None if not counted.
        pooled: Whether y is pooled.
    """

    y: Tensor
    state: Any
    counts: Tensor | None
    pooled: bool = False


def kernel_version(backend: Backend) -> int | None:
    """Return the version of the kernels that a backend runs; None for the plain loop, which has none."""
    return None if backend == "reference" else KERNEL_VERSION


_AUTO = "set backend: auto"


def resolve_backend(backend: Backend, device: torch.device, dtype: torch.dtype) -> Backend:
    """Return the backend that runs; for `auto`, the fastest one for a device and a dtype."""
    if backend == "auto":
        if dtype not in EXACT or traced_by_torch():
            return "reference"  # torch's tools can trace the plain loop only
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
        raise ConfigError("backend", f"{backend} is compiled, and torch's tools cannot trace it", _AUTO)
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
) -> KernelOutput:
    """Run all steps of a neuron; outputs and states equal those of the plain loop, bit for bit.

    Args:
        step: `step(x, state, k) -> (y, state)`, a method or a function.
        x: Input.
        state: State before the first step, a NamedTuple.
        k: Coefficients, rounded to the dtype of x: a number, a tensor, or nested tuples of them.
        lengths: Valid steps of each sample; None if all are.
        backend: The backend; `auto` takes the plain loop if the step cannot be traced.
        count: Whether to count spikes.
        pool: A pooling to fuse with the neuron where possible; `KernelOutput.pooled` says whether it was.
        inplace: Whether values saved for the backward pass may overwrite x, because no other code reads x.

    Shape:
        x: `[T, B, ...]`; state: of `[B, ...]`; lengths: `[B]`; tensors of k: broadcast to one sample.
    """
    found = kernel_for(step, x, state, k, backend=backend, pool=pool)
    if isinstance(found, str):
        require_coefficients(numbers_of(k), x.shape[2:])
        y, state = unroll(step, x, state, k, lengths)
        return KernelOutput(y, state, y.sum(0) if count else None)
    if trace_check.CHECK_TRACES and _can_compare(x, k):
        compare_run(partial(_output_and_state, found, lengths), found.traced, step, x, state, k, lengths)
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
    """Return the kernel for a step, or a text if the plain loop runs: "reference", or why the step cannot be traced.

    Args:
        step: `step(x, state, k) -> (y, state)`.
        x: Input, as for `run`.
        state: State before the first step, a NamedTuple.
        k: Coefficients.
        backend: The backend, or `auto`.
        pool: A pooling to fuse with the neuron.
        grad: Whether there is a backward pass even if none of x, state and k requires a gradient.
    """
    chosen = resolve_backend(backend, x.device, x.dtype)
    if chosen == "reference":
        return chosen
    enabled, learned = torch.is_grad_enabled(), frozenset[str]()
    if enabled and any(part.requires_grad for part in tensors_in(k)):
        parts = numbers_of(k).items()
        learned = frozenset(name for name, part in parts if isinstance(part, Tensor) and part.requires_grad)
    grad = grad or (enabled and (bool(learned) or any(part.requires_grad for part in (x, *tensors_in(state)))))
    save_y = pool is not None and pool.kind == "max"
    found = trace_step(step, state, k, learned, dtype=x.dtype, grad=grad, save_y=save_y)
    if isinstance(found, TracedStep) and (found.unchecked or trace_check.CHECK_TRACES) and _can_compare(x, k):
        require_states(state, x)
        found = check_step(partial(_run_in_python, found), found, step, state, k)
    if isinstance(found, TracedStep):
        return Kernel(found, chosen)
    if backend != "auto":
        raise ConfigError("backend", f"{backend} cannot run this step: {found.reason}", _AUTO)
    warn_plain_loop(found.reason)
    return found.reason


def _can_compare(x: Tensor, k: Any) -> bool:
    return loops_enabled() and has_values(x, k)  # a memory estimate runs no loops


def _output_and_state(kernel: Kernel, lengths: Tensor | None, x: Tensor, state: Any, k: Any) -> tuple[Tensor, Any]:
    output = run_kernel(kernel, x, state, k, lengths)
    return output.y, output.state


def _run_in_python(traced: TracedStep, x: Tensor, state: Any, k: Any) -> tuple[Tensor, Any]:
    with _kernels_in_mode("python"), np.errstate(all="ignore"):
        return _output_and_state(Kernel(traced, "numba"), None, x, state, k)


Grads = Sequence[Tensor | None]


class KernelArgs(NamedTuple):
    """The tensor arguments of a time loop.

    Attributes:
        inputs: Arguments of the loop itself: the input, or tensors that determine it; in the backward pass, saved ones.
        states: The state before the first step.
        numbers: The numbers that are tensors.
    """

    inputs: Sequence[Any]
    states: Sequence[Tensor]
    numbers: Sequence[Tensor]


class KernelCall(NamedTuple):
    """The settings of one call of a kernel, the same for all steps.

    Attributes:
        kernel: The kernel.
        layout: Memory layout of the neurons.
        shape: Shape of the input, `[T, B, ...]`.
        lengths: Valid steps of each sample, `[B]`; None if all are.
        count_spikes: Whether spikes are counted.
        pool: The fused pooling, or None.
        numbers: The loops' numbers by name; None for a tensor.
        state: The type of the state.
        cut: Whether no gradient passes from a step to the one before.
    """

    kernel: Kernel
    layout: Layout
    shape: torch.Size
    lengths: Tensor | None
    count_spikes: bool
    pool: Pool | None
    numbers: Mapping[str, float | None]
    state: Any
    cut: bool = False

    def last_state(self, parts: Sequence[Tensor]) -> Any:
        """Return the state after the last step."""
        return self.state(*(part.detach() if self.cut else part for part in parts))

    @property
    def step(self) -> StepGraph:
        """The expressions of the step."""
        return self.kernel.traced.step

    @property
    def sample(self) -> torch.Size:
        """Shape of one sample at one step."""
        return self.shape[2:]

    @property
    def output_shape(self) -> torch.Size:
        """Shape of one sample's output at one step."""
        return self.sample if self.pool is None else self.pool.shape(self.sample)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the state variables."""
        return self.state._fields

    def split(self, tensors: Sequence[Any]) -> KernelArgs:
        """Split one sequence of tensors into inputs, states and numbers."""
        numbers = len(tensors) - [*self.numbers.values()].count(None)
        states = numbers - len(self.names)
        return KernelArgs(tensors[:states], tensors[states:numbers], tensors[numbers:])

    def empty(self, like: Tensor, *front: int, dtype: torch.dtype | None = None) -> Tensor:
        """Return uninitialized memory `[*front, ...]` for samples, in the layout of the input."""
        return self.layout.empty(like, (*front, *self.sample), dtype)

    def new_state(self, values: Tensor | None, like: Tensor) -> Tensor:
        """Return a new tensor `[B, ...]` with these values, or zeros, in the layout of the input."""
        state = self.empty(like, self.shape[1])
        return state.zero_() if values is None else state.copy_(values.detach())

    def to_layout(self, tensor: Tensor | None) -> Tensor | None:
        """Return a tensor in the layout of the input."""
        return None if tensor is None else self.layout.to_layout(tensor.detach())


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
) -> KernelOutput:
    """Run all steps with a kernel; the arguments are those of `run`."""
    if kernel.backend != "numba":
        pool, inplace = None, False
    if pool is not None and (not pool.fits(x) or (pool.kind == "max" and not kernel.traced.step.binary)):
        pool = None
    x, layout = (x, Layout.channels_last()) if pool is not None else Layout.infer(x)
    call, tensors = make_call(kernel, layout, x, state, k, lengths, count, pool)
    y, *rest = run_time_loop(_DenseLoop(call, inplace and can_save_in_x(call)), [x], state, tensors)
    counts = rest.pop() if count else None
    return KernelOutput(y, call.last_state(rest), counts, pool is not None)


def make_call(
    kernel: Kernel,
    layout: Layout,
    x: Tensor,
    state: Any,
    k: Any,
    lengths: Tensor | None,
    count: bool,
    pool: Pool | None,
) -> tuple[KernelCall, list[Tensor]]:
    """Return the settings of a call, and its numbers that are tensors."""
    require_states(state, x)
    numbers = kernel.traced.numbers(k)
    require_coefficients(numbers, x.shape[2:])
    floats = {name: None if isinstance(value, Tensor) else float(value) for name, value in numbers.items()}
    valid, cut = valid_lengths(lengths, *x.shape[:2]), time_is_cut()
    call = KernelCall(kernel, layout, x.shape, valid, count, pool, floats, type(state), cut)
    return call, [value for value in numbers.values() if isinstance(value, Tensor)]


def require_states(state: Any, x: Tensor) -> None:
    """Raise a ValueError unless each part of a state has the shape and dtype of a step of x."""
    for name, part in zip(state._fields, state, strict=True):
        require_state(name, part, x)


def require_state(name: str, part: Tensor, x: Tensor) -> None:
    """Raise a ValueError unless a state has the shape and dtype of a step of x."""
    if (part.shape, part.dtype) != (x.shape[1:], x.dtype):
        has, needs = f"{part.dtype} {tuple(part.shape)}", f"{x.dtype} {tuple(x.shape[1:])}"
        raise ValueError(f"the state {name} must have the dtype and shape of a step of x, {needs}, and has {has}")


def require_coefficients(numbers: Mapping[str, float | Tensor], sample: torch.Size) -> None:
    """Raise a ValueError unless each coefficient is one number, or broadcasts to the neurons of one sample."""
    for name, value in numbers.items():
        if not isinstance(value, Tensor) or value.numel() == 1:
            continue
        axes = zip(reversed(value.shape), reversed(sample), strict=False)
        if value.dim() > len(sample) or any(own not in (1, size) for own, size in axes):
            has = f"the shape {tuple(value.shape)}"
            raise ValueError(
                f"the coefficient {name} must broadcast to {tuple(sample)}, one sample's neurons; it has {has}"
            )


def valid_lengths(lengths: Tensor | None, num_steps: int, batch: int) -> Tensor | None:
    """Return the valid steps of each sample, as a copy for the backward pass; None if all are."""
    if lengths is None or lengths.shape == (batch,) == (0,):  # an empty list makes a tensor of floats
        return None
    if lengths.shape != (batch,) or lengths.is_floating_point():
        has = f"{lengths.dtype} {tuple(lengths.shape)}"
        raise ValueError(f"lengths must be whole numbers of shape ({batch},), one for each sample, and are {has}")
    return lengths.clamp(0, num_steps).to(torch.int64, copy=True)


# -- All steps in one node of the autograd graph ----------------------------------------------------------------------


class TimeLoop(Protocol):
    """A loop over all steps, forward and backward."""

    @property
    def call(self) -> KernelCall:
        """The settings of the call."""
        ...

    def forward(self, args: KernelArgs) -> tuple[list[Tensor], Grads]:
        """Return the outputs, and the tensors to save besides states and numbers."""
        ...

    def backward(self, saved: KernelArgs, grads: Grads, needs_grad: Sequence[bool]) -> Grads:
        """Return the gradients of the arguments of forward; `saved.inputs` are the tensors that forward saved."""
        ...


def run_time_loop(loop: TimeLoop, inputs: Sequence[Any], state: Any, tensors: Sequence[Tensor]) -> list[Any]:
    """Return the outputs of all steps."""
    if loop.call.step.grads:
        return list(_LoopFunction.apply(loop, *inputs, *state, *tensors))
    return loop.forward(KernelArgs(inputs, state, tensors))[0]


class _LoopFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, loop: TimeLoop, *tensors: Any) -> tuple[Tensor, ...]:
        args = loop.call.split(tensors)
        outputs, saved = loop.forward(args)
        # As saved tensors, so that autograd frees them with the graph, and checkpointing at once.
        ctx.save_for_backward(*saved, *args.states, *args.numbers)
        ctx.loop = loop
        ctx.set_materialize_grads(False)
        return tuple(outputs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        refuse_second_derivative(*grads)
        loop: TimeLoop = ctx.loop
        return (None, *loop.backward(loop.call.split(ctx.saved_tensors), grads, ctx.needs_input_grad[1:]))


def refuse_second_derivative(*grads: Tensor | None) -> None:
    """Raise an error in a backward pass that will be differentiated again, or that gets a batch of gradients.

    PyTorch's `once_differentiable` raises in the second derivative only, and only if the incoming gradient has a graph:
    with a loss that is linear in the spikes, a second derivative would silently miss this neuron's part.

    Args:
        grads: The incoming gradients.
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


class _DenseLoop(NamedTuple):
    """The loop of neurons with a dense input; `inplace`: the first saved value overwrites it."""

    call: KernelCall
    inplace: bool

    def forward(self, args: KernelArgs) -> tuple[list[Tensor], Grads]:
        call, x = self.call, args.inputs[0].detach()
        y = call.layout.empty(x, (*call.shape[:2], *call.output_shape))
        done = ForwardPass(call, x, y, args, inplace=self.inplace)
        done.run(0, call.shape[0])
        return done.outputs(), done.saved

    def backward(self, saved: KernelArgs, grads: Grads, needs_grad: Sequence[bool]) -> Grads:
        call, again = self.call, graph_is_kept()
        back = BackwardPass(call, saved.inputs, saved, (call.to_layout(grads[0]), *grads[1:]), again=again)
        back.run(0, call.shape[0])
        return [back.dx, *back.state_grads, *back.numbers()]


def can_save_in_x(call: KernelCall) -> bool:
    """Return whether the first saved value can overwrite x."""
    step = call.step
    return bool(step.saved) and step.x not in step.saved and step.saved[0] is not step.y


class ForwardPass:
    """Memory for outputs, states, counts and saved values; `run(begin, end, skip=0)` runs some steps.

    Args:
        call: The settings of the call.
        x: Inputs; not read if there are events.
        y: Outputs, written.
        args: State before the first step, and numbers.
        inplace: Whether the first saved value overwrites x.
        events: Arguments of the loop for a convolution of events, by name.
    """

    def __init__(
        self,
        call: KernelCall,
        x: Tensor,
        y: Tensor,
        args: KernelArgs,
        *,
        inplace: bool = False,
        events: Mapping[str, Any] | None = None,
    ) -> None:
        step, (num_steps, batch) = call.step, call.shape[:2]
        numbers, per_neuron = _numbers_in_layout(call, args.numbers)
        options = LoopVariant(per_neuron, call.pool, inplace, call.count_spikes, events=events is not None)
        existing = {node: x if node is step.x else y for node in in_memory(step, options)}
        self.call, self.y = call, y
        self.saved = [
            x if inplace and at == 0 else existing[node] if node in existing else call.empty(y, num_steps, batch)
            for at, node in enumerate(step.saved)
        ]
        self.state = [call.new_state(part, y) for part in args.states]
        self.counts = call.empty(y, batch).zero_() if call.count_spikes else None
        named = {"x": x, "y": y, "counts": self.counts, **numbers, **(events or {})}
        named |= {f"saved{at}": part for at, part in enumerate(self.saved)}
        named |= {f"s_{name}": part for name, part in zip(call.names, self.state, strict=True)}
        self.run = _bind_loop(call, "forward", options, named, y)

    def outputs(self) -> list[Tensor]:
        """Return outputs, states and counts."""
        return [self.y, *self.state, *([] if self.counts is None else [self.counts])]


class BackwardPass:
    """Memory for gradients; `run(begin, end, skip=0)` runs some steps backward, from the one before `end`.

    `dx` is the gradient of the input (with events: of the bias, summed over time), `state_grads` that of the state.

    Args:
        call: The settings of the call.
        saved: The saved values.
        args: State before the first step, and numbers.
        grads: Incoming gradients of the output (in the layout of the call), of the last state, and of the counts.
        again: Whether another backward pass may follow, so that saved values must not be overwritten.
        events: Arguments of the loop for a convolution of events, by name.
    """

    def __init__(
        self,
        call: KernelCall,
        saved: Sequence[Tensor],
        args: KernelArgs,
        grads: Grads,
        *,
        again: bool,
        events: Mapping[str, Any] | None = None,
    ) -> None:
        step, (num_steps, batch), like = call.step, call.shape[:2], args.states[0]
        gy, *rest = grads
        gn = rest.pop() if call.count_spikes else None
        numbers, per_neuron = _numbers_in_layout(call, args.numbers)
        inplace = bool(saved) and not again and step.saved[0] not in (step.x, step.y) and events is None
        has_events = events is not None
        options = LoopVariant(per_neuron, call.pool, inplace, gn is not None, gy is not None, has_events, call.cut)
        self.call, self.args = call, args
        self.dx = saved[0] if inplace else call.empty(like, *[num_steps] * (events is None), batch)
        self.state_grads = [call.new_state(part, like) for part in rest]
        self.sums = {name: call.empty(like, batch, dtype=torch.float64).zero_() for name in number_grads(step)}
        named = {"dx": self.dx, "d_bias": self.dx, "gy": gy, "gn": call.to_layout(gn), **numbers, **self.sums}
        named |= {f"saved{at}": part for at, part in enumerate(saved)}
        named |= {f"g_{name}": part for name, part in zip(call.names, self.state_grads, strict=True)}
        states = dict(zip(call.names, args.states, strict=True))
        named |= {f"s_{name}": call.to_layout(states[name]) for name in step.recomputed}
        if events is not None:
            named |= events
            self.dx.zero_()
        self.run = _bind_loop(call, "backward", options, named, like)

    def numbers(self) -> list[Tensor | None]:
        """Return the gradients of the numbers that are tensors."""
        names = [name for name, value in self.call.numbers.items() if value is None]
        found: list[Tensor | None] = []
        for name, value in zip(names, self.args.numbers, strict=True):
            part = self.sums.get(f"d_{name}")
            total = None if part is None else part.sum(0)
            found.append(None if total is None else total.sum_to_size(value.shape).to(value.dtype))
        return found


def _numbers_in_layout(call: KernelCall, tensors: Sequence[Tensor]) -> tuple[Mapping[str, Any], frozenset[str]]:
    """Return the numbers as arguments of the loops, and the names of those with one value per neuron."""
    if not tensors:
        return call.numbers, frozenset()
    # A tensor with one value, as in a layer of one neuron, is a number shared by all neurons.
    remaining = (value.detach().reshape(()) if value.numel() == 1 else value.detach() for value in tensors)
    values = {name: next(remaining) if value is None else value for name, value in call.numbers.items()}
    per_neuron = {name: value for name, value in values.items() if isinstance(value, Tensor) and value.dim()}
    expanded = {name: call.layout.to_layout(value.expand(call.sample)) for name, value in per_neuron.items()}
    return values | expanded, frozenset(per_neuron)


# -- Launches ---------------------------------------------------------------------------------------------------------


_running = threading.local()


@contextmanager
def _kernels_in_mode(mode: Literal["python", "off"]) -> Iterator[None]:
    before = getattr(_running, "mode", None)
    _running.mode = mode
    try:
        yield
    finally:
        _running.mode = before


def loops_disabled() -> AbstractContextManager[None]:
    """Skip the kernels' loops in this thread within the context; a memory estimate does not need their values."""
    return _kernels_in_mode("off")


def loops_enabled() -> bool:
    """Return whether the loops of this thread are enabled; `loops_disabled` disables them."""
    return getattr(_running, "mode", None) != "off"


def _bind_loop(
    call: KernelCall, direction: Direction, options: LoopVariant, args: dict[str, Any], like: Tensor
) -> Callable[..., None]:
    """Return a function `(begin, end, skip=0)` that runs a loop from step `begin` to before `end`.

    The input or its gradient may be in memory from step `skip` on only.
    """
    mode, traced = getattr(_running, "mode", None), call.kernel.traced
    if like.is_meta or mode == "off":
        if "y" in args:
            args["y"].zero_()  # valid spikes, because a later layer may convert them to bytes
        return lambda begin, end, skip=0: None
    if call.kernel.backend == "numba":
        group = args.get("group") or _group_size(call)
        lengths = call.lengths is not None
        parts, compiled = args.get("parts"), mode is None
        loop = _loop(traced, direction, options, call.shape, like.dtype, group, parts, lengths, compiled)
        return loop.bind(args if call.lengths is None else args | {"lengths": call.lengths})
    kernel, names = traced.kernel(direction, options)
    lengths = None if call.lengths is None else copy_to(like.device, call.lengths)
    return gpu.KernelLaunch(kernel, names, call.shape, args | {"lengths": lengths}, list(traced.step.numbers), like)


class _CpuLoop:
    """A loop for CPUs with its arguments that depend on shapes only."""

    def __init__(
        self,
        traced: TracedStep,
        direction: Direction,
        options: LoopVariant,
        shape: torch.Size,
        dtype: torch.dtype,
        group: int,
        parts: int | None,
        lengths: bool,
        compiled: bool,
    ) -> None:
        self.loop = traced.loop(direction, options)
        self.function: Any = None if compiled else self.loop.plain
        self.real = np.float32 if dtype == torch.float32 else np.float64
        (num_steps, batch), neurons = shape[:2], shape[2:].numel()
        fixed: dict[str, Any] = {} if lengths else {"lengths": np.full(batch, num_steps, np.int64)}
        fixed |= {"batch": np.uintp(batch), "neurons": np.uintp(neurons), "windows": np.uintp(0)}
        fixed |= {"begin": np.uintp(0), "end": np.uintp(0), "skip": np.uintp(0), "group": group, "parts": parts}
        if options.pool is not None:
            channels, _, width = shape[2:]
            fixed |= {"size": np.uintp(options.pool.size), "channels": np.uintp(channels)}
            fixed |= {"width": np.uintp(width * channels), "windows": np.uintp(width // options.pool.size)}
        self.fixed = [fixed.get(name) for name in self.loop.arguments]
        self.variable = [(at, name) for at, name in enumerate(self.loop.arguments) if name not in fixed]
        self.begin_index = self.loop.arguments.index("begin")
        self.tasks, self.values = batch * -(-neurons // group), batch * neurons
        # Values of this loop that take the time of one in `share`.
        self.speed = 2 if options.events else 4
        # One thread runs all tasks of a part of the kernel's gradient, for any number of threads.
        self.parts = parts if direction == "backward" else None

    def bind(self, args: Mapping[str, Any]) -> Callable[..., None]:
        """Return a function `(begin, end, skip=0)` that runs the loop with these arguments."""
        arguments = self.fixed.copy()
        for at, name in self.variable:
            arguments[at] = _to_argument(args[name], self.real)
        if self.function is None:
            self.function = self.loop.prepare(arguments)
        function, tasks = self.function, self.tasks

        def run_steps(begin: int, end: int, skip: int = 0) -> None:
            steps = np.uintp(begin), np.uintp(end), np.uintp(skip * self.values)
            arguments[self.begin_index : self.begin_index + 3] = steps
            run, values = partial(function, *arguments), self.values * (end - begin) // self.speed
            if (parts := self.parts) is None:
                share(run, tasks, values)
            else:
                share(lambda first, last: run(-(-first * tasks // parts), -(-last * tasks // parts)), parts, values)

        return run_steps


_loop = lru_cache(maxsize=256)(_CpuLoop)


def _to_argument(value: Any, real: Any) -> Any:
    if isinstance(value, Tensor):
        return value.numpy().ravel("K") if value.dim() else real(value.item())
    if not isinstance(value, float):
        return value
    if abs(value) < LARGE:
        return real(value)
    with np.errstate(over="ignore"):  # infinite in single precision, as in torch
        return real(value)


def _group_size(call: KernelCall) -> int:
    """Return the neurons of a task: fewer if there are fewer samples than threads; results do not depend on it."""
    neurons, batch = max(1, call.sample.numel()), max(1, call.shape[1])
    groups = math.ceil(torch.get_num_threads() / batch)
    group = max(1, min(GROUP, -(-neurons // groups)))
    if call.pool is None:
        return group
    channels, _, width = call.sample
    block = call.pool.size * width * channels
    return max(1, group // block) * block
