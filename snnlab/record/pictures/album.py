"""All pictures of one recording.

Axes: T steps, K classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from snnlab.events import Events
from snnlab.events.recording import SensorSize
from snnlab.record.pictures.answers import class_name, draw_labels, draw_readout, draw_values
from snnlab.record.pictures.layers import draw_membranes, draw_raster
from snnlab.record.pictures.recordings import draw_event_times, draw_events

# Values that a title still names.
FEW = 3


class Seen(NamedTuple):
    """One recording, and what a network makes of it.

    Args:
        sensor_size: `[W, H, P]` (pixels, pixels, polarities).
        duration_ms: Length of the window, ms.
        dt: Length of a step, ms, or None.
        target: The right class; or the right values, or the right label at each step, -100 where there is none.
        answers: The answer at each step from what was seen until then; of values, those.
        spikes: Spikes of each spiking layer.
        membranes: Membranes of those of them that have one.
        thresholds: Firing thresholds of those of them that have one for all neurons.
        names: What classes or values are called; None: by their numbers.

    Shape:
        target: `[K]` values, `[T]` labels; y: `[T, K]`; answers: `[T]`, or `[T, K]` values; spikes and membranes:
        `[T, ...]`.
    """

    events: Events
    sensor_size: SensorSize
    duration_ms: float
    dt: float | None
    target: int | np.ndarray
    y: np.ndarray
    answers: np.ndarray
    spikes: Mapping[str, np.ndarray]
    membranes: Mapping[str, np.ndarray]
    thresholds: Mapping[str, float]
    names: Sequence[str] | None = None


def draw_recording(seen: Seen) -> Iterator[tuple[str, Figure]]:
    """Yield the name and figure of each picture of the recording itself, which no training changes."""
    window = (seen.events, seen.sensor_size, seen.duration_ms, _name(seen.target, seen.names))
    yield "events", draw_events(*window)
    yield "events_over_time", draw_event_times(*window)


def draw_answer(seen: Seen) -> Iterator[tuple[str, Figure]]:
    """Yield those of what the network makes of it, one at a time, so that it can be let go before the next."""
    for layer, spikes in seen.spikes.items():
        yield f"raster/{layer}", draw_raster(spikes, seen.dt, layer)
        if layer in seen.membranes:
            threshold = seen.thresholds.get(layer)
            yield f"membranes/{layer}", draw_membranes(seen.membranes[layer], spikes, seen.dt, layer, threshold)
    yield "readout", _readout(seen)


def _readout(seen: Seen) -> Figure:
    if isinstance(seen.target, int):
        return draw_readout(seen.y, seen.answers, seen.target, seen.dt, seen.names)
    draw = draw_values if seen.answers.ndim == 2 else draw_labels
    return draw(seen.answers, seen.target, seen.dt, seen.names)


def _name(target: int | np.ndarray, names: Sequence[str] | None) -> str:
    if isinstance(target, int):
        return f"class {class_name(target, names)}"
    if not np.issubdtype(target.dtype, np.floating):
        return "recording"
    return "target " + ", ".join(f"{value:.3g}" for value in target[:FEW]) + (", ..." if target.size > FEW else "")
