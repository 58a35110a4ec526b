"""The order in which a sample's values lie in memory, for kernels that walk through it.

Axes: T steps, B samples, then the layer's own; n is a sample's values as they lie.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class Layout(NamedTuple):
    """An order of a sample's axes.

    Attributes:
        order: The axes from the slowest to the fastest, counted from 0.
    """

    order: tuple[int, ...]

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
        front = x.dim() - len(self.order)
        return x.permute(*range(front), *(front + axis for axis in self.order))

    def rows(self, x: Tensor) -> np.ndarray:
        """Return x, `[T, B, ...]` or `[B, ...]`, with each sample in one row; shares memory where x lies so."""
        return self.flat(x).detach().numpy()

    def flat(self, x: Tensor) -> Tensor:
        """Return the same as a tensor, which knows of changes in place."""
        front = x.dim() - len(self.order)
        own = x.shape[front:].numel()  # -1 in its place would be ambiguous in an empty batch
        return self.sorted(x).reshape(*x.shape[:front], own)

    def line(self, value: Tensor, shape: torch.Size) -> Tensor:
        """Return what belongs to each neuron, `[n]`, of a value that broadcasts to a sample's shape."""
        return self.sorted(value.expand(shape)).reshape(-1)

    def spread(self, rows: Tensor, shape: torch.Size) -> Tensor:
        """Return `[..., n]` with a sample's own axes again; shares memory."""
        if not self.order:
            return rows.squeeze(-1)
        front = rows.dim() - 1
        inverse = sorted(range(len(self.order)), key=self.order.__getitem__)
        lying = rows.unflatten(-1, [shape[axis] for axis in self.order])
        return lying.permute(*range(front), *(front + axis for axis in inverse))
