"""Mixing as it is done with pictures.

Axes: T steps, B recordings, P polarities, H rows, W columns.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from snnlab.data.mixing.base import MIXES, Mixing, extent


@MIXES.register("mixup")
class Mixup(Mixing):
    """Average each recording with another one; counts are no whole numbers any more.

        x' = (1 - l) x + l x_other,   l ~ Beta(alpha, alpha), one for a batch;   the other's class or values weigh l

    Args:
        alpha: Of the distribution of l; 0.2: mostly near 0 or 1.
        p: Probability that a batch is mixed.

    Raises:
        ValueError: if a number is out of its range.

    Source: Zhang et al., mixup: Beyond Empirical Risk Minimization, ICLR 2018.
    """

    mixes_values = True

    def __init__(self, alpha: float = 0.2, p: float = 1.0) -> None:
        super().__init__(alpha, p)

    def mixed(self, x: Tensor, other: Tensor, part: float, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        return torch.lerp(x, other, part), x.new_full((x.shape[1],), part)


@MIXES.register("cutmix")
class CutMix(Mixing):
    """Put another recording's rectangle, the same at all times, into each; without rows, a range of columns.

    Its sides are sqrt(l) of the sensor's, l ~ Beta(alpha, alpha), about a centre anywhere; what would stick out is cut
    off. One rectangle for a batch; the other's class weighs its part of the sensor's area.

    Args:
        alpha: Of the distribution of l; 1: any size alike.
        p: Probability that a batch is mixed.

    Raises:
        ValueError: if a number is out of its range.

    Source: Yun et al., CutMix, ICCV 2019.
    """

    def __init__(self, alpha: float = 1.0, p: float = 1.0) -> None:
        super().__init__(alpha, p)

    def mixed(self, x: Tensor, other: Tensor, part: float, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        sizes = extent(x)
        box = tuple(_range(size, part ** (1 / len(sizes)), rng) for size in sizes)
        done = x.clone()
        done[(..., *box)] = other[(..., *box)]
        covered = math.prod(len(range(size)[side]) / size for side, size in zip(box, sizes, strict=True))
        return done, x.new_full((x.shape[1],), covered)


def _range(size: int, part: float, rng: np.random.Generator) -> slice:
    """Return a range of about `part * size` pixels about a centre anywhere, as far as it is on the sensor."""
    length = round(part * size)
    start = int(rng.integers(0, size)) - length // 2
    return slice(max(start, 0), min(start + length, size))
