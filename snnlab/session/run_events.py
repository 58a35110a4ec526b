"""The recordings of a run for what takes them step by step: frames, and the events of each step.

Axes: T steps.
"""

from __future__ import annotations

import numpy as np

from snnlab.data.data_settings import DataSettings
from snnlab.data.events import Events
from snnlab.data.events.frames import EventBatch
from snnlab.data.events.recording import polarity_dtype
from snnlab.data.events.representation import DROPPED, Counts, FrameBuilder
from snnlab.errors import ConfigError
from snnlab.session.opened_run import OpenedRun, hot_pixel_mask
from snnlab.session.prediction import RunPredictor
from snnlab.step_events import SensorMap


def sensor_of(run: OpenedRun) -> SensorMap:
    """Return where the events of each pixel of a run's sensor enter its network."""
    settings = run.session.settings
    return sensor_map(settings.frame_builder(hot_pixel_mask(run, settings)), settings)


def sensor_map(frame_builder: FrameBuilder, settings: DataSettings) -> SensorMap:
    """Return where each pixel's events enter the network, after crop, cells and hot pixels."""
    kind = frame_builder.representation
    if type(kind) is not Counts:
        raise ConfigError("data.representation", "streaming needs counts", "train with data.representation=counts")
    if not frame_builder.steps.plain:
        raise ConfigError("data", "streaming needs bin_by: time and overlap_ms: 0")
    if settings.camera is not None:
        raise ConfigError("data.stabilize", "streaming needs false: a camera's motion is not known as it happens")
    width, height, polarities = settings.size
    y, x = (column.ravel() for column in np.mgrid[:height, :width])
    none = np.zeros(x.size, polarity_dtype(polarities))
    rows = y.astype(np.int16) if height > 1 else None
    pixels = frame_builder.region(EventBatch.of([Events(np.zeros(x.size, np.int64), x.astype(np.int16), rows, none)]))
    cell_x = pixels.x.numpy().astype(np.int64)
    cell_y = np.zeros_like(cell_x) if pixels.y is None else pixels.y.numpy().astype(np.int64)
    cells = cell_x << 32 if len(settings.frame_shape) == 1 else cell_y << 16 | cell_x
    cells[pixels.t.numpy() == DROPPED] = -1
    return SensorMap(cells.reshape(height, width), polarities, kind.merge)


def frames_of(run: OpenedRun, events: Events) -> np.ndarray:
    """Return a recording as frames `[T, ...]`."""
    return RunPredictor(run, {}).frame_builder(EventBatch.of([events])).x[:, 0].float().numpy()
