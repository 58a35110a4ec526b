"""A convolution behind spikes: where few cells are not zero, output and kernel's gradient go through those alone.

What goes back to the cells is dense, for the derivative of a spike is not zero where the spike is.

The cells that are not zero lie one behind the other, those of a row of a frame in a run, so that all that a row of the
kernel meets at one place is one run too. The runs of all rows of the kernel are gathered in a list, and one loop over
it keeps the features in registers. (A loop over each run alone takes twice as long: runs hold a handful of cells each,
and where the next one ends the processor guesses wrong.) Each sum goes through the cells in the order in which the
kernel lies, one after the other.

An entry is 64 bits: 32 of where the cell is within its row of the frame, and 32 of its value. A kernel lies as
`[tiles, height, width * channels, lanes]`, of which a tile's features fill the lanes of a vector.

A pixel of the output sends back to `width * channels` numbers side by side, which lie in whole vectors even where the
channels alone do not fill one. Some pixels beside one another take each number of the kernel out of memory together,
and their sums stay in registers, through all features and all rows of the kernel, until they are added to a line. There
a kernel lies as `[chunks, height, F, lanes]`: the numbers that a feature sends to in one row, in chunks of as many as
three or four vectors hold.

Axes: N frames, H rows and W columns of a frame, C channels, H' rows and W' columns of the output, F features.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np
import torch
from llvmlite import binding
from numba import njit
from torch import Tensor
from torch.nn import functional

from snnlab.compat import as_float
from snnlab.compiled import borrow, compiled
from snnlab.event_lists import list_ends
from snnlab.kernels.function import refuse_second_derivative
from snnlab.kernels.vectors import LANES, add, add_products, load, multiply_add, splat, store, zeros
from snnlab.threads import MIN_VALUES, share

# Part of the cells that are not zero from which on the dense convolution is about as fast, whatever the kernel; and
# what the lists cost at a place of the output, in taps of the dense one: as much however small the kernel is.
FEW = 0.18
GAIN, LISTS = 0.3, 40.0

# Cells below which the dense convolution takes no time to speak of.
SMALL = MIN_VALUES

# Numbers in all parts of a kernel's gradient together, about; they have to be added up in the end.
_ROOM = 2**21

# Entries that are copied at once, some in vain; arrays of entries have as many to spare behind their last one.
CHUNK = 16

# Bits of a float32 but for its sign: the zero below zero is one too.
SIZE = np.uint32(0x7FFFFFFF)

# The most pixels that are taken together: with four vectors each and the kernel's own four, of 32 registers.
PIXELS = 6


class Spikes(NamedTuple):
    """The cells of frames that are not zero, see above; and where those of each column of each row begin."""

    starts: np.ndarray
    entries: np.ndarray


def convolution(x: Tensor, weight: Tensor, bias: Tensor | None, padding: tuple[int, int]) -> Tensor:
    """Return the convolution, of stride 1, of frames of spikes.

    Shape:
        x: `[N, C, H, W]`; weight: `[F, C, height, width]`; bias: `[F]`; returns `[N, F, H', W']`, channels-last.
    """
    most = _max_density(weight) if _fits(weight, x) else 0.0
    spikes = _few(x, most) if most > 0.0 else None
    if spikes is None and not (torch.is_grad_enabled() and x.requires_grad and _loop_is_faster(weight, x)):
        return functional.conv2d(x, weight, bias, padding=padding)
    return _Convolution.apply(x, spikes, weight, bias, padding)  # pyright: ignore[reportReturnType]


def _fits(weight: Tensor, x: Tensor) -> bool:
    """Return whether the loops can take a convolution: whole vectors of features, of enough cells side by side."""
    return weight.shape[0] % 8 == 0 and _memory_fits(weight, x)


def _memory_fits(weight: Tensor, x: Tensor) -> bool:
    return (
        weight.dtype == x.dtype == torch.float32
        and x.device.type == "cpu"
        and SMALL <= x.numel() < 2**31
        and x.permute(0, 2, 3, 1).is_contiguous()
    )


def _max_density(weight: Tensor) -> float:
    """Return the part of cells that are not zero up to which the loops are faster than the dense convolution."""
    return min(FEW, GAIN * _lanes(weight) / 32 - LISTS / weight[0].numel())


def _few(x: Tensor, most: float) -> Spikes | None:
    """Return the cells that are not zero, or None if they are more than a part of all."""
    frames, channels, height, width = x.shape
    cells = x.detach().permute(0, 2, 3, 1).reshape(frames * height, width * channels).numpy()
    ends = list_ends(cells)
    if ends[-1] > most * cells.size:
        return None
    starts = np.empty((frames, height, width + 1), np.int32)
    entries = np.empty(ends[-1] + CHUNK, np.uint64)
    entries[ends[-1] :] = 0
    share(
        partial(list_spikes, cells, channels, ends, starts.reshape(len(cells), -1), entries),
        len(cells),
        cells.size // 2,
    )
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
            size + 2 * pad - kernel_size + 1
            for size, pad, kernel_size in zip(x.shape[2:], padding, weight.shape[2:], strict=True)
        )
        y = x.new_empty(len(x), height, width, len(weight))
        kernel = _kernel_tiles(weight)
        offset = (weight.new_zeros(len(weight)) if bias is None else bias.detach()).contiguous().numpy()
        loop = convolve(kernel.shape[3])
        share(partial(loop, *spikes, kernel, offset, y.numpy(), x.shape[1], padding), len(x), x.numel())
        return y.permute(0, 3, 1, 2)

    @staticmethod
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, gy: Tensor
    ) -> tuple[Tensor | None, ...]:
        refuse_second_derivative(gy)
        weight, x, *found = ctx.saved_tensors
        to_x, _, to_weight, to_bias, _ = ctx.needs_input_grad
        gy = gy.contiguous(memory_format=torch.channels_last)
        own = to_x and _loop_is_faster(weight, gy)
        gx = _input_gradient(ctx, weight, gy) if own else None
        gweight = _weight_gradient(ctx, found, weight, gy) if to_weight and x is None else None
        asked = [to_x and not own, to_weight and x is not None, False]
        if any(asked):
            x = torch.empty(ctx.frames, memory_format=torch.channels_last) if x is None else x
            settings = [1, 1], ctx.padding, [1, 1], False, [0, 0], 1
            found = torch.ops.aten.convolution_backward(gy, x, weight, None, *settings, asked)
            gx, gweight = (found[0] if asked[0] else gx), (found[1] if asked[1] else gweight)
        return gx, None, gweight, gy.sum((0, 2, 3)) if to_bias else None, None


def _weight_gradient(ctx: Any, found: list[Tensor], weight: Tensor, gy: Tensor) -> Tensor:
    starts, entries = found[0].numpy(), found[1].numpy().view(np.uint64)
    (features, channels, height, width), lanes = weight.shape, _lanes(weight)
    # As many whatever the number of threads, so that the sums are the same; fewer where there are few frames.
    parts = max(4, min(_ROOM // weight.numel(), 32, len(starts) // 8))
    dkernels = weight.new_zeros(parts, features // lanes, height, width * channels, lanes)
    rows = gy.permute(0, 2, 3, 1).numpy()
    run = partial(correlate(lanes), starts, entries, rows, dkernels.numpy(), channels, ctx.padding)
    share(run, parts, gy.numel())
    tiles = dkernels.sum(0).view(features // lanes, height, width, channels, lanes)
    return tiles.permute(0, 4, 3, 1, 2).reshape(weight.shape)


def _kernel_tiles(weight: Tensor) -> np.ndarray:
    """Return a weight `[F, C, height, width]` as `[tiles, height, width * C, lanes]`."""
    _, channels, height, width = weight.shape
    parts = weight.detach().numpy().reshape(-1, _lanes(weight), channels, height, width).transpose(0, 3, 4, 2, 1)
    return np.ascontiguousarray(parts.reshape(len(parts), height, width * channels, -1))


def _lanes(weight: Tensor) -> int:
    return next(lanes for lanes in (32, 16, 8) if len(weight) % lanes == 0)


def _loop_is_faster(weight: Tensor, like: Tensor) -> bool:
    """Return whether the loops send back to the input with fewer numbers in vain than oneDNN.

    Its vectors hold channels. Where both fill their vectors, it is faster.
    """
    channels, row_stride = weight.shape[1], weight.shape[1] * weight.shape[3]
    lanes = _chunk_lanes(row_stride)
    used = row_stride / (-(-row_stride // lanes) * lanes)
    return (
        used > 1.1 * channels / (-(-channels // LANES) * LANES) and _memory_fits(weight, like) and _has_wide_vectors()
    )


def _chunk_lanes(row_stride: int) -> int:
    """Return the lanes of a chunk with which chunks of so many numbers hold the fewest in vain."""
    return min((4 * LANES, 3 * LANES), key=lambda lanes: -(-row_stride // lanes) * lanes)


def _input_gradient(ctx: Any, weight: Tensor, gy: Tensor) -> Tensor:
    frames, channels, height, width = ctx.frames
    gx = gy.new_empty(frames, height, width * channels)
    rows, kernel = gy.permute(0, 2, 3, 1).numpy(), _kernel_chunks(weight)
    # As few groups of pixels as can be, and those of as few pixels as then can be.
    loop = transposed_convolve(max(4, -(-gy.shape[3] // -(-gy.shape[3] // PIXELS))), kernel.shape[3])
    share(partial(loop, rows, kernel, gx.numpy(), channels, ctx.padding), frames, gy.numel())
    return gx.unflatten(2, (width, channels)).permute(0, 3, 1, 2)


def _kernel_chunks(weight: Tensor) -> np.ndarray:
    """Return a weight `[F, C, height, width]` as `[chunks, height, F, lanes]`, filled up with zeros."""
    features, channels, height, width = weight.shape
    row_stride, lanes = width * channels, _chunk_lanes(width * channels)
    rows = np.zeros((height, features, row_stride + -row_stride % lanes), np.float32)
    rows[..., :row_stride] = weight.detach().numpy().transpose(2, 0, 3, 1).reshape(height, features, row_stride)
    return np.ascontiguousarray(rows.reshape(height, features, -1, lanes).transpose(2, 0, 1, 3))


@cache
def _has_wide_vectors() -> bool:
    return bool(binding.get_host_cpu_features().get("avx512f"))


# -- Loops -------------------------------------------------------------------------------------------------------------


@compiled(nogil=True, error_model="numpy")
def list_spikes(
    cells: np.ndarray, channels: int, ends: np.ndarray, starts: np.ndarray, entries: np.ndarray, first: int, last: int
) -> None:
    """Write the entries of rows `first` to before `last`, and where those of each column begin.

    Shape:
        cells: `[N * H, W * C]`; ends: see `list_ends`; starts: `[N * H, W + 1]`; entries: as many as there are.
    """
    buffer = np.empty(cells.shape[1] + 1, np.uint64)
    line, bits = borrow(buffer), borrow(cells.view(np.uint32))
    c = np.uintp(channels)
    for n in range(first, last):
        row, begin = bits[n], ends[n]
        count = np.uintp(0)
        for w in range(np.uintp(row.size // channels)):
            starts[n, w] = begin + count
            for at in range(w * c, w * c + c):
                # Written in any case, and over by the next one: without a branch that is as often wrong as right.
                line[count] = np.uint64(row[at]) << np.uint64(32) | np.uint64(at)
                count += np.uintp(row[at] & SIZE != 0)
        starts[n, starts.shape[1] - 1] = begin + count
        for at in range(count):
            entries[begin + at] = line[at]
    buffer[:] = 0  # until here somebody has it


@cache
def convolve(lanes: int) -> Callable[..., None]:
    """Return what writes the outputs of frames `first` to before `last`, so many features at a time.

    Shape:
        starts: `[N, H, W + 1]`; entries: see `list_spikes`; kernel: see above; bias: `[F]`; y: `[N, H', W', F]`.
    """

    @compiled(nogil=True, error_model="numpy")
    def convolve(
        starts: np.ndarray,
        entries: np.ndarray,
        kernel: np.ndarray,
        bias: np.ndarray,
        y: np.ndarray,
        channels: int,
        padding: tuple[int, int],
        first: int,
        last: int,
    ) -> None:
        tiles, kernel_height, row_stride, _ = kernel.shape
        buffer = np.empty(kernel_height * row_stride + CHUNK, np.uint64)
        found, kernel, y = borrow(buffer), borrow(kernel), borrow(y)
        for n in range(first, last):
            for tile in range(tiles):
                for h in range(y.shape[1]):
                    for w in range(y.shape[2]):
                        count = _gather(found, starts, entries, n, h, w, channels, padding, kernel_height, row_stride)
                        total = load(bias, tile * lanes, lanes)
                        for k in range(count):
                            value, place = _unpack(found[k])
                            row = load(kernel, (tile * kernel_height * row_stride + place) * lanes, lanes)
                            total = multiply_add(splat(value, lanes), row, total)
                        store(total, y, ((n * y.shape[1] + h) * y.shape[2] + w) * y.shape[3] + tile * lanes)
        buffer[:] = 0  # until here somebody has it

    return convolve


@cache
def correlate(lanes: int) -> Callable[..., None]:
    """Return what adds to the kernel's gradient of parts `first` to before `last` of the frames what these bring.

    Shape:
        starts: `[N, H, W + 1]`; entries: see `list_spikes`; gy: `[N, H', W', F]`; dkernels: `[parts, *kernel]`.
    """

    @compiled(nogil=True, error_model="numpy")
    def correlate(
        starts: np.ndarray,
        entries: np.ndarray,
        gy: np.ndarray,
        dkernels: np.ndarray,
        channels: int,
        padding: tuple[int, int],
        first: int,
        last: int,
    ) -> None:
        parts, tiles, kernel_height, row_stride, _ = dkernels.shape
        buffer = np.empty(kernel_height * row_stride + CHUNK, np.uint64)
        found, gy, dkernels = borrow(buffer), borrow(gy), borrow(dkernels)
        frames = len(starts)
        for part in range(first, last):
            for tile in range(tiles):
                for n in range(part * frames // parts, (part + 1) * frames // parts):
                    for h in range(gy.shape[1]):
                        for w in range(gy.shape[2]):
                            count = _gather(
                                found, starts, entries, n, h, w, channels, padding, kernel_height, row_stride
                            )
                            at = ((n * gy.shape[1] + h) * gy.shape[2] + w) * gy.shape[3] + tile * lanes
                            arrived = load(gy, at, lanes)
                            for k in range(count):
                                value, place = _unpack(found[k])
                                to = ((part * tiles + tile) * kernel_height * row_stride + place) * lanes
                                row = load(dkernels, to, lanes)
                                store(multiply_add(splat(value, lanes), arrived, row), dkernels, to)
        buffer[:] = 0  # until here somebody has it

    return correlate


@njit(nogil=True, error_model="numpy")
def _unpack(entry: Any) -> Any:
    """Return the value of an entry, and its place."""
    value = as_float(np.int32(entry >> np.uint64(32)))  # pyright: ignore[reportCallIssue]
    return value, np.intp(np.int32(entry))


@njit(nogil=True, error_model="numpy")
def _gather(
    found: np.ndarray,
    starts: np.ndarray,
    entries: np.ndarray,
    n: int,
    h: int,
    w: int,
    channels: int,
    padding: tuple[int, int],
    kernel_height: int,
    row_stride: int,
) -> int:
    """List the entries that the kernel meets at one place, by their place in the kernel, and return how many."""
    height, columns = starts.shape[1], starts.shape[2] - 1
    top, left = h - padding[0], w - padding[1]
    # Where padding is wider than the kernel, they may be beyond the frame.
    low, high = np.uintp(min(max(left, 0), columns)), np.uintp(max(min(left + row_stride // channels, columns), 0))
    count = 0
    for tap in range(max(0, -top), min(kernel_height, height - top)):
        row = np.uintp(top + tap)
        begin, end = starts[n, row, low], starts[n, row, high]
        shift = splat(np.uint64(tap * row_stride - left * channels), CHUNK)
        at = begin
        while True:  # at least one chunk: most runs are shorter, and a branch that skips it would be guessed wrong
            store(add(load(entries, at, CHUNK), shift), found, count + at - begin)
            at += CHUNK
            if at >= end:
                break
        count += end - begin
    return count


@cache
def transposed_convolve(together: int, lanes: int) -> Callable[..., None]:
    """Return what writes the gradient of frames `first` to before `last`, of so many pixels and numbers at a time.

    Shape:
        gy: `[N, H', W', F]`; kernel: see above; gx: `[N, H, W * C]`.
    """

    @compiled(nogil=True, error_model="numpy")
    def transposed_convolve(
        gy: np.ndarray,
        kernel: np.ndarray,
        gx: np.ndarray,
        channels: int,
        padding: tuple[int, int],
        first: int,
        last: int,
    ) -> None:
        _, height, width, features = gy.shape
        chunks, kernel_height, _, _ = kernel.shape
        begin = padding[1] * channels
        buffer = np.empty(max(width * channels + chunks * lanes, begin + gx.shape[2]), gx.dtype)
        line, gy, kernel, gx = borrow(buffer), borrow(gy), borrow(kernel), borrow(gx)
        for n in range(first, last):
            for y in range(gx.shape[1]):
                low, high = max(0, y + padding[0] - height + 1), min(kernel_height, y + padding[0] + 1)
                line[:] = 0
                for chunk in range(chunks if low < high else 0):
                    for x in range(0, width, together):
                        count = min(together, width - x)
                        sums = zeros(gy, together, lanes)
                        for tap in range(low, high):
                            of = ((n * height + y + padding[0] - tap) * width + x) * features
                            at = (chunk * kernel_height + tap) * features
                            for f in range(features):
                                row = load(kernel, (at + f) * lanes, lanes)
                                # Pixels past the last one are the last one again, and dropped.
                                sums = add_products(sums, gy, of + f, features, count - 1, row)
                        for p in range(count):
                            to = (x + p) * channels + chunk * lanes
                            store(add(load(line, to, lanes), sums[p]), line, to)
                row = gx[n, y]
                for at in range(row.size):
                    row[at] = line[begin + at]
        buffer[:] = 0  # until here somebody has it

    return transposed_convolve
