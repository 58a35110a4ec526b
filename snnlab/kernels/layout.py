"""The order in which a sample's values lie in memory, and what of an image a pooling leaves.

Axes: T steps, B samples, then the layer's own; n is a sample's values as they lie.
"""

from __future__ import annotations

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
    def of(cls, x: Tensor) -> Layout | None:
        """Return how the samples of x lie; None where there are gaps, or where steps or samples are further inside.

        Shape:
            x: `[T, B, ...]`.
        """
        inner = sorted(range(x.dim() - 2), key=lambda axis: -x.stride(axis + 2))
        layout = cls(tuple(inner))
        return layout if layout.sorted(x).is_contiguous() else None

    def sorted(self, x: Tensor) -> Tensor:
        """Return a view of x, `[T, B, ...]`, `[B, ...]` or `[...]`, whose own axes are in this order."""
        return x.permute(_behind(self.order, x.dim() - len(self.order)))

    def flat(self, x: Tensor) -> Tensor:
        """Return x, `[T, B, ...]` or `[B, ...]`, with each sample in one row; shares memory where x lies so."""
        return self.sorted(x).flatten(x.dim() - len(self.order)) if self.order else x.unsqueeze(-1)

    def of_neurons(self, value: Tensor, shape: torch.Size) -> Tensor:
        """Return what belongs to each neuron, `[n]`, of a value that broadcasts to a sample's shape."""
        return self.sorted(value.expand(shape)).reshape(-1)

    def unflat(self, rows: Tensor, shape: torch.Size) -> Tensor:
        """Return `[..., n]` with a sample's own axes again; shares memory."""
        if not self.order:
            return rows.squeeze(-1)
        lying, inverse = _inverse(self.order, shape)
        return rows.view(*rows.shape[:-1], *lying).permute(_behind(inverse, rows.dim() - 1))


@cache
def _behind(order: tuple[int, ...], front: int) -> tuple[int, ...]:
    """Return an order of axes behind others that stay where they are."""
    return (*range(front), *(front + axis for axis in order))


@lru_cache(maxsize=256)
def _inverse(order: tuple[int, ...], shape: torch.Size) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the sizes of a shape in an order, and the order that undoes it."""
    return tuple(shape[axis] for axis in order), tuple(sorted(range(len(order)), key=order.__getitem__))
