"""The memory layout of samples, and the pooling of images.

Axes: T steps, B samples, then the layer's own; n is a sample's values in the order of memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Literal, NamedTuple

import torch
from torch import Tensor


class Pool(NamedTuple):
    """A pooling with adjacent square windows; the rest at the lower and right edge is dropped.

    Attributes:
        kind: `max` or `average`.
        size: Height, width and stride of the windows.
    """

    kind: Literal["max", "average"]
    size: int

    def fits(self, x: Tensor) -> bool:
        """Return whether a loop can fuse it: x, `[T, B, C, H, W]`, is channels-last and at least one window large."""
        return x.dim() == 5 and min(x.shape[3:]) >= self.size and x.permute(0, 1, 3, 4, 2).is_contiguous()

    def shape(self, sample: torch.Size) -> torch.Size:
        """Return the output shape for an image `[C, H, W]`."""
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
        """Return the layout of channels-last images."""
        return cls((1, 2, 0))

    @classmethod
    def infer(cls, x: Tensor) -> tuple[Tensor, Layout]:
        """Return x and the layout of its samples; a contiguous copy if x has gaps or T, B are not the outermost axes.

        Shape:
            x: `[T, B, ...]`.
        """
        layout = cls(tuple(sorted(range(x.dim() - 2), key=lambda axis: -x.stride(axis + 2))))
        return (x, layout) if layout.permuted(x).is_contiguous() else (x.contiguous(), cls(tuple(range(x.dim() - 2))))

    def permuted(self, x: Tensor) -> Tensor:
        """Return a view of x, `[T, B, ...]`, `[B, ...]` or `[...]`, with the sample's axes in this order."""
        return x.permute(_append_order(self.order, x.dim() - len(self.order)))

    def empty(self, like: Tensor, shape: Sequence[int], dtype: torch.dtype | None = None) -> Tensor:
        """Return an uninitialized tensor in this layout."""
        return like.new_empty_strided(shape, _strides(self.order, (*shape,)), dtype=dtype)

    def to_layout(self, x: Tensor) -> Tensor:
        """Return x if it has this layout, else a copy that has."""
        return x if self.permuted(x).is_contiguous() else self.empty(x, x.shape).copy_(x)


@cache
def _append_order(order: tuple[int, ...], front: int) -> tuple[int, ...]:
    """Return an order of axes after `front` axes that keep their place."""
    return (*range(front), *(front + axis for axis in order))


@lru_cache(maxsize=256)
def _strides(order: tuple[int, ...], shape: tuple[int, ...]) -> list[int]:
    """Return the strides without gaps of a shape whose last axes are in an order."""
    strides, stride = [0] * len(shape), 1
    for axis in reversed(_append_order(order, len(shape) - len(order))):
        strides[axis] = stride
        stride *= max(1, shape[axis])
    return strides
