"""A max pooling of images in channels-last memory, whose backward pass needs a byte for each output.

PyTorch saves the input and a 64-bit index for each output. Here the byte is the number of the largest cell within its
window. The backward pass fills the gradient of a frame while it is in the processor's cache.

Axes: N frames, C channels, H rows and W columns of a frame, H' rows and W' columns of the output.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from snnlab.compiled import compiled
from snnlab.kernels.function import loops_enabled, refuse_second_derivative
from snnlab.threads import share

# Cells of a window that a byte can number.
MOST_CELLS = 256


class PoolWindows(NamedTuple):
    """Size, stride and padding of the windows, each of rows and columns."""

    size: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]


def max_pool(x: Tensor, windows: PoolWindows) -> Tensor:
    """Return the largest cell of each window, as torch's `max_pool2d`; of equal cells the first gets the gradient.

    Shape:
        x: `[N, C, H, W]`, on the CPU, channels-last; returns `[N, C, H', W']`, channels-last.
    """
    return _MaxPool.apply(x, windows)  # pyright: ignore[reportReturnType]


class _MaxPool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, windows: PoolWindows) -> Tensor:
        ctx.windows, ctx.shape = windows, x.shape
        sizes = zip(x.shape[2:], *windows, strict=True)
        y = x.new_empty(len(x), *((n + 2 * pad - width) // step + 1 for n, width, step, pad in sizes), x.shape[1])
        chosen = torch.empty(y.shape, dtype=torch.uint8)
        if loops_enabled():
            cells = x.detach().permute(0, 2, 3, 1).numpy()
            share(partial(_largest, cells, *windows, y.numpy(), chosen.numpy()), len(x), x.numel())
        ctx.save_for_backward(chosen)
        return y.permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        refuse_second_derivative(grad)
        (chosen,) = ctx.saved_tensors
        frames, channels, height, width = ctx.shape
        grad_x = grad.new_empty(frames, height, width, channels)
        given = grad.detach().permute(0, 2, 3, 1).contiguous()
        if loops_enabled():
            run = partial(_gradients, given.numpy(), chosen.numpy(), *ctx.windows, grad_x.numpy())
            share(run, frames, grad_x.numel())
        return grad_x.permute(0, 3, 1, 2), None


@compiled(nogil=True)
def _largest(
    x: np.ndarray,
    size: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    y: np.ndarray,
    chosen: np.ndarray,
    first: int,
    last: int,
) -> None:
    """Write the largest cells of the frames from `first` to before `last`, and their numbers in their windows.

    Shape:
        x: `[N, H, W, C]`; y, chosen: `[N, H', W', C]`.
    """
    _, height, width, channels = x.shape
    for n in range(first, last):
        for row in range(y.shape[1]):
            for column in range(y.shape[2]):
                top, left = row * stride[0] - padding[0], column * stride[1] - padding[1]
                best, which = y[n, row, column], chosen[n, row, column]
                started = False
                for i in range(max(0, -top), min(size[0], height - top)):
                    for j in range(max(0, -left), min(size[1], width - left)):
                        cells, number = x[n, top + i, left + j], np.uint8(i * size[1] + j)
                        if not started:
                            started = True
                            for c in range(channels):
                                best[c] = cells[c]
                                which[c] = number
                        else:
                            for c in range(channels):
                                larger = (cells[c] > best[c]) | (cells[c] != cells[c])
                                best[c] = cells[c] if larger else best[c]
                                which[c] = number if larger else which[c]


@compiled(nogil=True)
def _gradients(
    grad: np.ndarray,
    chosen: np.ndarray,
    size: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    grad_x: np.ndarray,
    first: int,
    last: int,
) -> None:
    """Write the gradients of the cells of the frames from `first` to before `last`.

    Shape:
        grad, chosen: `[N, H', W', C]`; grad_x: `[N, H, W, C]`.
    """
    _, rows, columns, channels = grad.shape
    width = grad_x.shape[2]
    # Distance of each cell of a window from its first, in the memory of a frame.
    distance = np.empty(size[0] * size[1], np.int64)
    for number in range(distance.size):
        distance[number] = (number // size[1] * width + number % size[1]) * channels
    for n in range(first, last):
        total = grad_x[n].reshape(-1)
        total[:] = 0
        for row in range(rows):
            for column in range(columns):
                top, left = row * stride[0] - padding[0], column * stride[1] - padding[1]
                start = (top * width + left) * channels
                given, which = grad[n, row, column], chosen[n, row, column]
                for c in range(channels):
                    total[np.uint64(start + distance[which[c]] + c)] += given[c]
