"""The plain loop over time: the definition that every faster kernel has to equal.

Axes: T steps, B samples.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from snnlab.nn.temporal import valid_steps

Step = Callable[[Tensor, Any, Any], tuple[Tensor, Any]]


def unroll(step: Step, x: Tensor, state: Any, coefficients: Any, lengths: Tensor | None) -> tuple[Tensor, Any]:
    """Apply `step(x[t], state, coefficients) -> (y[t], state)` for t = 0 .. T-1.

    Steps past a sample's length give zeros and leave its state where it was.

    Shape:
        x: `[T, B, ...]`; state: a NamedTuple of `[B, ...]`, or of such NamedTuples; lengths: `[B]`; returns
        `[T, B, ...]` and the state.
    """
    num_steps, batch = x.shape[:2]
    valid = valid_steps(lengths, num_steps, x)
    outputs = []
    # Splitting and joining along the folded axis keeps channels-last memory.
    for t, x_t in enumerate(x.flatten(0, 1).split(batch)):
        y, after = step(x_t, state, coefficients)
        if valid is not None:
            y = torch.where(valid[t], y, 0)
            after = _choose(valid[t], after, state)
        outputs.append(y)
        state = after
    return torch.cat(outputs).unflatten(0, (num_steps, batch)), state


def _choose(valid: Tensor, new: Any, old: Any) -> Any:
    if isinstance(new, Tensor):
        return torch.where(valid, new, old)
    return type(new)(*(_choose(valid, *pair) for pair in zip(new, old, strict=True)))
