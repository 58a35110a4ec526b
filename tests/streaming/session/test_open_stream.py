"""Streams of recorded runs and networks: the sensor's cells, and lines of events."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from snnlab.data.data_settings import DataSettings
from snnlab.data.events import Events
from snnlab.data.events.frames import EventBatch
from snnlab.errors import ConfigError
from snnlab.nn.dense_loops import DenseLoops
from snnlab.nn.network import build_network
from snnlab.nn.network_form import network_form
from snnlab.session.run_events import sensor_map
from snnlab.streaming.event_stream import EventStream
from snnlab.streaming.session.open_stream import stream

from ...refusals import assert_raises
from ..test_event_stream import LAYERS, built


def settings(**changes: Any) -> DataSettings:
    return DataSettings(**{"sensor_size": [10, 7, 2], "num_classes": 2, "duration_ms": 20.0, "dt": 2.0, **changes})


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"crop": [1, 2, 8, 5]},
        {"downsample": 2, "crop": [0, 1, 9, 6]},
        {"representation": {"type": "counts", "merge": True}},
        {"sensor_size": [30, 1, 2]},
        {"sensor_size": [30, 1, 1], "downsample": 4},
        {"hot": 13},
    ],
    ids=str,
)
def test_events_enter_the_cells_that_frames_count_them_in(changes: dict[str, Any]) -> None:
    hot_pixel = changes.pop("hot", None)
    own = settings(**changes)
    width, height, polarities = own.size
    hot = None if hot_pixel is None else torch.arange(width * height) == hot_pixel
    frame_builder = own.frame_builder(hot)
    random = np.random.default_rng(0)
    t = np.sort(random.integers(0, 20_000, 400))
    x, y, p = (random.integers(0, size, 400).astype(np.int16) for size in (width, height, polarities))
    events = Events(t, x, y if height > 1 else None, p.astype(bool))
    frames = frame_builder(EventBatch.of([events])).x[:, 0].numpy()
    network = built(LAYERS, own.frame_shape)
    found = EventStream(network, sensor=sensor_map(frame_builder, own))
    steps = np.concatenate([*(part.y for part in found.feed(events)), found.finish()[None]])
    dense = DenseLoops(network_form(network, own.frame_shape))
    assert np.array_equal(steps, [dense.step(frame).ravel() for frame in frames])
    assert steps.any()


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"representation": "binary"}, "data.representation"),
        ({"overlap_ms": 1.0}, "data"),
        ({"dt": None, "num_bins": 5, "bin_by": "count"}, "data"),
        ({"camera_path": [[0, 0, 0], [10, 2, 2]], "stabilize": True}, "data.stabilize"),
    ],
)
def test_frames_that_are_no_counts_of_equal_steps_are_refused(changes: dict[str, Any], place: str) -> None:
    own = settings(**changes)
    with assert_raises(ConfigError, place):
        sensor_map(own.frame_builder(), own)


def test_batch_norm_streams_when_it_is_folded() -> None:
    layers: dict[str, dict[str, Any]] = {
        "conv": {"type": "conv2d", "out_channels": 3, "kernel_size": 3},
        "norm": {"type": "batch_norm"},
        "lif": {"type": "lif"},
    }
    network = build_network(layers, in_shape=(2, 5, 5), dt=1.0).network.eval()
    with assert_raises(ConfigError, "model.layers.norm"):
        stream(network)
    assert [layer.name for layer in stream(network, fold_norm=True).layers] == ["conv"]
