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
from torch.nn import functional

from snnlab.compiled import compiled
from snnlab.event_frames import EventFrames
from snnlab.event_lists import BITS, Places, list_cells, places_of
from snnlab.kernels.function import (
    Call,
    Kernel,
    Output,
    backward,
    called,
    forward,
    refuse_second_derivative,
)
from snnlab.kernels.layout import Layout, Pool
from snnlab.kernels.vectors import LANES, add, load, multiply, splat, store
from snnlab.threads import share

# Numbers that are added at once where a row of the kernel has so many.
MANY_LANES = 4 * LANES
# Parts in which the gradient of a kernel is summed, whatever the number of threads.
PARTS = 32
# Neurons of a piece of the image where no pooling says how many.
PIECE = 1024
# Neurons times steps up to which all is kept, and those of a piece of time beyond: 64 and 16 MiB in float32.
WHOLE, AT_ONCE = 2**24, 2**22

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

    def given(self, events: Arrays, frame: torch.Size, lines: int) -> dict[str, Any]:
        """Return events, kernel, bias and sizes as loops take them.

        Args:
            events: See `find`.
            frame: Shape of a frame.
            lines: Rows of the output in a piece.
        """
        features, _, width = self.image(frame)
        # Its columns from the last to the first, in rows of whole vectors.
        kernel = self.weight.detach().flip(3).permute(2, 1, 3, 0).flatten(2)
        kernel = functional.pad(kernel, (0, -kernel.shape[2] % LANES)).contiguous()
        taps, channels, across = kernel.shape
        # Lines of the output have room on either side, so that all columns of the kernel reach there.
        margin = self.weight.shape[3] - 1
        bias = self.weight.new_zeros(features) if self.bias is None else self.bias.detach()
        row = functional.pad(bias.repeat(lines * (width + 2 * margin)), (0, across))
        sizes = frame[1], *self.padding, features, taps, channels, across, (width + 2 * margin) * features
        offsets, *rest = events
        return {
            "events": (offsets.reshape(-1), *rest, kernel.reshape(-1).numpy(), row.numpy()),
            "geometry": tuple(map(int, (*sizes, margin * features))),
            "size": np.uintp(lines),
            "channels": np.uintp(features),
            "width": np.uintp(width * features),
        }

    def of_kernel(self, dkernel: Tensor) -> Tensor:
        """Return what lies as the loops have the kernel with the weight's axes."""
        features, channels, height, width = self.weight.shape
        rows = dkernel.view(height, channels, -1)[..., : width * features]
        return rows.unflatten(2, (width, features)).permute(3, 1, 0, 2).flip(3)


