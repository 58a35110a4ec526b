"""Frames of events as lists of the cells that hold any: all that a first layer on events needs of them.

Axes: T steps, B recordings, P channels, H rows, W columns.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
from torch import Tensor

Lists = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


class EventFrames:
    """Frames that are nowhere as a whole until somebody asks for them.

    Args:
        shape: Their shape.
        offsets: Where, for each frame, the cells of each row of each channel begin in what follows, and where the last
            ones end; frames may lie there in any order.
        rows: Row of each cell that is not zero; those of a row are in order.
        columns: Its column.
        values: Its value.

    Shape:
        frames `[T, B, P, H, W]`; offsets int64 `[T * B, P * H + 1]`; rows, columns int32, values float32 `[cells]`.
    """

    def __init__(
        self, shape: torch.Size, offsets: np.ndarray, rows: np.ndarray, columns: np.ndarray, values: np.ndarray
    ) -> None:
        self.shape, self.offsets, self.rows, self.columns, self.values = shape, offsets, rows, columns, values

    @property
    def lists(self) -> Lists:
        """Offsets, rows, columns and values."""
        return self.offsets, self.rows, self.columns, self.values

    @property
    def like(self) -> Tensor:
        """An empty tensor of the frames' kind and device."""
        return torch.from_numpy(self.values[:0])

    @cached_property
    def dense(self) -> Tensor:
        """The frames, channels-last in memory."""
        steps, batch, channels, height, width = self.shape
        sizes = np.diff(self.offsets).ravel()
        ends = np.cumsum(sizes)
        # Of each cell, line by line, where it stands in the lists.
        e = np.arange(sizes.sum()) + np.repeat(self.offsets[:, :-1].ravel() - (ends - sizes), sizes)
        frame, channel = np.divmod(np.repeat(np.arange(sizes.size), sizes) // height, channels)
        x = torch.zeros(steps, batch, height, width, channels)
        cells = ((frame * height + self.rows[e]) * width + self.columns[e]) * channels + channel
        x.view(-1)[torch.from_numpy(cells)] = torch.from_numpy(self.values[e])
        return x.permute(0, 1, 4, 2, 3)


def dense(x: Tensor | EventFrames) -> Tensor:
    """Return frames as a tensor."""
    return x if isinstance(x, Tensor) else x.dense
