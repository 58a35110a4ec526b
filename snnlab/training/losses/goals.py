"""What the output of the right class is to be, and that of the others.

Axes: B samples, K classes.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from snnlab.errors import ConfigError


def goals(targets: Tensor, classes: int, right: Tensor | float, wrong: Tensor | float, dtype: torch.dtype) -> Tensor:
    """Return `right` for the class of each sample and `wrong` for the others, `[B, K]`.

    Args:
        targets: Classes, `[B]`.
        classes: K.
        right: A number, or one a sample, `[B]`.
        wrong: As `right`.
        dtype: That of what comes out.
    """
    is_right = functional.one_hot(targets, classes).bool()
    right, wrong = (torch.as_tensor(x, dtype=dtype, device=targets.device).reshape(-1, 1) for x in (right, wrong))
    return torch.where(is_right, right, wrong)


def require_apart(right: tuple[str, float], wrong: tuple[str, float], unit: str, *, most: float | None = None) -> None:
    """Raise a ConfigError if a goal is out of its range, or both are the same, so that nothing can be learnt."""
    for name, value in (right, wrong):
        if value < 0 or (most is not None and value > most):
            bounds = ">= 0" if most is None else f"0 to {most:g}"
            raise ConfigError(f"{name}: is {bounds} {unit}, got {value:g}")
    if right[1] == wrong[1]:
        raise ConfigError(f"{right[0]}: must differ from {wrong[0]}, both are {right[1]:g} {unit}")
