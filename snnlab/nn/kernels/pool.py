"""A pooling that a kernel does on the way, as the spikes come."""

from __future__ import annotations

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
