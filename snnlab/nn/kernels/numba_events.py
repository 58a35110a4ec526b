"""The events in frames, by channels and rows, and the kernel of a convolution as they meet it.

Axes: T steps, B samples, P channels, H rows, W columns of a frame.
"""

from __future__ import annotations

from functools import lru_cache, partial
from typing import NamedTuple

import numpy as np
import torch
from numba import njit
from torch import Tensor
from torch.nn import functional

from snnlab.compiled import compiled
from snnlab.event_lists import BITS, Places, list_cells, places_of
from snnlab.nn.kernels.numba_vectors import LANES, occupied
from snnlab.threads import share

Arrays = tuple[np.ndarray, ...]
Reach = tuple[int, int, int, int, int, int, int]

# Where the input is none of events.
NOWHERE: Reach = (0, 0, 0, 0, 0, 0, 0)


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
        kernel = self.weight.detach().flip(3).permute(2, 1, 3, 0).flatten(2)
        # Zeros behind each row, so that whole vectors may be taken from anywhere in it.
        kernel = functional.pad(kernel, (0, LANES - 1 + -(kernel.shape[2] - 1) % LANES)).contiguous()
        bias = self.weight.new_zeros(features) if self.bias is None else self.bias.detach()
        row = bias.repeat(lines * width)
        reach = (frame[1], width, lines, *self.padding, features, self.weight.shape[3])
        return (*events, kernel.numpy(), row.numpy()), reach

    def of_kernel(self, kernel: Tensor) -> Tensor:
        """Return what lies as the walks have the kernel with the weight's axes."""
        features, _, _, width = self.weight.shape
        kernel = kernel[..., : width * features]
        return kernel.unflatten(2, (width, features)).permute(3, 1, 0, 2).flip(3)


def none(like: Tensor) -> Arrays:
    """Return what the walks take where the input is none of events."""
    offsets, cells = np.empty((0, 0), np.int64), np.empty(0, np.int32)
    values = like.new_empty(0).numpy()
    return offsets, cells, cells, values, like.new_empty(0, 0, 0).numpy(), values


def find(frames: Tensor) -> Arrays:
    """Return where the events of each row of each channel of each frame begin, and row, column and value of each.

    Shape:
        frames: `[T, B, P, H, W]`; returns `[T * B, P * H + 1]`, then as many as there are.
    """
    num_steps, batch, channels, height, width = frames.shape
    # As they lie mostly, and as the walks have their outputs.
    cells = frames.detach().permute(0, 1, 3, 4, 2).contiguous().flatten(0, 1).flatten(1).numpy()
    ends = np.zeros(len(cells) + 1, np.int64)
    share(partial(_count, cells, ends), len(cells), cells.size)
    np.cumsum(ends, out=ends)
    offsets = np.empty((num_steps * batch, channels * height + 1), np.int64)
    rows, columns = np.empty((2, ends[-1]), np.int32)
    values = np.empty(ends[-1], cells.dtype)
    places = places_of(height, width, channels)
    share(
        partial(_fill, cells, ends, _of_channels(channels, cells.shape[1]), places, offsets, rows, columns, values),
        len(cells),
        cells.size,
    )
    return offsets, rows, columns, values


@lru_cache(maxsize=8)
def _of_channels(channels: int, cells: int) -> np.ndarray:
    """Return the bits of the cells of each channel, of those of a frame, `[P, words]`."""
    bits = np.zeros((channels, -(-cells // BITS) * BITS), np.uint8)
    bits[np.arange(cells) % channels, np.arange(cells)] = 1
    return np.packbits(bits, axis=1, bitorder="little").view("<u8").astype(np.uint64)


@compiled(nogil=True)
def _count(cells: np.ndarray, ends: np.ndarray, first: int, last: int) -> None:
    for n in range(first, last):
        many = np.int32(0)
        for at in range(cells.shape[1]):
            many += np.int32(cells[n, at] != 0)
        ends[n + 1] = many


@compiled(nogil=True, error_model="numpy")
def _fill(
    cells: np.ndarray,
    ends: np.ndarray,
    of_channel: np.ndarray,
    places: Places,
    offsets: np.ndarray,
    rows: np.ndarray,
    columns: np.ndarray,
    values: np.ndarray,
    first: int,
    last: int,
) -> None:
    size, height = cells.shape[1], places.row.size // places.across
    held, of_one = np.empty((2, of_channel.shape[1]), np.uint64)
    before, spare = np.empty(held.size, np.int64), np.empty(size + 4, np.uint32)
    for n in range(first, last):
        for word in range(held.size):
            held[word] = _occupied(cells, n * size + BITS * word)
        e = ends[n]
        for channel in range(of_channel.shape[0]):
            for word in range(held.size):
                of_one[word] = held[word] & of_channel[channel, word]
            lines = offsets[n, channel * height : (channel + 1) * height + 1]
            e += list_cells(of_one, places, cells[n], e, lines, rows, columns, values, before, spare)


@njit(nogil=True, error_model="numpy")
def _occupied(cells: np.ndarray, at: int) -> np.uint64:
    """Return which cells of a word are not zero; behind the last frame there may be fewer."""
    if at + BITS <= cells.size:
        return occupied(cells, at)
    bits, flat = np.uint64(0), cells.reshape(-1)
    for k in range(cells.size - at):
        bits |= np.uint64(flat[at + k] != 0) << np.uint64(k)
    return bits
