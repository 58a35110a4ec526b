"""A convolution behind spikes, as a layer calls it: what is computed how, and the way into autograd.

Where few cells are not zero, the output and the kernel's gradient go through those alone. What goes back to the cells
is dense, for the derivative of a spike is not zero where the spike is.

Axes: N frames, C channels, H rows and W columns of a frame, F features.
"""

from __future__ import annotations

from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np
import torch
from llvmlite import binding
from torch import Tensor
from torch.nn import functional

from snnlab.kernels.function import refuse_second_derivative
from snnlab.kernels.spike_loops import CHUNK, PIXELS, convolve, correlate, count, fill, spread
from snnlab.kernels.vectors import LANES
from snnlab.threads import ALONE, share

# Part of the cells that are not zero from which on the dense convolution is about as fast, whatever the kernel; and
# what the lists cost at a place of the output, in taps of the dense one: as much however small the kernel is.
FEW = 0.18
GAIN, LISTS = 0.3, 40.0

# Cells below which the dense convolution takes no time to speak of.
SMALL = ALONE

# Numbers in all parts of a kernel's gradient together, about; they have to be added up in the end.
_ROOM = 2**21


class Spikes(NamedTuple):
    """The cells of frames that are not zero; see `spike_loops`."""

    starts: np.ndarray
    entries: np.ndarray


def convolution(x: Tensor, weight: Tensor, bias: Tensor | None, padding: tuple[int, int]) -> Tensor:
    """Return the convolution, of stride 1, of frames of spikes.

    Shape:
        x: `[N, C, H, W]`; weight: `[F, C, height, width]`; bias: `[F]`; returns `[N, F, H', W']`, channels-last.
    """
    most = _worth(weight) if _fits(weight, x) else 0.0
    spikes = _few(x, most) if most > 0.0 else None
    if spikes is None and not (torch.is_grad_enabled() and x.requires_grad and _spreads(weight, x)):
        return functional.conv2d(x, weight, bias, padding=padding)
    return _Convolution.apply(x, spikes, weight, bias, padding)  # pyright: ignore[reportReturnType]


def _fits(weight: Tensor, x: Tensor) -> bool:
    """Return whether the loops can take a convolution: whole vectors of features, of enough cells side by side."""
    return weight.shape[0] % 8 == 0 and _loops(weight, x)


def _loops(weight: Tensor, x: Tensor) -> bool:
    return (
        weight.dtype == x.dtype == torch.float32
        and x.device.type == "cpu"
        and SMALL <= x.numel() < 2**31
        and x.permute(0, 2, 3, 1).is_contiguous()
    )


def _worth(weight: Tensor) -> float:
    """Return the part of cells that are not zero up to which the loops are faster than the dense convolution."""
    return min(FEW, GAIN * _lanes(weight) / 32 - LISTS / weight[0].numel())


def _few(x: Tensor, most: float) -> Spikes | None:
    """Return the cells that are not zero, or None if they are more than a part of all."""
    frames, channels, height, width = x.shape
    cells = x.detach().permute(0, 2, 3, 1).reshape(frames * height, width * channels).numpy()
    ends = np.zeros(len(cells) + 1, np.int32)
    share(partial(count, cells, ends), len(cells), cells.size)
    np.cumsum(ends, out=ends)
    if ends[-1] > most * cells.size:
        return None
    starts = np.empty((frames, height, width + 1), np.int32)
    entries = np.empty(ends[-1] + CHUNK, np.uint64)
    entries[ends[-1] :] = 0
    share(partial(fill, cells, channels, ends, starts.reshape(len(cells), -1), entries), len(cells), cells.size)
    return Spikes(starts, entries)


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, spikes: Spikes | None, weight: Tensor, bias: Tensor | None, padding: tuple[int, int]
    ) -> Tensor:
        # As tensors, that autograd lets go of them with the graph, and a checkpoint at once.
        found = () if spikes is None else (spikes.starts, spikes.entries.view(np.int64))
        ctx.save_for_backward(weight, x if spikes is None else None, *(torch.from_numpy(part) for part in found))
        ctx.padding, ctx.frames = padding, x.shape
        if spikes is None:
            return functional.conv2d(x, weight, bias, padding=padding)
        height, width = (
            size + 2 * pad - taps + 1 for size, pad, taps in zip(x.shape[2:], padding, weight.shape[2:], strict=True)
        )
        y = x.new_empty(len(x), height, width, len(weight))
        kernel = _tiles(weight.detach()).numpy()
        offset = (weight.new_zeros(len(weight)) if bias is None else bias.detach()).contiguous().numpy()
        loop = convolve(kernel.shape[3])
        share(partial(loop, *spikes, kernel, offset, y.numpy(), x.shape[1], padding), len(x), x.numel())
        return y.permute(0, 3, 1, 2)

    @staticmethod
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, gy: Tensor
    ) -> tuple[Tensor | None, ...]:
        refuse_second_derivative()
        weight, x, *found = ctx.saved_tensors
        to_x, _, to_weight, to_bias, _ = ctx.needs_input_grad
        gy = gy.contiguous(memory_format=torch.channels_last)
        own = to_x and _spreads(weight, gy)
        gx = _to_input(ctx, weight, gy) if own else None
        gweight = _to_weight(ctx, found, weight, gy) if to_weight and x is None else None
        asked = [to_x and not own, to_weight and x is not None, False]
        if any(asked):
            x = torch.empty(ctx.frames, memory_format=torch.channels_last) if x is None else x
            settings = [1, 1], ctx.padding, [1, 1], False, [0, 0], 1
            found = torch.ops.aten.convolution_backward(gy, x, weight, None, *settings, asked)
            gx, gweight = (found[0] if asked[0] else gx), (found[1] if asked[1] else gweight)
        return gx, None, gweight, gy.sum((0, 2, 3)) if to_bias else None, None


