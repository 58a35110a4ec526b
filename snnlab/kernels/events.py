"""Neurons after a convolution of events; the convolution is summed event by event, and its output is never stored.

The saved values of such a layer can need more memory than the rest of a network. If they are large, the backward pass
recomputes all blocks of time but the last: their input is a few events. All numbers are the same bit for bit, except
for gradients that are sums over time, which are added block by block.

Axes: T steps, B samples, P channels, H rows, W columns of a frame; n neurons in the order of memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, partial
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from numba import njit
from torch import Tensor

from snnlab.compiled import compiled
from snnlab.event_frames import EventFrames
from snnlab.event_lists import BITS, CellPositions, bits_of, cell_positions, list_cells, list_ends
from snnlab.kernels.function import (
    GROUP,
    BackwardPass,
    ForwardPass,
    Grads,
    Kernel,
    KernelArgs,
    KernelCall,
    KernelOutput,
    make_call,
    run_time_loop,
)
from snnlab.kernels.layout import Layout, Pool
from snnlab.kernels.vectors import LANES, add, load, multiply, splat, store
from snnlab.threads import share

# Numbers that are added at once if a row of the kernel has as many.
WIDE_LANES = 4 * LANES
# Partial sums of a kernel's gradient, for any number of threads.
PARTS = 32
# Neurons of a block of the image without a pooling.
BLOCK_NEURONS = 1024
# Neurons times steps whose values are saved, and of one recomputed block of time: 128 and 16 MiB in float32.
MAX_SAVED, TIME_BLOCK = 2**25, 2**22

Arrays = tuple[np.ndarray, ...]


class Convolution(NamedTuple):
    """A convolution of stride 1 from frames of events to the input of neurons.

    Attributes:
        weight: The kernel, `[features, P, height, width]`.
        bias: The bias, `[features]`, or None.
        padding: Rows and columns of zeros on each side.
    """

    weight: Tensor
    bias: Tensor | None
    padding: tuple[int, int]

    def image(self, frame: torch.Size) -> torch.Size:
        """Return the shape of the output, `[features, H', W']`, of a frame `[P, H, W]`."""
        (pad_y, pad_x), (features, _, height, width) = self.padding, self.weight.shape
        return torch.Size((features, frame[1] + 2 * pad_y - height + 1, frame[2] + 2 * pad_x - width + 1))

    def rows(self, image: torch.Size, lines: int) -> tuple[Tensor, Tensor]:
        """Return kernel and bias in the layout of the loops.

        Args:
            image: Shape of the output.
            lines: Rows of the output in a block.
        """
        weight, (features, _, width) = self.weight.detach().numpy(), image
        _, channels, kernel_height, kernel_width = weight.shape
        # Its columns in reverse order, in rows of whole vectors.
        used = kernel_width * features
        kernel = np.zeros((kernel_height, channels, used + -used % LANES), weight.dtype)
        kernel[..., :used] = weight[..., ::-1].transpose(2, 1, 3, 0).reshape(kernel_height, channels, used)
        # Rows of the output are padded on both sides, for all columns of the kernel.
        bias = np.zeros(lines * (width + 2 * (kernel_width - 1)) * features + kernel.shape[2], weight.dtype)
        if self.bias is not None:
            bias[: -kernel.shape[2]].reshape(-1, features)[:] = self.bias.detach().numpy()
        return torch.from_numpy(kernel), torch.from_numpy(bias)


class EventLoop(NamedTuple):
    """The loop of neurons after a convolution of events.

    Attributes:
        call: The settings of the call.
        sizes: Arguments of the loops for the convolution, by name.
        ends: End of each block of time.
    """

    call: KernelCall
    sizes: dict[str, Any]
    ends: tuple[int, ...]

    @property
    def blocks(self) -> list[tuple[int, int]]:
        """The blocks of time: first step, and the step after the last one."""
        return list(pairwise((0, *self.ends)))

    def slice_steps(self, inputs: Sequence[Any], first: int, last: int) -> tuple[KernelCall, dict[str, Any]]:
        """Return the settings of a call of some steps, and its arguments for the convolution and the events."""
        call, batch = self.call, self.call.shape[1]
        lengths = None if call.lengths is None else (call.lengths - first).clamp(0, last - first)
        offsets, *rest, kernel, bias = (part.numpy() for part in inputs[2:])
        events = offsets[first * batch : last * batch].reshape(-1), *rest, kernel.reshape(-1), bias
        shape = torch.Size((last - first, *call.shape[1:]))
        return call._replace(shape=shape, lengths=lengths), self.sizes | {"events": events}

    def forward(self, args: KernelArgs) -> tuple[list[Tensor], Grads]:
        """Run all blocks; saved are the values of the last block, the inputs, and the states before later blocks."""
        call, counts = self.call, None
        y = call.layout.empty(args.states[0], (*call.shape[:2], *call.output_shape))
        forward, block_states = None, []
        for first, last in self.blocks:
            if forward is not None:
                args = args._replace(states=forward.outputs()[1 : 1 + len(call.names)])
                block_states += args.states
            block_call, events = self.slice_steps(args.inputs, first, last)
            forward = ForwardPass(block_call, y[first:last], y[first:last], args, events=events)
            forward.run(0, last - first)
            if forward.counts is not None:
                counts = forward.counts if counts is None else counts + forward.counts
        assert forward is not None
        forward.call, forward.y, forward.counts = call, y, counts
        return forward.outputs(), [*forward.saved, *args.inputs, *block_states]

    def backward(self, saved: KernelArgs, grads: Grads, needs_grad: Sequence[bool]) -> Grads:
        """Run all blocks backward, after a new forward pass of each block but the last."""
        call, num_states, num_saved = self.call, len(self.call.names), len(self.call.step.saved)
        values, inputs = saved.inputs[:num_saved], saved.inputs[num_saved : num_saved + 8]
        (weight, bias), block_states = inputs[:2], [*saved.states, *saved.inputs[num_saved + 8 :]]
        gy, *state_grads = (call.to_layout(grads[0]), *grads[1:])
        count_grads = [state_grads.pop()] if call.count_spikes else []
        found: Grads = []
        for block, (first, last) in reversed(list(enumerate(self.blocks))):
            block_call, events = self.slice_steps(inputs, first, last)
            args = saved._replace(states=block_states[block * num_states : (block + 1) * num_states])
            if last < call.shape[0]:
                y = call.layout.empty(weight, (last - first, call.shape[1], *call.output_shape))
                forward = ForwardPass(block_call, y, y, args, events=events)
                forward.run(0, last - first)
                values = forward.saved
            dkernel = weight.new_zeros(PARTS, inputs[6].numel())
            events["dkernel"] = dkernel.view(-1)
            block_grads = (None if gy is None else gy[first:last], *state_grads, *count_grads)
            back = BackwardPass(block_call, values, args, block_grads, again=True, events=events)
            back.run(0, last - first)
            state_grads = back.state_grads
            dbias = None if bias is None else back.dx.sum((0, 2, 3))
            parts = [_as_weight(dkernel.sum(0), weight.shape), dbias, *back.numbers()]
            found = (
                parts if not found else [_sum_or_none(part, other) for part, other in zip(parts, found, strict=True)]
            )
        return [*found[:2], *[None] * 6, *state_grads, *found[2:]]


def run(
    kernel: Kernel,
    frames: Tensor | EventFrames,
    convolution: Convolution,
    state: Any,
    k: Any,
    lengths: Tensor | None = None,
    *,
    count: bool = False,
    pool: Pool | None = None,
) -> KernelOutput:
    """Run all steps of neurons on a convolution of events.

    Outputs equal those of the convolution followed by the neurons, up to the rounding of the convolution's sums. There
    are gradients of its kernel and bias, and none of the frames.

    Args:
        kernel: The kernel of the neurons' step.
        frames: Frames of events, with few nonzero cells.
        convolution: The convolution.
        state: State before the first step, a NamedTuple.
        k: The neurons' coefficients.
        lengths: Valid steps of each sample; None if all are.
        count: Whether to count spikes.
        pool: The pooling after the neurons, or None.

    Shape:
        frames: `[T, B, P, H, W]`; state: of `[B, features, H', W']`.
    """
    image = convolution.image(frames.shape[2:])
    like, lists = (frames, find_events(frames)) if isinstance(frames, Tensor) else (frames.like, frames.lists)
    shape = torch.Size((*frames.shape[:2], *image))
    pool = pool if pool is not None and min(image[1:]) >= pool.size else None
    call, tensors = make_call(
        kernel, Layout.channels_last(), like.new_empty(1).expand(shape), state, k, lengths, count, pool
    )
    # Rows of the image in a block: those of one window of the pooling.
    lines = max(1, BLOCK_NEURONS // (image[0] * image[2])) if pool is None else pool.size
    rows = convolution.rows(image, lines)
    loop = EventLoop(call, _sizes(convolution, frames.shape[2:], call, lines, rows[0].shape[2]), block_ends(call))
    inputs = [*convolution[:2], *map(torch.from_numpy, lists), *rows]
    y, *after = run_time_loop(loop, inputs, state, tensors)
    counts = after.pop() if count else None
    return KernelOutput(y, call.last_state(after), counts, pool is not None)


def block_ends(call: KernelCall) -> tuple[int, ...]:
    """Return the ends of the blocks of time; all but the last are recomputed; only T if all values are saved."""
    num_steps, neurons = call.shape[0], max(1, call.shape[1:].numel())
    recomputed = num_steps - max(1, MAX_SAVED // neurons) if call.step.grads else 0
    if recomputed <= 0:
        return (num_steps,)
    steps = max(1, TIME_BLOCK // neurons)
    return *range(steps, recomputed, steps), recomputed, num_steps


def _sizes(
    convolution: Convolution, frame: torch.Size, call: KernelCall, lines: int, row_stride: int
) -> dict[str, Any]:
    """Return the sizes that loops take for a convolution; `row_stride` numbers are in a row of the kernel."""
    (features, channels, kernel_height, kernel_width), width = convolution.weight.shape, call.sample[2]
    block, margin = lines * width * features, kernel_width - 1
    stride = (width + 2 * margin) * features
    # The number of tasks does not depend on that of threads, because each has a part of the kernel's gradient.
    group = max(1, min(GROUP, -(-call.sample.numel() * call.shape[1] // PARTS)) // block) * block
    return {
        "geometry": (
            *(frame[1], *convolution.padding, features),
            *(kernel_height, channels, row_stride, stride, margin * features),
        ),
        "size": np.uintp(lines),
        "channels": np.uintp(features),
        "width": np.uintp(width * features),
        "group": group,
        "parts": PARTS,
    }


def _as_weight(dkernel: Tensor, shape: torch.Size) -> Tensor:
    """Return the kernel's gradient, in the layout of the loops, with the axes of a weight of this shape."""
    features, channels, height, width = shape
    rows = dkernel.view(height, channels, -1)[..., : width * features]
    return rows.view(height, channels, width, features).permute(3, 1, 0, 2).flip(3)


