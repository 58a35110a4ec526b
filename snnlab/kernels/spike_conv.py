"""A convolution after spikes: with few nonzero cells, output and kernel's gradient are sums over these cells only.

The gradient of the cells is dense, because the derivative of a spike is nonzero where the spike is zero.

The nonzero cells are a list in which the cells of a row of a frame are adjacent, so that the cells under one row of the
kernel are one run. The runs of all rows of the kernel are gathered in a list, and one loop over it keeps the features
in registers. (One loop per run takes twice as long: a run has few cells, and the processor mispredicts its end.) Each
sum adds the cells in the order of the kernel's memory.

An entry is 64 bits: 32 for the index of the cell in its row of the frame, 32 for its value. The kernel has the layout
`[tiles, height, width * channels, lanes]`; the features of a tile fill the lanes of a vector.

The gradient of a pixel of the output goes to `width * channels` adjacent numbers, which are whole vectors even if the
channels alone do not fill one. Adjacent pixels load each number of the kernel together, and their sums stay in
registers for all features and all rows of the kernel, until they are added to a row. For this loop the kernel has the
layout `[chunks, height, F, lanes]`: the numbers to which a feature contributes in one row, in chunks of three or four
vectors.

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

from snnlab.compiled import borrow, compiled
from snnlab.event_lists import list_ends
from snnlab.kernels.function import refuse_second_derivative
from snnlab.kernels.vectors import LANES, add, add_products, load, multiply_add, splat, store, zeros
from snnlab.numba_compat import as_float
from snnlab.threads import MIN_VALUES, share

# Fraction of nonzero cells from which on the dense convolution is about as fast, for any kernel; and the cost of the
# lists at a pixel of the output, in multiply-adds of the dense one, for any kernel size.
FEW = 0.18
GAIN, LISTS = 0.3, 40.0

# Cells below which the time of the dense convolution is negligible.
SMALL = MIN_VALUES

# Approximate numbers in all partial sums of a kernel's gradient, which are added in the end.
_GRADIENT_NUMBERS = 2**21

# Entries that are copied at once, more than needed; arrays of entries have as many spare ones at the end.
CHUNK = 16

# Bits of a float32 without its sign, because -0.0 is zero too.
SIZE = np.uint32(0x7FFFFFFF)

# Most pixels that are processed together: four vectors each, and four of the kernel, fit into 32 registers.
PIXELS = 6


class SparseFrames(NamedTuple):
    """The nonzero cells of frames: start of each column of each row in the entries, and the entries."""

    starts: np.ndarray
    entries: np.ndarray


def convolution(x: Tensor, weight: Tensor, bias: Tensor | None, padding: tuple[int, int]) -> Tensor:
    """Return the convolution, of stride 1, of frames of spikes.

    Shape:
        x: `[N, C, H, W]`; weight: `[F, C, height, width]`; bias: `[F]`; returns `[N, F, H', W']`, channels-last.
    """
    most = _max_density(weight) if _fits(weight, x) else 0.0
    spikes = _find_spikes(x, most) if most > 0.0 else None
    if spikes is None and not (torch.is_grad_enabled() and x.requires_grad and _loop_is_faster(weight, x)):
        return functional.conv2d(x, weight, bias, padding=padding)
    return _Convolution.apply(x, spikes, weight, bias, padding)  # pyright: ignore[reportReturnType]


def _fits(weight: Tensor, x: Tensor) -> bool:
    """Return whether the sparse loops can run a convolution: whole vectors of features, a large channels-last input."""
    return weight.shape[0] % 8 == 0 and _memory_fits(weight, x)


def _memory_fits(weight: Tensor, x: Tensor) -> bool:
    return (
        weight.dtype == x.dtype == torch.float32
        and x.device.type == "cpu"
        and SMALL <= x.numel() < 2**31
        and x.permute(0, 2, 3, 1).is_contiguous()
    )


def _max_density(weight: Tensor) -> float:
    """Return the fraction of nonzero cells up to which the loops are faster than the dense convolution."""
    return min(FEW, GAIN * _lanes_for(weight) / 32 - LISTS / weight[0].numel())


def _find_spikes(x: Tensor, most: float) -> SparseFrames | None:
    """Return the nonzero cells, or None if they are more than a fraction `most` of all."""
    frames, channels, height, width = x.shape
    cells = x.detach().permute(0, 2, 3, 1).reshape(frames * height, width * channels).numpy()
    ends = list_ends(cells)
    if ends[-1] > most * cells.size:
        return None
    starts = np.empty((frames, height, width + 1), np.int32)
    entries = np.empty(ends[-1] + CHUNK, np.uint64)
    entries[ends[-1] :] = 0
    run = partial(list_spikes, cells, channels, ends, starts.reshape(len(cells), -1), entries)
    share(run, len(cells), cells.size // 2)
    return SparseFrames(starts, entries)


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, spikes: SparseFrames | None, weight: Tensor, bias: Tensor | None, padding: tuple[int, int]
    ) -> Tensor:
        # As saved tensors, so that autograd frees them with the graph, and checkpointing at once.
        arrays = () if spikes is None else (spikes.starts, spikes.entries.view(np.int64))
        ctx.save_for_backward(weight, x if spikes is None else None, *map(torch.from_numpy, arrays))
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
        weight, x, *arrays = ctx.saved_tensors
        needs_x, _, needs_weight, needs_bias, _ = ctx.needs_input_grad
        gy = gy.contiguous(memory_format=torch.channels_last)
        in_loop = needs_x and _loop_is_faster(weight, gy)
        gx = _input_gradient(ctx, weight, gy) if in_loop else None
        gweight = _weight_gradient(ctx, arrays, weight, gy) if needs_weight and x is None else None
        by_torch = [needs_x and not in_loop, needs_weight and x is not None, False]
        if any(by_torch):
            x = torch.empty(ctx.frames, memory_format=torch.channels_last) if x is None else x
            settings = [1, 1], ctx.padding, [1, 1], False, [0, 0], 1
            found = torch.ops.aten.convolution_backward(gy, x, weight, None, *settings, by_torch)
            gx, gweight = (found[0] if by_torch[0] else gx), (found[1] if by_torch[1] else gweight)
        return gx, None, gweight, gy.sum((0, 2, 3)) if needs_bias else None, None


def _weight_gradient(ctx: Any, arrays: list[Tensor], weight: Tensor, gy: Tensor) -> Tensor:
    starts, entries = arrays[0].numpy(), arrays[1].numpy().view(np.uint64)
    (features, channels, height, width), lanes = weight.shape, _lanes_for(weight)
    # The same number for any number of threads, so that the sums are the same; fewer for few frames.
    parts = max(4, min(_GRADIENT_NUMBERS // weight.numel(), 32, len(starts) // 8))
    dkernels = weight.new_zeros(parts, features // lanes, height, width * channels, lanes)
    rows = gy.permute(0, 2, 3, 1).numpy()
    run = partial(correlate(lanes), starts, entries, rows, dkernels.numpy(), channels, ctx.padding)
    share(run, parts, gy.numel())
    tiles = dkernels.sum(0).view(features // lanes, height, width, channels, lanes)
    return tiles.permute(0, 4, 3, 1, 2).reshape(weight.shape)


def _kernel_tiles(weight: Tensor) -> np.ndarray:
    """Return a weight `[F, C, height, width]` as `[tiles, height, width * C, lanes]`."""
    _, channels, height, width = weight.shape
    parts = weight.detach().numpy().reshape(-1, _lanes_for(weight), channels, height, width).transpose(0, 3, 4, 2, 1)
    return np.ascontiguousarray(parts.reshape(len(parts), height, width * channels, -1))


def _lanes_for(weight: Tensor) -> int:
    return next(lanes for lanes in (32, 16, 8) if len(weight) % lanes == 0)


def _loop_is_faster(weight: Tensor, like: Tensor) -> bool:
    """Return whether the input-gradient loop fills its vectors better than oneDNN, whose vectors are of channels.

    If both fill their vectors, oneDNN is faster.
    """
    channels, row_stride = weight.shape[1], weight.shape[1] * weight.shape[3]
    lanes = _chunk_lanes(row_stride)
    used, onednn_used = row_stride / (-(-row_stride // lanes) * lanes), channels / (-(-channels // LANES) * LANES)
    return used > 1.1 * onednn_used and _memory_fits(weight, like) and _has_wide_vectors()


def _chunk_lanes(row_stride: int) -> int:
    """Return the lanes of a chunk with the least padding for rows of `row_stride` numbers."""
    return min((4 * LANES, 3 * LANES), key=lambda lanes: -(-row_stride // lanes) * lanes)


def _input_gradient(ctx: Any, weight: Tensor, gy: Tensor) -> Tensor:
    frames, channels, height, width = ctx.frames
    gx = gy.new_empty(frames, height, width * channels)
    rows, kernel = gy.permute(0, 2, 3, 1).numpy(), _kernel_chunks(weight)
    # The fewest groups of pixels, and then the fewest pixels per group.
    loop = transposed_convolve(max(4, -(-gy.shape[3] // -(-gy.shape[3] // PIXELS))), kernel.shape[3])
    share(partial(loop, rows, kernel, gx.numpy(), channels, ctx.padding), frames, gy.numel())
    return gx.unflatten(2, (width, channels)).permute(0, 3, 1, 2)


def _kernel_chunks(weight: Tensor) -> np.ndarray:
    """Return a weight `[F, C, height, width]` as `[chunks, height, F, lanes]`, padded with zeros."""
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
    """Write the entries of rows `first` to before `last`, and the start of each column's entries.

    Shape:
        cells: `[N * H, W * C]`; ends (of `list_ends`): `[N * H + 1]`; starts: `[N * H, W + 1]`; entries: `[spikes]`.
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
                # Always written, and overwritten by the next one: a branch would be mispredicted half of the time.
                line[count] = np.uint64(row[at]) << np.uint64(32) | np.uint64(at)
                count += np.uintp(row[at] & SIZE != 0)
        starts[n, starts.shape[1] - 1] = begin + count
        for at in range(count):
            entries[begin + at] = line[at]
    buffer[:] = 0  # keeps the buffer alive until here


