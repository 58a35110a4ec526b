"""The order in which a sample's values lie in memory, and what of an image a pooling leaves.

Axes: T steps, B samples, then the layer's own; n is a sample's values as they lie.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Literal, NamedTuple

import torch
from torch import Tensor


class Pool(NamedTuple):
    """Square windows beside one another; what is left over at the lower and right edge is dropped.

    Attributes:
        kind: `max` or `average`.
        size: Height, width and distance of the windows.
    """

    kind: Literal["max", "average"]
    size: int

    def fits(self, x: Tensor) -> bool:
        """Return whether it can be done on the way: x, `[T, B, C, H, W]`, lies channels-last and holds a window."""
        return x.dim() == 5 and min(x.shape[3:]) >= self.size and x.permute(0, 1, 3, 4, 2).is_contiguous()

    def shape(self, sample: torch.Size) -> torch.Size:
        """Return the shape of what is left of an image `[C, H, W]`."""
        channels, height, width = sample
        return torch.Size((channels, height // self.size, width // self.size))


class Layout(NamedTuple):
    """An order of a sample's axes.

    Attributes:
        order: The axes from the slowest to the fastest, counted from 0.
    """

    order: tuple[int, ...]

    @classmethod
    def channels_last(cls) -> Layout:
        """Return how images lie whose channels are side by side."""
        return cls((1, 2, 0))

    @classmethod
    def of(cls, x: Tensor) -> tuple[Tensor, Layout]:
        """Return x and how its samples lie; a copy where there are gaps, or where steps or samples are further inside.

        Shape:
            x: `[T, B, ...]`.
        """
        layout = cls(tuple(sorted(range(x.dim() - 2), key=lambda axis: -x.stride(axis + 2))))
        return (x, layout) if layout.sorted(x).is_contiguous() else (x.contiguous(), cls(tuple(range(x.dim() - 2))))

    def sorted(self, x: Tensor) -> Tensor:
        """Return a view of x, `[T, B, ...]`, `[B, ...]` or `[...]`, whose own axes are in this order."""
        return x.permute(_behind(self.order, x.dim() - len(self.order)))

    def empty(self, like: Tensor, shape: Sequence[int], dtype: torch.dtype | None = None) -> Tensor:
        """Return memory that lies so."""
        return like.new_empty_strided(shape, _strides(self.order, (*shape,)), dtype=dtype)

    def laid(self, x: Tensor) -> Tensor:
        """Return x if it lies so, or else a copy that does."""
        return x if self.sorted(x).is_contiguous() else self.empty(x, x.shape).copy_(x)


@cache
def _behind(order: tuple[int, ...], front: int) -> tuple[int, ...]:
    """Return an order of axes behind others that stay where they are."""
    return (*range(front), *(front + axis for axis in order))


@lru_cache(maxsize=256)
def _strides(order: tuple[int, ...], shape: tuple[int, ...]) -> list[int]:
    """Return the strides of a shape whose last axes are in an order, without gaps."""
    strides, stride = [0] * len(shape), 1
    for axis in reversed(_behind(order, len(shape) - len(order))):
        strides[axis] = stride
        stride *= max(1, shape[axis])
    return strides
