"""The raster of a stream has the spikes of the network's own layers, by channel and step."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from snnlab.nn.network import build_network
from snnlab.nn.record import record
from snnlab.streaming.event_stream import EventStream
from snnlab.streaming.spike_raster import raster_rows, raster_size, start_raster

SHAPE, NUM_STEPS = (2, 6, 8), 40
LAYERS: dict[str, dict[str, Any]] = {
    "conv": {"type": "conv2d", "out_channels": 20, "kernel_size": 3, "bias": False},
    "driven": {"type": "iaf"},
    "pool": {"type": "avg_pool", "kernel_size": 2},
    "flatten": {"type": "flatten"},
    "fc": {"type": "linear", "out_features": 130},
    "dense": {"type": "iaf"},
    "out": {"type": "linear", "out_features": 3},
    "readout": {"type": "li"},
}


@pytest.mark.long
@pytest.mark.parametrize(("columns", "per_column"), [(64, 1), (8, 1), (8, 3)], ids=["all", "last", "threes"])
def test_a_raster_has_the_spikes_of_each_channel_and_step(columns: int, per_column: int) -> None:
    network = build_network(LAYERS, in_shape=SHAPE, dt=1.0).network.eval()
    with torch.no_grad():
        for parameter in network.parameters():  # sums have the same bits in any order
            parameter[:] = torch.round(parameter * 64) / (8 if parameter.ndim > 1 else 64)
    random = np.random.default_rng(0)
    steps = [tuple(random.integers(0, size, 5) for size in (8, 6, 2)) for _ in range(NUM_STEPS)]
    x = torch.zeros(NUM_STEPS, 1, *SHAPE)
    stream = EventStream(network)
    rows = raster_rows(stream.layers)
    raster = np.zeros(raster_size(rows, columns), np.int64)
    start_raster(raster, rows, columns, per_column)
    stream.count_spikes(raster)
    for n, (column, row, p) in enumerate(steps):
        stream.step(column, row, p)
        np.add.at(x[n, 0].numpy(), (p, row, column), 1.0)
    spikes = record(network, x).spikes
    table = raster[-columns * int(raster[1]) :].reshape(columns, -1)
    driven, dense, readout = rows
    assert (driven and driven.name, dense and dense.name, readout) == ("driven", "dense", None)
    assert (driven and driven.rows, dense and dense.rows) == (20, 64)
    last = NUM_STEPS // per_column
    for one, channel_rows in ((driven, np.arange(20)), (dense, np.arange(130) * ((64 << 32) // 130) >> 32)):
        assert one is not None
        by_channel = spikes[one.name][:, 0].flatten(2).sum(-1).numpy() if one is driven else spikes[one.name][:, 0]
        expected = np.zeros((last + 1, one.rows))
        for n in range(NUM_STEPS):
            np.add.at(expected[n // per_column], channel_rows, by_channel[n])
        assert expected.sum() > 300
        for column in range(max(0, last - columns + 1), last):
            found = table[column % columns, one.first : one.first + one.rows]
            np.testing.assert_array_equal(found, expected[column])
