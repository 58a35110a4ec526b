"""What a kernel is given, checked before its loops read past the end of it.

Axes: T steps, B samples.
"""

from __future__ import annotations

import torch
from torch import Tensor


def require_lengths(lengths: Tensor | None, batch: int) -> None:
    """Raise a ValueError unless there is a whole number of valid steps for each sample.

    Args:
        lengths: Valid steps of each sample, or None where all are.
        batch: B.
    """
    if lengths is None or lengths.shape == (batch,) == (0,):  # an empty list makes a tensor of floats
        return
    if lengths.shape != (batch,) or lengths.is_floating_point():
        has = f"{lengths.dtype} {tuple(lengths.shape)}"
        raise ValueError(f"lengths have to be whole numbers of shape ({batch},), one for each sample, and are {has}")


def require_states(shape: torch.Size, dtype: torch.dtype, **states: Tensor | None) -> None:
    """Raise a ValueError unless each state has the shape and precision of a step of the neurons.

    Args:
        shape: That of a step, `[B, ...]`.
        dtype: Its precision.
        states: The states before the first step by name, or None where there is no such state.
    """
    for name, state in states.items():
        if state is not None and (state.shape, state.dtype) != (shape, dtype):
            has, needs = f"{state.dtype} {tuple(state.shape)}", f"{dtype} {tuple(shape)}"
            raise ValueError(f"the state {name} has to be as a step of x, {needs}, and is {has}")