class Layer(NamedTuple):
    """What is fixed for all steps.

    Attributes:
        call: The neurons.
        frame: Shape of a frame.
        padding: That of the convolution.
        ends: Where each piece of time ends.
    """

    call: Call
    frame: torch.Size
    padding: tuple[int, int]
    ends: tuple[int, ...]

    @property
    def lines(self) -> int:
        """Rows of the image in a piece: those that a window of the pooling covers."""
        channels, _, width = self.call.sample
        return max(1, PIECE // (width * channels)) if self.call.pool is None else self.call.pool.size

    def of_steps(self, first: int, last: int) -> Call:
        """Return the run of some steps."""
        call = self.call
        steps = None if call.steps is None else (call.steps - first).clamp(0, last - first)
        return call._replace(shape=torch.Size((last - first, *call.shape[1:])), steps=steps)

    def given(self, convolution: Convolution, events: Arrays, first: int, last: int) -> dict[str, Any]:
        """Return what loops are given for some steps."""
        offsets, *rest = events
        batch, (channels, _, width) = self.call.shape[1], self.call.sample
        given = convolution.given((offsets[first * batch : last * batch], *rest), self.frame, self.lines)
        piece = self.lines * width * channels
        # As many tasks whatever the number of threads: parts of the kernel's gradient are theirs.
        group = max(1, min(2**15, -(-self.call.sample.numel() * batch // PARTS)) // piece) * piece
        return given | {"group": group, "parts": PARTS}


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
    layer = Layer(call, frames.shape[2:], convolution.padding, ends_of(call))
    events = [torch.from_numpy(part) for part in lists]
    rest = (*convolution[:2], *events, *state, *tensors)
    y, *after = _Recurrence.apply(layer, *rest) if call.step.to else _forward(layer, *rest)[0]
    counts = after.pop() if count else None
    return Output(y, type(state)(*after), counts, pool is not None)


def ends_of(call: Call) -> tuple[int, ...]:
    """Return where pieces of time end; only T where all is kept."""
    num_steps, neurons = call.shape[0], max(1, call.shape[1:].numel())
    if not call.step.to or num_steps * neurons <= WHOLE:
        return (num_steps,)
    return (*range(steps := max(1, AT_ONCE // neurons), num_steps, steps), num_steps)


def _forward(
    layer: Layer, weight: Tensor, bias: Tensor | None, *rest: Tensor
) -> tuple[list[Tensor], list[Tensor], list[list[Tensor]]]:
    """Return the outputs, what is kept of the last piece of time, and the states before each but the first."""
    call, events, states, tensors = layer.call, *_parts(layer, rest)
    convolution = Convolution(weight, bias, layer.padding)
    y = states[0].new_empty(*call.shape[:2], call.outputs.numel())
    done, before, counts = None, [], None
    for first, last in pairwise((0, *layer.ends)):
        its = layer.of_steps(first, last)
        if done is not None:
            states = [call.layout.unflat(part, call.sample) for part in done.after]
            before.append(states)
        more = layer.given(convolution, events, first, last)
        done = forward(its, y[first:last], y[first:last], states, tensors, inplace=False, more=more)
        done.steps(0, last - first)
        if done.counts is not None:
            counts = done.counts if counts is None else counts + done.counts
    assert done is not None
    return done._replace(y=y, counts=counts).outputs(call), done.keep, before


def _parts(layer: Layer, rest: Sequence[Tensor]) -> tuple[Arrays, Sequence[Tensor], Sequence[Tensor]]:
    """Return events, states and numbers."""
    many = 4 + len(layer.call.names)
    return tuple(part.numpy() for part in rest[:4]), rest[4:many], rest[many:]


class _Recurrence(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, layer: Layer, weight: Tensor, bias: Tensor | None, *rest: Tensor) -> tuple[Tensor, ...]:
        outputs, keep, before = _forward(layer, weight, bias, *rest)
        # Saved as tensors, that autograd lets go of them with the graph, and a checkpoint at once.
        ctx.save_for_backward(*keep, weight, bias, *(part for states in before for part in states), *rest)
        ctx.layer = layer
        ctx.set_materialize_grads(False)
        # Not as the views that they are: torch lets nobody change views out of here in place.
        return tuple(part.detach() for part in outputs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        refuse_second_derivative()
        layer: Layer = ctx.layer
        call, kept, many = layer.call, len(layer.call.step.keep), len(layer.call.names)
        all_saved = ctx.saved_tensors  # once: a checkpoint gives them no second time
        keep, (weight, bias, *saved) = all_saved[:kept], all_saved[kept:]
        later = (len(layer.ends) - 1) * many
        events, first_states, tensors = _parts(layer, saved[later:])
        states = [first_states, *(saved[at : at + many] for at in range(0, later, many))]
        convolution = Convolution(weight, bias, layer.padding)
        gy, *carried = (call.rows(grads[0]), *grads[1:])
        of_counts = [carried.pop()] if call.counting else []
        found: list[Tensor | None] = []
        steps = list(pairwise((0, *layer.ends)))
        for piece in reversed(range(len(steps))):
            first, last = steps[piece]
            its, more = layer.of_steps(first, last), layer.given(convolution, events, first, last)
            if piece + 1 < len(steps):
                y = states[0][0].new_empty(last - first, call.shape[1], call.outputs.numel())
                again = forward(its, y, y, states[piece], tensors, inplace=False, more=more)
                again.steps(0, last - first)
                keep = again.keep
            dkernel = weight.new_zeros(PARTS, more["events"][4].size)
            more |= {"dkernel": dkernel.view(-1)}
            arrived = (None if gy is None else gy[first:last], *carried, *of_counts)
            way = backward(its, keep, states[piece], tensors, arrived, again=True, more=more)
            way.steps(0, last - first)
            carried = way.states(its)
            dbias = None if bias is None else call.layout.unflat(way.dx, call.sample).sum((0, 2, 3))
            own = [convolution.of_kernel(dkernel.sum(0)), dbias, *way.numbers(its, tensors)]
            found = own if not found else [_sum(part, other) for part, other in zip(own, found, strict=True)]
        dweight, dbias, *numbers = found
        return (None, dweight, dbias, *[None] * 4, *carried, *numbers)


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


def find(frames: Tensor) -> Arrays:
    """Return where the events of each row of each channel of each frame begin, and row, column and value of each.

    Shape:
        frames: `[T, B, P, H, W]`; returns `[T * B, P * H + 1]`, then as many as there are.
    """
    num_steps, batch, channels, height, width = frames.shape
    # As they lie mostly, and as the loops have their outputs.
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
        row = cells[n]
        for word in range(np.uintp(held.size)):
            bits, at = np.uint64(0), word * np.uintp(BITS)
            for k in range(min(np.uintp(BITS), np.uintp(size) - at)):
                bits |= np.uint64(row[at + k] != 0) << k
            held[word] = bits
        e = ends[n]
        for channel in range(of_channel.shape[0]):
            for word in range(held.size):
                of_one[word] = held[word] & of_channel[channel, word]
            lines = offsets[n, channel * height : (channel + 1) * height + 1]
            e += list_cells(of_one, places, row, e, lines, rows, columns, values, before, spare)