def _sum_or_none(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    return other if one is None else one if other is None else one + other


# -- Functions that rendered loops call -------------------------------------------------------------------------------

ConvGeometry = tuple[int, int, int, int, int, int, int, int, int]


@njit(nogil=True, error_model="numpy")
def convolve(
    to: np.ndarray, lines: int, events: Arrays, kernel: np.ndarray, geometry: ConvGeometry, frame: int, line: int
) -> None:
    """Add the convolution of a frame's events to some rows of the output, from row `line` on."""
    height, pad_y, pad_x, features, kernel_height, channels, row_stride, stride, _ = geometry
    offsets, rows, columns, values = events
    begin = np.intp(frame) * (channels * height + 1)
    for n in range(np.intp(lines)):
        # The frame's row at the kernel's first row; the events of all rows at the kernel are adjacent.
        top = np.intp(line) + n - pad_y
        first, last = max(0, top), min(height, top + kernel_height)
        for channel in range(channels if first < last else 0):
            row = begin + channel * height
            for e in range(offsets[row + first], offsets[row + last]):
                at = n * stride + (columns[e] + pad_x) * features
                k = ((rows[e] - top) * channels + channel) * row_stride
                lane = 0
                while lane + WIDE_LANES <= row_stride:
                    product = multiply(splat(values[e], WIDE_LANES), load(kernel, k + lane, WIDE_LANES))
                    store(add(load(to, at + lane, WIDE_LANES), product), to, at + lane)
                    lane += WIDE_LANES
                while lane < row_stride:
                    product = multiply(splat(values[e], LANES), load(kernel, k + lane, LANES))
                    store(add(load(to, at + lane, LANES), product), to, at + lane)
                    lane += LANES


@njit(nogil=True, error_model="numpy")
def correlate(
    to: np.ndarray,
    start: int,
    padded_grad: np.ndarray,
    line: int,
    lines: int,
    events: Arrays,
    geometry: ConvGeometry,
    frame: int,
) -> None:
    """Add to a kernel's gradient, from `start` on, the part of `lines` rows of the output and a frame's events."""
    height, pad_y, pad_x, features, kernel_height, channels, row_stride, stride, _ = geometry
    offsets, rows, columns, values = events
    offset = np.intp(frame) * (channels * height + 1)
    for kernel_row in range(kernel_height):
        # The frame's row at the first of these rows of the output.
        row = np.intp(line) - pad_y + kernel_row
        first, last = max(0, row), min(height, row + np.intp(lines))
        base = pad_x * features - row * stride
        for channel in range(channels if first < last else 0):
            begin, end = offsets[offset + channel * height + first], offsets[offset + channel * height + last]
            at, lane = start + (kernel_row * channels + channel) * row_stride, 0
            while lane + WIDE_LANES <= row_stride:
                wide_sum = load(to, at + lane, WIDE_LANES)
                for e in range(begin, end):
                    wide_grad = load(padded_grad, base + rows[e] * stride + columns[e] * features + lane, WIDE_LANES)
                    wide_sum = add(wide_sum, multiply(splat(values[e], WIDE_LANES), wide_grad))
                store(wide_sum, to, at + lane)
                lane += WIDE_LANES
            while lane < row_stride:
                narrow_sum = load(to, at + lane, LANES)
                for e in range(begin, end):
                    grad = load(padded_grad, base + rows[e] * stride + columns[e] * features + lane, LANES)
                    narrow_sum = add(narrow_sum, multiply(splat(values[e], LANES), grad))
                store(narrow_sum, to, at + lane)
                lane += LANES


# -- The events in frames ---------------------------------------------------------------------------------------------


def has_few_events(frames: Tensor, most: float) -> bool:
    """Return whether at most a fraction `most` of the cells of frames are nonzero; it stops early if more are.

    Shape:
        frames: `[T, B, P, H, W]`.
    """
    contiguous, layout = Layout.infer(frames.detach())
    cells, found = layout.permuted(contiguous).flatten(2).flatten(0, 1), 0
    for part in cells.chunk(8):
        found += int(list_ends(part.numpy())[-1])
        if found > most * cells.numel():
            return False
    return True


def find_events(frames: Tensor) -> Arrays:
    """Return the start of the events of each row of each channel of each frame; and row, column, value of each event.

    Shape:
        frames: `[T, B, P, H, W]`; returns `[T * B, P * H + 1]`, and three times `[events]`.
    """
    num_steps, batch, channels, height, width = frames.shape
    # Channels-last, the usual layout of frames, and that of the loops' outputs.
    cells = frames.detach().permute(0, 1, 3, 4, 2).contiguous().flatten(0, 1).flatten(1).numpy()
    ends = list_ends(cells)
    offsets = np.empty((num_steps * batch, channels * height + 1), np.int64)
    rows, columns = np.empty((2, ends[-1]), np.int32)
    values = np.empty(ends[-1], cells.dtype)
    positions = cell_positions(height, width, channels)
    masks = _channel_masks(channels, cells.shape[1])
    run = partial(_fill_lists, cells, *bits_of(cells), ends, masks, positions, offsets, rows, columns, values)
    share(run, len(cells), cells.size // 2)
    return offsets, rows, columns, values


@lru_cache(maxsize=8)
def _channel_masks(channels: int, cells: int) -> np.ndarray:
    """Return the bit mask of each channel's cells in a frame, `[P, words]`."""
    bits = np.zeros((channels, -(-cells // BITS) * BITS), np.uint8)
    bits[np.arange(cells) % channels, np.arange(cells)] = 1
    return np.packbits(bits, axis=1, bitorder="little").view("<u8").astype(np.uint64)


@compiled(nogil=True, error_model="numpy")
def _fill_lists(
    cells: np.ndarray,
    bits: np.ndarray,
    without_sign: Any,
    ends: np.ndarray,
    channel_masks: np.ndarray,
    positions: CellPositions,
    offsets: np.ndarray,
    rows: np.ndarray,
    columns: np.ndarray,
    values: np.ndarray,
    first: int,
    last: int,
) -> None:
    size, height = cells.shape[1], positions.row.size // positions.row_stride
    nonzero, masked = np.empty((2, channel_masks.shape[1]), np.uint64)
    word_starts, indices = np.empty(nonzero.size, np.int64), np.empty(size + 4, np.uint32)
    for n in range(first, last):
        row, row_bits = cells[n], bits[n]
        for word in range(np.uintp(nonzero.size)):
            mask, at = np.uint64(0), word * np.uintp(BITS)
            for k in range(min(np.uintp(BITS), np.uintp(size) - at)):
                mask |= np.uint64(row_bits[at + k] & without_sign != 0) << k
            nonzero[word] = mask
        e = ends[n]
        for channel in range(channel_masks.shape[0]):
            for word in range(nonzero.size):
                masked[word] = nonzero[word] & channel_masks[channel, word]
            lines = offsets[n, channel * height : (channel + 1) * height + 1]
            e += list_cells(masked, positions, row, e, lines, rows, columns, values, word_starts, indices)
