"""The certificate of a stream: equal engines pass, a broken one is caught, and differing spikes are located."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from snnlab.nn.network import Network, build_network
from snnlab.nn.record import record
from snnlab.streaming.certificate import Certificate, certify
from snnlab.streaming.event_stream import EventStream

from .grid_networks import SHAPE, grid_network
from .test_event_loops import frame_of, random_steps
from .test_event_stream import LAYERS, built


def certificate(network: Network) -> Certificate:
    stream = EventStream(network)
    steps = random_steps(stream.in_shape, 24, 12)
    return certify(network, stream, steps, np.stack([frame_of(columns, stream.in_shape) for columns in steps]))


@pytest.mark.long
def test_a_network_on_a_grid_has_the_bits_of_dense_loops_and_the_spikes_of_pytorch() -> None:
    found = certificate(grid_network())
    assert found.is_equal
    assert found.spikes_differ == 0
    assert list(found.layers) == ["lif", "iaf", "block.lif", "recurrent"]
    assert all(layer.spikes for layer in found.layers.values())
    assert found.states == 24 * (2 * 6 * 64 - 6 * 64 + 2 * 6 * 16 + 5)


@pytest.mark.long
def test_delays_of_layers_and_of_feedback_are_certified() -> None:
    conv = {"type": "conv2d", "out_channels": 5, "kernel_size": 3, "delay": {"max": "3 steps"}}
    layers = {
        "conv": conv,
        "lif": {"type": "lif"},
        "flatten": {"type": "flatten"},
        "out": {"type": "linear", "out_features": 5, "bias": False},
        "recurrent": {"type": "lif", "recurrent": {"delay": {"max": "4 steps"}}},
    }
    found = certificate(grid_network(layers))
    assert found.is_equal
    assert found.spikes_differ == 0
    assert all(layer.spikes for layer in found.layers.values())


@pytest.mark.parametrize("part", ["membrane", "output", "spikes"])
def test_a_broken_engine_is_caught_in_its_step(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One bit of one membrane, one output or one counted spike is wrong once."""
    right = EventStream.step

    def broken(self: EventStream, *columns: Any) -> np.ndarray:
        output = right(self, *columns)
        own = self._buffers
        if self.num_steps == 8:
            at = int(own.layers[0]["membrane"])
            if part == "membrane":
                own.values[at : at + 1].view(np.int32)[:] ^= 1
            elif part == "output":
                output[0] += 1
            else:
                own.counts[0]["spikes"] += 1
        return output

    monkeypatch.setattr(EventStream, "step", broken)
    found = certificate(built(LAYERS))
    assert not found.is_equal
    assert found.first_step == (7, "the output" if part == "output" else "lif")


@pytest.mark.long
def test_the_first_spike_that_pytorch_does_not_share_is_located() -> None:
    """The threshold is between the two sums of the same weights in two orders."""
    layers = {"flatten": {"type": "flatten"}, "out": {"type": "linear", "out_features": 1, "bias": False}}
    frame = np.ones((1, *SHAPE), np.float32)
    p, y, x = (column.ravel() for column in np.indices(SHAPE))

    def with_threshold(v_threshold: float) -> Network:
        neurons = {"iaf": {"type": "iaf", "v_threshold": v_threshold}}
        return build_network({**layers, **neurons}, in_shape=SHAPE, dt=1.0).network.eval()

    network = with_threshold(1e9)
    weight = network.get_submodule("out").get_parameter("weight")
    own = other = 0.0
    while own == other:
        torch.nn.init.uniform_(weight)
        other = record(network, torch.from_numpy(frame)[None]).states["iaf"]["v"].item()
        stream = EventStream(network)
        stream.step(x, y, p)
        own = stream.states()["iaf"]["v"].item()
    spiking = with_threshold(max(own, other))
    spiking.load_state_dict(network.state_dict())
    found = certify(spiking, EventStream(spiking), [(x, y, p)], frame)
    assert found.is_equal
    assert found.spikes_differ == 1
    difference, threshold = pytest.approx(abs(own - other)), pytest.approx(max(own, other))
    assert found.first_spike == (0, "iaf", (0,), difference, threshold)
