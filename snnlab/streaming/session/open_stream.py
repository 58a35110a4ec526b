"""Opens an event stream for a recorded run: the cells of its input, and its steps."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from snnlab.data.data_settings import DataSettings
from snnlab.data.events.frames import EventBatch
from snnlab.data.events.recording import Events, polarity_dtype
from snnlab.data.events.representation import DROPPED, Counts, FrameBuilder
from snnlab.errors import ConfigError
from snnlab.nn.fold_norm import fold_norm as folded
from snnlab.nn.network import Network
from snnlab.session.loading import load
from snnlab.session.opened_run import OpenedRun, hot_pixel_mask
from snnlab.streaming.buffers import SensorMap
from snnlab.streaming.event_stream import EventStream


def stream(
    run_or_network: OpenedRun | Network | str | Path,
    in_shape: tuple[int, ...] | None = None,
    *,
    dt: float | None = None,
    fold_norm: bool = False,
) -> EventStream:
    """Return an event stream of a recorded run, its folder, or a network.

    Args:
        run_or_network: A run of `snnlab.load`, its folder, or a network. Events of a run are those of its sensor.
        in_shape: Shape of one sample at one step, for a network that `build_network` did not build.
        dt: Length of a step, ms; None: that of the run or the network.
        fold_norm: Whether batch normalizations are folded into the layers before them, which rounds their weights.
    """
    if isinstance(run_or_network, Network):
        return EventStream(folded(run_or_network) if fold_norm else run_or_network, in_shape, dt=dt)
    run = run_or_network if isinstance(run_or_network, OpenedRun) else load(run_or_network)
    settings = run.session.settings
    sensor = sensor_map(settings.frame_builder(hot_pixel_mask(run, settings)), settings)
    network = folded(run.network) if fold_norm else run.network
    return EventStream(network, settings.frame_shape, dt=dt, sensor=sensor)


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
