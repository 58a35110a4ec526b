"""Neurons behind a convolution of events, which is summed event by event and is nowhere as a whole.

What such a layer keeps for each neuron and step can be more than all the rest of a network. Where it is much, the way
back computes all but the last piece of time again: its input is a few events. All numbers are the same bit for bit, but
for gradients that are sums over time, which are added up piece by piece.

Axes: T steps, B samples, P channels, H rows, W columns of a frame; n neurons as they lie in memory.
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
from snnlab.event_lists import BITS, Places, bits_of, list_cells, list_ends, places_of
from snnlab.kernels.function import GROUP, Backward, Call, Forward, Given, Grads, Kernel, Output, called, gone_through
from snnlab.kernels.layout import Layout, Pool
from snnlab.kernels.vectors import LANES, add, load, multiply, splat, store
from snnlab.threads import share

# Numbers that are added at once where a row of the kernel has so many.
MANY_LANES = 4 * LANES
# Parts in which the gradient of a kernel is summed, whatever the number of threads.
PARTS = 32
# Neurons of a piece of the image where no pooling says how many.
PIECE = 1024
# Neurons times steps of which all is kept, and those of a piece of time before: 128 and 16 MiB in float32.
WHOLE, AT_ONCE = 2**25, 2**22

Arrays = tuple[np.ndarray, ...]


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

    def rows(self, image: torch.Size, lines: int) -> tuple[Tensor, Tensor]:
        """Return kernel and bias as loops take them.

        Args:
            image: Shape of the output.
            lines: Rows of the output in a piece.
        """
        weight, (features, _, across) = self.weight.detach().numpy(), image
        _, channels, taps, columns = weight.shape
        # Its columns from the last to the first, in rows of whole vectors.
        used = columns * features
        kernel = np.zeros((taps, channels, used + -used % LANES), weight.dtype)
        kernel[..., :used] = weight[..., ::-1].transpose(2, 1, 3, 0).reshape(taps, channels, used)
        # Lines of the output have room on either side, so that all columns of the kernel reach there.
        bias = np.zeros(lines * (across + 2 * (columns - 1)) * features + kernel.shape[2], weight.dtype)
        if self.bias is not None:
            bias[: -kernel.shape[2]].reshape(-1, features)[:] = self.bias.detach().numpy()
        return torch.from_numpy(kernel), torch.from_numpy(bias)


class Layer(NamedTuple):
    """What is fixed for all steps.

    Attributes:
        call: The neurons.
        sizes: What loops are given besides, of the convolution.
        ends: Where each piece of time ends.
    """

    call: Call
    sizes: dict[str, Any]
    ends: tuple[int, ...]

    @property
    def pieces(self) -> list[tuple[int, int]]:
        """The pieces of time, each from a step to before another."""
        return list(pairwise((0, *self.ends)))

    def of_steps(self, own: Sequence[Any], first: int, last: int) -> tuple[Call, dict[str, Any]]:
        """Return the run of some steps, and what its loops are given of the convolution and the events."""
        call, batch = self.call, self.call.shape[1]
        steps = None if call.steps is None else (call.steps - first).clamp(0, last - first)
        offsets, *rest, kernel, bias = (part.numpy() for part in own[2:])
        events = offsets[first * batch : last * batch].reshape(-1), *rest, kernel.reshape(-1), bias
        shape = torch.Size((last - first, *call.shape[1:]))
        return call._replace(shape=shape, steps=steps), self.sizes | {"events": events}

    def forward(self, given: Given) -> tuple[list[Tensor], Grads]:
        """Go through all pieces; kept are what the last one keeps, what is given, and states before the others."""
        call, counts = self.call, None
        y = call.layout.empty(given.states[0], (*call.shape[:2], *call.outputs))
        done, before = None, []
        for first, last in self.pieces:
            if done is not None:
                given = given._replace(states=done.outputs()[1 : 1 + len(call.names)])
                before += given.states
            its, events = self.of_steps(given.own, first, last)
            done = Forward(its, y[first:last], y[first:last], given, events=events)
            done.steps(0, last - first)
            if done.counts is not None:
                counts = done.counts if counts is None else counts + done.counts
        assert done is not None
        done.call, done.y, done.counts = call, y, counts
        return done.outputs(), [*done.keep, *given.own, *before]

    def backward(self, saved: Given, grads: Grads, asked: Sequence[bool]) -> Grads:
        """Go back through all pieces, of which all but the last are computed once more."""
        call, many, kept = self.call, len(self.call.names), len(self.call.step.keep)
        keep, own, later = saved.own[:kept], saved.own[kept : kept + 8], saved.own[kept + 8 :]
        (weight, bias), before = own[:2], [*saved.states, *later]
        gy, *carried = (call.laid(grads[0]), *grads[1:])
        of_counts = [carried.pop()] if call.counting else []
        found: Grads = []
        for piece, (first, last) in reversed(list(enumerate(self.pieces))):
            its, events = self.of_steps(own, first, last)
            given = saved._replace(states=before[piece * many : (piece + 1) * many])
            if last < call.shape[0]:
                y = call.layout.empty(weight, (last - first, call.shape[1], *call.outputs))
                again = Forward(its, y, y, given, events=events)
                again.steps(0, last - first)
                keep = again.keep
            dkernel = weight.new_zeros(PARTS, own[6].numel())
            events["dkernel"] = dkernel.view(-1)
            arrived = (None if gy is None else gy[first:last], *carried, *of_counts)
            back = Backward(its, keep, given, arrived, again=True, events=events)
            back.steps(0, last - first)
            carried = back.before
            dbias = None if bias is None else back.dx.sum((0, 2, 3))
            parts = [_as_weight(dkernel.sum(0), weight.shape), dbias, *back.numbers()]
            found = parts if not found else [_sum(part, other) for part, other in zip(parts, found, strict=True)]
        return [*found[:2], *[None] * 6, *carried, *found[2:]]


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
) -> Output:
    """Run all steps of neurons on a convolution of events.

    Outputs are those of the convolution and then the neurons up to the rounding of the convolution's sums. Gradients
    reach its kernel and bias, and not the frames.

    Args:
        kernel: What runs the neurons' step, see `function.kernel_for`.
        frames: Frames of events, few of whose cells are not zero.
        convolution: What brings them to the neurons.
        state: See `function.run`, as k, lengths, count and pool.
        k: The neurons' coefficients.
        lengths: Valid steps of each sample.
        count: Whether to count spikes.
        pool: The pooling that follows, or None.

    Shape:
        frames: `[T, B, P, H, W]`; state: of `[B, features, H', W']`.

    Raises:
        ValueError: see `function.run`.
    """
    image = convolution.image(frames.shape[2:])
    like, lists = (frames, find(frames)) if isinstance(frames, Tensor) else (frames.like, frames.lists)
    shape = torch.Size((*frames.shape[:2], *image))
    pool = pool if pool is not None and min(image[1:]) >= pool.size else None
    call, tensors = called(
        kernel, Layout.channels_last(), like.new_empty(1).expand(shape), state, k, lengths, count, pool
    )
    # Rows of the image in a piece: those that a window of the pooling covers.
    lines = max(1, PIECE // (image[0] * image[2])) if pool is None else pool.size
    rows = convolution.rows(image, lines)
    layer = Layer(call, _sizes(convolution, frames.shape[2:], call, lines, rows[0].shape[2]), ends_of(call))
    own = [*convolution[:2], *map(torch.from_numpy, lists), *rows]
    y, *after = gone_through(layer, own, state, tensors)
    counts = after.pop() if count else None
    return Output(y, type(state)(*after), counts, pool is not None)


def ends_of(call: Call) -> tuple[int, ...]:
    """Return where pieces of time end, of which all but the last are computed again; only T where all is kept."""
    num_steps, neurons = call.shape[0], max(1, call.shape[1:].numel())
    again = num_steps - max(1, WHOLE // neurons) if call.step.to else 0
    return (*range(steps := max(1, AT_ONCE // neurons), again, steps), again, num_steps) if again > 0 else (num_steps,)


def _sizes(convolution: Convolution, frame: torch.Size, call: Call, lines: int, across: int) -> dict[str, Any]:
    """Return what loops are given of a convolution besides its numbers, of which a row of the kernel has so many."""
    (features, channels, taps, columns), width = convolution.weight.shape, call.sample[2]
    piece, margin = lines * width * features, columns - 1
    stride = (width + 2 * margin) * features
    # As many tasks whatever the number of threads: parts of the kernel's gradient are theirs.
    group = max(1, min(GROUP, -(-call.sample.numel() * call.shape[1] // PARTS)) // piece) * piece
    return {
        "geometry": (frame[1], *convolution.padding, features, taps, channels, across, stride, margin * features),
        "size": np.uintp(lines),
        "channels": np.uintp(features),
        "width": np.uintp(width * features),
        "group": group,
        "parts": PARTS,
    }


def _as_weight(dkernel: Tensor, shape: torch.Size) -> Tensor:
    """Return what lies as the loops have the kernel with the axes of a weight of this shape."""
    features, channels, height, width = shape
    rows = dkernel.view(height, channels, -1)[..., : width * features]
    return rows.view(height, channels, width, features).permute(3, 1, 0, 2).flip(3)


def _sum(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    return other if one is None else one if other is None else one + other


# -- What rendered loops call -----------------------------------------------------------------------------------------

Geometry = tuple[int, int, int, int, int, int, int, int, int]


@njit(nogil=True, error_model="numpy")
def convolve(
    to: np.ndarray, lines: int, events: Arrays, kernel: np.ndarray, geometry: Geometry, frame: int, line: int
) -> None:
    """Add what the events of a frame bring to some lines of the output, of which the first is `line`."""
    height, down, left, features, taps, channels, across, stride, _ = geometry
    offsets, rows, columns, values = events
    begin = np.intp(frame) * (channels * height + 1)
    for own in range(np.intp(lines)):
        # The frame's row that the kernel's first row meets; the events of all its rows follow one another.
        top = np.intp(line) + own - down
        above, below = max(0, top), min(height, top + taps)
        for channel in range(channels if above < below else 0):
            row = begin + channel * height
            for e in range(offsets[row + above], offsets[row + below]):
                at = own * stride + (columns[e] + left) * features
                of = ((rows[e] - top) * channels + channel) * across
                part = 0
                while part + MANY_LANES <= across:
                    product = multiply(splat(values[e], MANY_LANES), load(kernel, of + part, MANY_LANES))
                    store(add(load(to, at + part, MANY_LANES), product), to, at + part)
                    part += MANY_LANES
                while part < across:
                    product = multiply(splat(values[e], LANES), load(kernel, of + part, LANES))
                    store(add(load(to, at + part, LANES), product), to, at + part)
                    part += LANES


@njit(nogil=True, error_model="numpy")
def correlate(
    to: np.ndarray,
    start: int,
    beside: np.ndarray,
    line: int,
    many: int,
    events: Arrays,
    geometry: Geometry,
    frame: int,
) -> None:
    """Add to a kernel's gradient, from `start` on, what `many` lines of the output have of a frame's events."""
    height, down, left, features, taps, channels, across, stride, _ = geometry
    offsets, rows, columns, values = events
    first = np.intp(frame) * (channels * height + 1)
    for tap in range(taps):
        # Of the frame's rows, the first is met by the first line.
        row = np.intp(line) - down + tap
        above, below = max(0, row), min(height, row + np.intp(many))
        base = left * features - row * stride
        for channel in range(channels if above < below else 0):
            begin, end = offsets[first + channel * height + above], offsets[first + channel * height + below]
            at, part = start + (tap * channels + channel) * across, 0
            while part + MANY_LANES <= across:
                total = load(to, at + part, MANY_LANES)
                for e in range(begin, end):
                    arrived = load(beside, base + rows[e] * stride + columns[e] * features + part, MANY_LANES)
                    total = add(total, multiply(splat(values[e], MANY_LANES), arrived))
                store(total, to, at + part)
                part += MANY_LANES
            while part < across:
                row_of = load(to, at + part, LANES)
                for e in range(begin, end):
                    arrived = load(beside, base + rows[e] * stride + columns[e] * features + part, LANES)
                    row_of = add(row_of, multiply(splat(values[e], LANES), arrived))
                store(row_of, to, at + part)
                part += LANES


# -- The events in frames ---------------------------------------------------------------------------------------------


def few(frames: Tensor, most: float) -> bool:
    """Return whether at most a part of the cells of frames hold events; where they are many, few of them are looked at.

    Shape:
        frames: `[T, B, P, H, W]`.
    """
    laid, layout = Layout.of(frames.detach())
    cells, found = layout.sorted(laid).flatten(2).flatten(0, 1), 0
    for part in cells.chunk(8):
        found += int(list_ends(part.numpy())[-1])
        if found > most * cells.numel():
            return False
    return True


def find(frames: Tensor) -> Arrays:
    """Return where the events of each row of each channel of each frame begin, and row, column and value of each.

    Shape:
        frames: `[T, B, P, H, W]`; returns `[T * B, P * H + 1]`, then as many as there are.
    """
    num_steps, batch, channels, height, width = frames.shape
    # As they lie mostly, and as the loops have their outputs.
    cells = frames.detach().permute(0, 1, 3, 4, 2).contiguous().flatten(0, 1).flatten(1).numpy()
    ends = list_ends(cells)
    offsets = np.empty((num_steps * batch, channels * height + 1), np.int64)
    rows, columns = np.empty((2, ends[-1]), np.int32)
    values = np.empty(ends[-1], cells.dtype)
    places = places_of(height, width, channels)
    of_channels = _of_channels(channels, cells.shape[1])
    run = partial(_fill, cells, *bits_of(cells), ends, of_channels, places, offsets, rows, columns, values)
    share(run, len(cells), cells.size // 2)
    return offsets, rows, columns, values


@lru_cache(maxsize=8)
def _of_channels(channels: int, cells: int) -> np.ndarray:
    """Return the bits of the cells of each channel, of those of a frame, `[P, words]`."""
    bits = np.zeros((channels, -(-cells // BITS) * BITS), np.uint8)
    bits[np.arange(cells) % channels, np.arange(cells)] = 1
    return np.packbits(bits, axis=1, bitorder="little").view("<u8").astype(np.uint64)


@compiled(nogil=True, error_model="numpy")
def _fill(
    cells: np.ndarray,
    bits: np.ndarray,
    without_sign: Any,
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
        row, own = cells[n], bits[n]
        for word in range(np.uintp(held.size)):
            there, at = np.uint64(0), word * np.uintp(BITS)
            for k in range(min(np.uintp(BITS), np.uintp(size) - at)):
                there |= np.uint64(own[at + k] & without_sign != 0) << k
            held[word] = there
        e = ends[n]
        for channel in range(of_channel.shape[0]):
            for word in range(held.size):
                of_one[word] = held[word] & of_channel[channel, word]
            lines = offsets[n, channel * height : (channel + 1) * height + 1]
            e += list_cells(of_one, places, row, e, lines, rows, columns, values, before, spare)