@cache
def convolve(lanes: int) -> Callable[..., None]:
    """Return the loop that writes the outputs of frames `first` to before `last`, `lanes` features at a time.

    Shape:
        starts: `[N, H, W + 1]`; entries: `[spikes]`; kernel: `[tiles, height, width * C, lanes]`; bias: `[F]`; y:
        `[N, H', W', F]`.
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
                            value, column = _unpack(found[k])
                            row = load(kernel, (tile * kernel_height * row_stride + column) * lanes, lanes)
                            total = multiply_add(splat(value, lanes), row, total)
                        store(total, y, ((n * y.shape[1] + h) * y.shape[2] + w) * y.shape[3] + tile * lanes)
        buffer[:] = 0  # keeps the buffer alive until here

    return convolve


@cache
def correlate(lanes: int) -> Callable[..., None]:
    """Return the loop that sums the kernel's gradient over the frames, for parts `first` to before `last` of these.

    Shape:
        starts: `[N, H, W + 1]`; entries: `[spikes]`; gy: `[N, H', W', F]`; dkernels: `[parts, *kernel]`.
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
                            grad = load(gy, at, lanes)
                            for k in range(count):
                                value, column = _unpack(found[k])
                                to = ((part * tiles + tile) * kernel_height * row_stride + column) * lanes
                                row = load(dkernels, to, lanes)
                                store(multiply_add(splat(value, lanes), grad, row), dkernels, to)
        buffer[:] = 0  # keeps the buffer alive until here

    return correlate


