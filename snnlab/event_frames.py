"""Frames of events as sparse lists of their nonzero cells, for a first layer that runs on events.

Axes: T steps, B recordings, P channels, H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

Lists = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


class EventFrames:
    """Sparse frames, as lists of nonzero cells; the dense tensor is built at its first use.

    Args:
        shape: Shape of the dense frames.
        offsets: For each frame, start of each row of each channel in the lists, and the end of the last row; the frames
            may be in any order in the lists.
        rows: Row of each nonzero cell; the cells of a row are in order.
        columns: Column of each cell.
        values: Value of each cell.

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
        """An empty tensor with the dtype and device of the frames."""
        return torch.from_numpy(self.values[:0])

    @cached_property
    def dense(self) -> Tensor:
        """The dense frames, channels-last in memory."""
        steps, batch, channels, height, width = self.shape
        sizes = np.diff(self.offsets).ravel()
        ends = np.cumsum(sizes)
        # Index of each cell in the lists, in the order of the frames.
        e = np.arange(sizes.sum()) + np.repeat(self.offsets[:, :-1].ravel() - (ends - sizes), sizes)
        frame, channel = np.divmod(np.repeat(np.arange(sizes.size), sizes) // height, channels)
        x = torch.zeros(steps, batch, height, width, channels)
        cells = ((frame * height + self.rows[e]) * width + self.columns[e]) * channels + channel
        x.view(-1)[torch.from_numpy(cells)] = torch.from_numpy(self.values[e])
        return x.permute(0, 1, 4, 2, 3)


class FramesInPieces:
    """Frames that are made in pieces of time, each when it is asked for, so that memory holds one piece.

    Args:
        shape: Shape of all frames, `[T, B, ...]`.
        split: Yields the frames in pieces of so many steps.
    """

    def __init__(self, shape: torch.Size, split: Callable[[int], Iterator[Tensor]]) -> None:
        self.shape, self.split = shape, split

    @property
    def dense(self) -> Tensor:
        """All frames, made anew."""
        return torch.cat([*self.split(self.shape[0])])


def dense(x: Tensor | EventFrames | FramesInPieces) -> Tensor:
    """Return frames as a dense tensor."""
    return x if isinstance(x, Tensor) else x.dense
