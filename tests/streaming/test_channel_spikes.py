"""The numbers of spikes of channels are those of the network's own layers after each step."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from snnlab.nn.network import build_network
from snnlab.nn.record import record
from snnlab.streaming.event_stream import EventStream

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
def test_the_spikes_of_each_channel_are_counted_in_each_step() -> None:
    network = build_network(LAYERS, in_shape=SHAPE, dt=1.0).network.eval()
    with torch.no_grad():
        for parameter in network.parameters():  # sums have the same bits in any order
            parameter[:] = torch.round(parameter * 64) / (8 if parameter.ndim > 1 else 64)
    random = np.random.default_rng(0)
    x, stream = torch.zeros(NUM_STEPS, 1, *SHAPE), EventStream(network)
    stream.step([0], [0], [0])  # before anything is counted
    stream.reset()
    channels = stream.count_channels()
    counted: dict[str, list[np.ndarray]] = {layer.label: [] for layer, _ in channels}
    for n in range(NUM_STEPS):
        column, row, p = (random.integers(0, size, 5) for size in (8, 6, 2))
        stream.step(column, row, p)
        np.add.at(x[n, 0].numpy(), (p, row, column), 1.0)
        for layer, counts in channels:
            counted[layer.label].append(counts.copy())
    spikes = record(network, x).spikes
    assert list(counted) == ["driven", "dense"]
    for name, counts in counted.items():
        by_channel = spikes[name][:, 0].reshape(NUM_STEPS, counts[0].size, -1).sum(-1).numpy()
        np.testing.assert_array_equal(counts, np.cumsum(by_channel, 0))
        assert counts[-1].sum() > 300
