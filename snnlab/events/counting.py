"""Events counted into frames on a CPU, in one compiled pass.

Axes: T steps, B recordings, C cells of a frame.
"""

from __future__ import annotations

import numpy as np

from snnlab.compiled import compiled


@compiled(nogil=True)
def count(
    frames: np.ndarray,
    t: np.ndarray,
    x: np.ndarray,
    y: np.ndarray | None,
    p: np.ndarray,
    offsets: np.ndarray,
    duration: int,
    sensor_size: tuple[int, int, int],
    inside: np.ndarray,
    first: int,
    last: int,
) -> None:
    """Fill the frames of recordings `first` to before `last`, whatever they held.

    A frame is set to zero when its first event comes, so that it is still in the nearest cache: events are sorted by
    time as a rule, though they need not be.

    Args:
        frames: Where to count.
        t: Time (us).
        x: Column.
        y: Row; None where there is one row.
        p: Polarity; it is not looked at where there is one.
        offsets: Recording b is `[offsets[b], offsets[b + 1])`.
        duration: Length of the window (us).
        sensor_size: `[W, H, P]`.
        inside: Where to say of each recording whether all its events in the window are inside the sensor.
        first: First of the recordings.
        last: Behind the last of them.

    Shape:
        frames `[T, B, C]`, a frame's cells as `[H, W, P]`; t, x, y, p `[N]`; offsets `[B + 1]`; inside `[B]`.
    """
    steps = frames.shape[0]
    # Without a sign one comparison says both that a number is not below a range and not above it: a quarter faster.
    width, height, polarities = np.uint64(sensor_size[0]), np.uint64(sensor_size[1]), np.uint64(sensor_size[2])
    for b in range(first, last):
        inside[b] = True
        cleared = 0
        e, stop = offsets[b], offsets[b + 1]
        while e < stop:
            if not 0 <= t[e] < duration:
                e += 1
                continue
            # A division takes as long as all the rest: one for each step, and not for each event.
            step = t[e] * steps // duration
            begin, end = -(-step * duration // steps), -(-(step + 1) * duration // steps)
            length = np.uint64(end - begin)
            while cleared <= step:
                frames[cleared, b] = 0
                cleared += 1
            frame = frames[step, b]
            while e < stop and np.uint64(t[e] - begin) < length:
                column = np.uint64(x[e])
                row = np.uint64(0) if y is None else np.uint64(y[e])
                polarity = np.uint64(p[e]) if polarities > 1 else np.uint64(0)
                if column >= width or row >= height or polarity >= polarities:
                    inside[b] = False
                else:
                    frame[(row * width + column) * polarities + polarity] += np.float32(1)
                e += 1
        while cleared < steps:
            frames[cleared, b] = 0
            cleared += 1
