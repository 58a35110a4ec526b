"""The comparison of a traced step with the plain loop: once before its first run, or at every run."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor

from snnlab.kernels.reference import StepFunction, cut_time, difference, small_sample
from snnlab.kernels.trace_cache import TracedStep, UntraceableStep, map_coefficients, mark_untraceable

# SNNLAB_CHECK_TRACES=1: every run of a traced step is compared with the plain loop, which takes several times longer.
CHECK_TRACES = os.environ.get("SNNLAB_CHECK_TRACES") == "1"

_seeds = itertools.count()


def check_step(
    run: StepFunction, found: TracedStep, step: Callable[..., Any], state: Any, k: Any
) -> TracedStep | UntraceableStep:
    """Compare a step with the plain loop on a small sample, which `run(x, state, k)` runs uncompiled, in Python.

    Raises:
        RuntimeError: if they differ and SNNLAB_CHECK_TRACES is set; else the step becomes untraceable.
    """
    x, start, small = small_sample(state, k, next(_seeds) if CHECK_TRACES else 0)
    grad = bool(found.step.grads)
    with cut_time(False):  # `run` has the whole gradient
        problem = difference(run, step, x, start, small, grad=grad, exact=not _is_approximate(step))
    if problem is None:
        found.unchecked = False
        return found
    if CHECK_TRACES:
        raise RuntimeError(f"{found.title}: {problem} (SNNLAB_CHECK_TRACES)")
    return mark_untraceable(found, problem)


def compare_run(
    run: StepFunction,
    found: TracedStep,
    step: Callable[..., Any],
    x: Tensor,
    state: Any,
    k: Any,
    lengths: Tensor | None,
) -> None:
    """Compare `run(x, state, k)` with the plain loop on the values of one call, unless the step is approximate."""
    if _is_approximate(step):
        return
    # Leaves, so that the comparison does not free the graph of the training.
    leaves = map_coefficients(
        k, lambda part: part.detach().requires_grad_(part.requires_grad) if isinstance(part, Tensor) else part
    )
    problem = difference(run, step, x, state, leaves, lengths, grad=bool(found.step.grads), exact=True)
    if problem is not None:
        raise RuntimeError(f"{found.title}: {problem} (SNNLAB_CHECK_TRACES)")


def has_values(x: Tensor, k: Any) -> bool:
    """Return whether a run has values to compare: an empty batch and the meta device have none."""
    return not x.is_meta and all(part.numel() for part in (x, *tensors_in(k)))


def tensors_in(parts: Any) -> Iterator[Tensor]:
    """Yield the tensors of coefficients or of a state: nested tuples of tensors and numbers."""
    for part in parts if isinstance(parts, tuple) else (parts,):
        if isinstance(part, Tensor):
            yield part
        elif isinstance(part, tuple):
            yield from tensors_in(part)


def _is_approximate(step: Callable[..., Any]) -> bool:
    return getattr(getattr(step, "__self__", None), "approximate", False)