@njit(nogil=True, error_model="numpy")
def _unpack(entry: Any) -> Any:
    """Return the value of an entry, and its index in the kernel."""
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
    """List the entries under the kernel at one pixel, with their index in the kernel, and return their number."""
    height, columns = starts.shape[1], starts.shape[2] - 1
    top, left = h - padding[0], w - padding[1]
    # If the padding is wider than the kernel, the kernel may be outside of the frame.
    low, high = np.uintp(min(max(left, 0), columns)), np.uintp(max(min(left + row_stride // channels, columns), 0))
    count = 0
    for kernel_row in range(max(0, -top), min(kernel_height, height - top)):
        row = np.uintp(top + kernel_row)
        begin, end = starts[n, row, low], starts[n, row, high]
        shift = splat(np.uint64(kernel_row * row_stride - left * channels), CHUNK)
        at = begin
        while True:  # always one chunk: most runs are shorter, and a branch that skips it would be mispredicted
            store(add(load(entries, at, CHUNK), shift), found, count + at - begin)
            at += CHUNK
            if at >= end:
                break
        count += end - begin
    return count


@cache
def transposed_convolve(pixels: int, lanes: int) -> Callable[..., None]:
    """Return the loop that writes the input's gradient of frames `first` to before `last`.

    Args:
        pixels: Pixels that are processed together.
        lanes: Numbers of a chunk.

    Shape:
        gy: `[N, H', W', F]`; kernel: `[chunks, height, F, lanes]`; gx: `[N, H, W * C]`.
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
                    for x in range(0, width, pixels):
                        count = min(pixels, width - x)
                        sums = zeros(gy, pixels, lanes)
                        for kernel_row in range(low, high):
                            from_ = ((n * height + y + padding[0] - kernel_row) * width + x) * features
                            at = (chunk * kernel_height + kernel_row) * features
                            for f in range(features):
                                row = load(kernel, (at + f) * lanes, lanes)
                                # Pixels past the last one repeat it, and are dropped.
                                sums = add_products(sums, gy, from_ + f, features, count - 1, row)
                        for p in range(count):
                            to = (x + p) * channels + chunk * lanes
                            store(add(load(line, to, lanes), sums[p]), line, to)
                row = gx[n, y]
                for at in range(row.size):
                    row[at] = line[begin + at]
        buffer[:] = 0  # keeps the buffer alive until here

    return transposed_convolve
