"""Events counted into lists of the cells that hold any, frame by frame, on a CPU.

Axes: T steps, B recordings, P channels, H rows, W columns. N events.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import torch

from snnlab.compiled import compiled
from snnlab.event_frames import EventFrames
from snnlab.event_lists import BITS, Places, list_cells, places_of
from snnlab.events.frames import EventBatch, check_batch, refuse_outside
from snnlab.events.recording import SensorSize
from snnlab.threads import share


def list_frames(batch: EventBatch, num_bins: int, duration_us: int, sensor_size: SensorSize) -> EventFrames | None:
    """Return the frames of `count_frames` as lists; None where the events of a recording are not in order of time.

    Args:
        batch: See `to_frames`, as the rest; it has y, and is on the CPU.
        num_bins: Number of steps T.
        duration_us: Length of the window (us).
        sensor_size: `[W, H, P]`.

    Raises:
        DataError: see `to_frames`.
        ValueError: see `to_frames`.
    """
    assert batch.y is not None
    check_batch(batch, num_bins, duration_us, sensor_size)
    width, height, channels = sensor_size
    num_recordings, num_events = batch.num_recordings, batch.t.numel()
    arrays = (column.numpy() for column in (batch.t, batch.x, batch.y, batch.p, batch.offsets))
    # Of each recording one frame after the other, where its events are.
    offsets = np.empty((num_bins * num_recordings, channels * height + 1), np.int64)
    rows, columns = np.empty((2, num_events), np.int32)
    values = np.empty(num_events, np.float32)
    inside, in_order = np.empty((2, num_recordings), bool)
    places = places_of(height, width)
    to = offsets, rows, columns, values, inside, in_order
    run = partial(_list, *arrays, num_bins, duration_us, channels, width, places, *to)
    share(run, num_recordings, num_events)
    if not inside.all():
        refuse_outside(batch, sensor_size)
    if not in_order.all():
        return None
    shape = torch.Size((num_bins, num_recordings, channels, height, width))
    return EventFrames(shape, offsets, rows, columns, values)


@compiled(nogil=True, error_model="numpy")
def _list(
    t: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    p: np.ndarray,
    begins: np.ndarray,
    steps: int,
    duration: int,
    channels: int,
    width: int,
    places: Places,
    offsets: np.ndarray,
    rows: np.ndarray,
    columns: np.ndarray,
    values: np.ndarray,
    inside: np.ndarray,
    in_order: np.ndarray,
    first: int,
    last: int,
) -> None:
    size = places.row.size
    height = size // width
    # Without a sign: see `counting.count`.
    w, h, c = np.uint64(width), np.uint64(height), np.uint64(channels)
    frame, spare = np.zeros((channels, size), np.float32), np.empty(size + 4, np.uint32)
    held = np.zeros((channels, -(-size // BITS)), np.uint64)
    before = np.empty(held.shape[1], np.int64)
    for b in range(first, last):
        inside[b] = in_order[b] = True
        at = e = begins[b]
        for step in range(steps):
            begin, end = -(-step * duration // steps), -(-(step + 1) * duration // steps)
            length = np.uint64(end - begin)
            while e < begins[b + 1]:
                if np.uint64(t[e] - begin) < length:
                    column, row = np.uint64(x[e]), np.uint64(y[e])
                    channel = np.uint64(p[e]) if channels > 1 else np.uint64(0)
                    if column >= w or row >= h or channel >= c:
                        inside[b] = False
                    else:
                        cell = row * w + column
                        frame[channel, cell] += np.float32(1)
                        held[channel, cell // np.uint64(BITS)] |= np.uint64(1) << (cell % np.uint64(BITS))
                elif end <= t[e] < duration:
                    break
                elif 0 <= t[e] < begin:
                    in_order[b] = False
                e += 1
            n = step * (begins.size - 1) + b
            for channel in range(channels):
                lines = offsets[n, channel * height : (channel + 1) * height + 1]
                cells = frame[channel]
                many = list_cells(held[channel], places, cells, at, lines, rows, columns, values, before, spare)
                for k in range(many):
                    cells[spare[k]] = 0
                at += many
            held[:] = 0
