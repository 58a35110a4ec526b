"""The plain loop over time: the reference for every rendered loop, and their comparison.

Axes: T steps, B samples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from snnlab.compat import traced_by_torch
from snnlab.kernels.trace_cache import map_coefficients, numbers_of

# Largest error for a correct trace, relative to the largest entry.
_TOLERANCE = 1e-4

StepFunction = Callable[[Tensor, Any, Any], tuple[Tensor, Any]]

_time_cut: ContextVar[bool] = ContextVar("time_cut", default=False)


@contextmanager
def cut_time(cut: bool = True) -> Iterator[None]:
    """Let no gradient pass from a step of a neuron to the one before, in this thread, within a `with` block.

    Args:
        cut: False: let it pass, within such a block.
    """
    token = _time_cut.set(cut)
    try:
        yield
    finally:
        _time_cut.reset(token)


def time_is_cut() -> bool:
    """Return whether no gradient passes from a step to the one before."""
    # torch.compile does not support context variables.
    return not torch.compiler.is_compiling() and _time_cut.get()


def detached(state: Any) -> Any:
    """Return a state, of nested dicts and tuples, without its gradient."""
    if isinstance(state, Tensor):
        return state.detach()
    if isinstance(state, dict):
        return {name: detached(part) for name, part in state.items()}
    if isinstance(state, tuple):
        parts = [detached(part) for part in state]
        return type(state)(*parts) if hasattr(state, "_fields") else type(state)(parts)
    return state


def unroll(step: StepFunction, x: Tensor, state: Any, coefficients: Any, lengths: Tensor | None) -> tuple[Tensor, Any]:
    """Apply `step(x[t], state, coefficients) -> (y[t], state)` for t = 0 .. T-1.

    Steps past a sample's length give zeros and leave its state where it was. Within `cut_time`, states are constants.

    Shape:
        x: `[T, B, ...]`; state: a NamedTuple of `[B, ...]`, or of such NamedTuples; lengths: `[B]`; returns
        `[T, B, ...]` and the state.
    """
    num_steps, batch = x.shape[:2]
    valid = valid_steps(lengths, num_steps, x)
    outputs, cut = [], time_is_cut()
    state = detached(state) if cut else state
    # Splitting and joining along the folded axis keeps channels-last memory; a graph with a dynamic batch cannot do it.
    steps = x.unbind() if traced_by_torch() else x.flatten(0, 1).split(batch)
    for t, x_t in enumerate(steps):
        y, after = step(x_t, state, coefficients)
        if valid is not None:
            y = torch.where(valid[t], y, 0)
            after = _choose(valid[t], after, state)
        outputs.append(y)
        state = detached(after) if cut else after
    return torch.cat(outputs).unflatten(0, (num_steps, batch)), state


def valid_steps(lengths: Tensor | None, num_steps: int, like: Tensor) -> Tensor | None:
    """Return the mask of steps within each sample's length, on the device of `like`; None if all are.

    Shape:
        lengths: `[B]`; like: `[T, B, ...]`; returns bool `[T, B, 1, ...]`, ready to broadcast against `like`.
    """
    if (lengths := short_lengths(lengths, num_steps)) is None:
        return None
    lengths = copy_to(like.device, lengths)
    valid = torch.arange(num_steps, device=lengths.device)[:, None] < lengths
    return valid.reshape(*valid.shape, *[1] * (like.dim() - 2))


def short_lengths(lengths: Tensor | None, num_steps: int) -> Tensor | None:
    """Return the lengths, or None if no sample is shorter than `num_steps`.

    Only host memory is read: to read the memory of a device is to wait for it. Lengths there are returned as they are.
    """
    if lengths is None or lengths.device.type != "cpu" or traced_by_torch():
        return lengths
    return None if bool((lengths >= num_steps).all()) else lengths


def in_host_memory(lengths: Tensor | None) -> Tensor | None:
    """Return lengths where they can be read; those of a device are copied, which waits for it."""
    return lengths if lengths is None or traced_by_torch() else lengths.cpu()


def copy_to(device: torch.device, values: Tensor) -> Tensor:
    """Return values on a device; if they are in host memory, without waiting for the device."""
    # From a device to host memory the copy has to be waited for: it would be read before it is complete.
    return values.to(device, non_blocking=values.device.type == "cpu")


def _choose(valid: Tensor, new: Any, old: Any) -> Any:
    """Return the state `new` of valid samples, and `old` of the others."""
    if isinstance(new, Tensor):
        return torch.where(valid, new, old)
    return type(new)(*(_choose(valid, *pair) for pair in zip(new, old, strict=True)))


def small_sample(state: Any, k: Any, seed: int = 0) -> tuple[Tensor, Any, Any]:
    """Return random input, state and coefficients of 4 steps of 16 neurons, near the first values of a state and k."""
    generator = torch.Generator().manual_seed(seed)
    like = next(iter(state))

    def random_values(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator).to(like.dtype)

    def first(part: Any) -> Any:
        if not isinstance(part, Tensor):
            return part
        return part.detach().reshape(-1)[:1].cpu().clone().requires_grad_(part.requires_grad)

    x = random_values(4, 1, 16) * 2.0
    start = type(state)(*(part.detach().reshape(-1)[:1].cpu() + random_values(1, 16) * 0.1 for part in state))
    return x, start, map_coefficients(k, first)


def difference(
    run: StepFunction,
    step: StepFunction,
    x: Tensor,
    state: Any,
    k: Any,
    lengths: Tensor | None = None,
    *,
    grad: bool,
    exact: bool,
) -> str | None:
    """Compare a loop with the plain loop; return the difference as text, or None.

    Args:
        run: `run(x, state, k) -> (y, state)`, all steps.
        step: The step.
        x: The input.
        state: The state before the first step.
        k: Coefficients.
        lengths: Valid steps of each sample, with which `run` runs.
        grad: Whether gradients are compared too.
        exact: Whether outputs and states are compared bit for bit.
    """
    (ours, our_gradients), (theirs, gradients) = (
        _run_with_gradients(each, x, state, k, grad=grad)
        for each in (run, lambda x, state, k: unroll(step, x, state, k, lengths))
    )
    for name, one, other in zip(("output", *state._fields), ours, theirs, strict=True):
        if not (_is_equal(one, other) if exact else _is_close(one, other)):
            return f"the traced step gives another {name} than the plain loop"
    # A sum over all neurons may cancel, so all gradients have the scale of the largest.
    largest = max((_largest(part) for part in gradients), default=0.0)
    if not all(_is_close(one, other, largest) for one, other in zip(our_gradients, gradients, strict=True)):
        return "the traced step gives other gradients than the plain loop"
    return None


def _run_with_gradients(
    run: StepFunction, x: Tensor, state: Any, k: Any, *, grad: bool
) -> tuple[list[Tensor], list[Tensor]]:
    leaves = [part.detach().clone().requires_grad_(grad) for part in (x, *state)]
    # Without the hooks of a checkpointing around the comparison, which would drop its saved tensors.
    with torch.set_grad_enabled(grad), saved_tensors_hooks(_unchanged, _unchanged):
        y, after = run(leaves[0], type(state)(*leaves[1:]), k)
        outputs = [y, *after]
        if not grad:
            return outputs, []
        leaves += [part for part in numbers_of(k).values() if isinstance(part, Tensor) and part.requires_grad]
        weights = [torch.linspace(-1.0, 2.0, part.numel()).reshape(part.shape).to(part) for part in outputs]
        parts = [(part * weight).sum() for part, weight in zip(outputs, weights, strict=True)]
        loss = torch.stack([*parts, *(part.sum() * 0.0 for part in leaves)]).sum()
    return [part.detach() for part in outputs], list(torch.autograd.grad(loss, leaves))


def _unchanged(saved: Tensor) -> Tensor:
    return saved


def _is_equal(one: Tensor, other: Tensor) -> bool:
    nan = other.isnan()
    return torch.equal(one.isnan(), nan) and torch.equal(one.masked_fill(nan, 0), other.masked_fill(nan, 0))


def _largest(part: Tensor) -> float:
    """Return the largest finite entry."""
    finite = part[part.isfinite()]
    return float(finite.abs().max()) if len(finite) else 0.0


def _is_close(one: Tensor, other: Tensor, largest: float | None = None) -> bool:
    """Compare where the plain loop is finite; where it overflows, the order of operations decides on inf and NaN."""
    finite = other.isfinite()
    error = (one[finite] - other[finite]).abs()
    scale = _largest(other) if largest is None else largest
    return not len(error) or float(error.max()) <= _TOLERANCE * max(1e-6, scale)
