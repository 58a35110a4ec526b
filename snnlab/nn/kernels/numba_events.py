"""The events in frames, by rows, and the kernel of a convolution as they meet it.

Axes: T steps, B samples, P channels, H rows, W columns of a frame.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from snnlab.compiled import compiled
from snnlab.nn.kernels.threads import share

Arrays = tuple[np.ndarray, ...]
Reach = tuple[int, int, int, int, int, int]

# Where the input is none of events.
NOWHERE: Reach = (0, 0, 0, 0, 0, 0)


class Convolution(NamedTuple):
    """A convolution of stride 1, whose input are events in frames and whose output drives neurons.

    Attributes:
        weight: Its kernel, `[features, P, height, width]`.
        bias: Its bias, `[features]`, or None.
        padding: Rows and columns of zeros on either side.
    """

    weight: Tensor
    bias: Tensor | None
    padding: tuple[int, int]

    def image(self, frame: torch.Size) -> torch.Size:
        """Return the shape of the output, `[features, H', W']`, of a frame `[P, H, W]`."""
        (down, across), (features, _, height, width) = self.padding, self.weight.shape
        return torch.Size((features, frame[1] + 2 * down - height + 1, frame[2] + 2 * across - width + 1))

    def meeting(self, events: Arrays, frame: torch.Size, lines: int) -> tuple[Arrays, Reach]:
        """Return events with kernel and bias, and their reach, as the walks take them.

        Args:
            events: What `find` has found.
            frame: Shape of a frame.
            lines: Rows of the output in a task.
        """
        features, _, width = self.image(frame)
        kernel = self.weight.detach().flip(3).permute(2, 1, 3, 0).flatten(2).contiguous()
        bias = self.weight.new_zeros(features) if self.bias is None else self.bias.detach()
        row = bias.repeat(lines * width)
        return (*events, kernel.numpy(), row.numpy()), (frame[1], width, lines, *self.padding, features)

    def of_kernel(self, kernel: Tensor) -> Tensor:
        """Return what lies as the walks have the kernel with the weight's axes."""
        features, _, _, width = self.weight.shape
        return kernel.unflatten(2, (width, features)).permute(3, 1, 0, 2).flip(3)


def none(like: Tensor) -> Arrays:
    """Return what the walks take where the input is none of events."""
    offsets, cells = np.empty(0, np.int64), np.empty(0, np.int32)
    values = like.new_empty(0).numpy()
    return offsets, cells, cells, cells, values, like.new_empty(0, 0, 0).numpy(), values


def find(frames: Tensor) -> Arrays:
    """Return where the events of each row of each frame begin, and row, column, channel and value of each.

    Shape:
        frames: `[T, B, P, H, W]`; returns `[T * B * H + 1]`, then as many as there are.
    """
    cells = frames.detach().permute(0, 1, 3, 4, 2).contiguous().flatten(0, 2).flatten(1).numpy()
    offsets = np.zeros(len(cells) + 1, np.int64)
    share(partial(_count, cells, offsets), len(cells), cells.size)
    np.cumsum(offsets, out=offsets)
    rows, columns, channels = np.empty((3, offsets[-1]), np.int32)
    values = np.empty(offsets[-1], cells.dtype)
    polarities, height = frames.shape[2:4]
    share(partial(_fill, cells, offsets, height, polarities, rows, columns, channels, values), len(cells), cells.size)
    return offsets, rows, columns, channels, values


@compiled(nogil=True)
def _count(cells: np.ndarray, offsets: np.ndarray, first: int, last: int) -> None:
    for n in range(first, last):
        many = 0
        for at in range(cells.shape[1]):
            many += cells[n, at] != 0
        offsets[n + 1] = many


@compiled(nogil=True)
def _fill(
    cells: np.ndarray,
    offsets: np.ndarray,
    height: int,
    polarities: int,
    rows: np.ndarray,
    columns: np.ndarray,
    channels: np.ndarray,
    values: np.ndarray,
    first: int,
    last: int,
) -> None:
    for n in range(first, last):
        e = offsets[n]
        if offsets[n + 1] == e:
            continue
        for at in range(cells.shape[1]):
            if cells[n, at] != 0:
                rows[e] = n % height
                columns[e] = at // polarities
                channels[e] = at % polarities
                values[e] = cells[n, at]
                e += 1