def _to_weight(ctx: Any, found: list[Tensor], weight: Tensor, gy: Tensor) -> Tensor:
    starts, entries = found[0].numpy(), found[1].numpy().view(np.uint64)
    kernel = _tiles(weight)
    # As many whatever the number of threads, so that the sums are the same.
    parts = min(max(_ROOM // kernel.numel(), 4), 32)
    dkernels = kernel.new_zeros(parts, *kernel.shape)
    rows, channels = gy.permute(0, 2, 3, 1).numpy(), ctx.frames[1]
    loop = correlate(kernel.shape[3])
    share(partial(loop, starts, entries, rows, dkernels.numpy(), channels, ctx.padding), parts, gy.numel())
    tiles = dkernels.sum(0).unflatten(2, (weight.shape[3], channels))
    return tiles.permute(0, 4, 3, 1, 2).reshape(weight.shape)


def _tiles(weight: Tensor) -> Tensor:
    """Return a weight `[F, C, height, width]` as `[tiles, height, width * C, lanes]`."""
    return weight.unflatten(0, (-1, _lanes(weight))).permute(0, 3, 4, 2, 1).flatten(2, 3).contiguous()


def _lanes(weight: Tensor) -> int:
    return next(lanes for lanes in (32, 16, 8) if len(weight) % lanes == 0)


def _spreads(weight: Tensor, like: Tensor) -> bool:
    """Return whether the loops send back to the input with fewer numbers in vain than oneDNN.

    Its vectors hold channels. Where both fill their vectors, it is faster.
    """
    channels, across = weight.shape[1], weight.shape[1] * weight.shape[3]
    lanes = _wide(across)
    used = across / (-(-across // lanes) * lanes)
    return used > 1.1 * channels / (-(-channels // LANES) * LANES) and _loops(weight, like) and _has_wide_vectors()


def _wide(across: int) -> int:
    """Return the lanes of a chunk with which chunks of so many numbers hold the fewest in vain."""
    return min((4 * LANES, 3 * LANES), key=lambda lanes: -(-across // lanes) * lanes)


def _to_input(ctx: Any, weight: Tensor, gy: Tensor) -> Tensor:
    frames, channels, height, width = ctx.frames
    gx = gy.new_empty(frames, height, width * channels)
    rows, kernel = gy.permute(0, 2, 3, 1).numpy(), _chunks(weight).numpy()
    # As few groups of pixels as can be, and those of as few pixels as then can be.
    loop = spread(max(4, -(-gy.shape[3] // -(-gy.shape[3] // PIXELS))), kernel.shape[3])
    share(partial(loop, rows, kernel, gx.numpy(), channels, ctx.padding), frames, gy.numel())
    return gx.unflatten(2, (width, channels)).permute(0, 3, 1, 2)


def _chunks(weight: Tensor) -> Tensor:
    """Return a weight `[F, C, height, width]` as `[chunks, height, F, lanes]`, filled up with zeros."""
    rows = weight.permute(2, 0, 3, 1).flatten(2)
    across = rows.shape[2]
    lanes = _wide(across)
    rows = functional.pad(rows, (0, -across % lanes))
    return rows.unflatten(2, (-1, lanes)).permute(2, 0, 1, 3).contiguous()


@cache
def _has_wide_vectors() -> bool:
    return bool(binding.get_host_cpu_features().get("avx512f"))
