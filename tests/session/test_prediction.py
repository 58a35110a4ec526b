"""A network that streams pieces of a window gives the output of the whole window."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import nn

from snnlab.data.data_settings import DataSettings
from snnlab.data.events import Events, Packed
from snnlab.data.events.frames import EventBatch
from snnlab.errors import ConfigError, DataError
from snnlab.nn import NEURONS, Network, build_network
from snnlab.nn.losses import CrossEntropy, Readout
from snnlab.nn.neurons.base import plain_loops
from snnlab.session.prediction import chunk_steps, require_sensor, split_windows, stream_window

from ..refusals import assert_raises

STEPS = 12


@pytest.fixture(autouse=True)
def _plain_loops() -> Iterator[None]:
    with plain_loops():  # nothing to compile
        yield


def _settings(**changed: Any) -> DataSettings:
    return DataSettings(**{"sensor_size": [4, 3, 2], "num_classes": 5, "duration_ms": 60, "dt": 5} | changed)


def _events(last_us: int = 80_000) -> Events:
    rng = np.random.default_rng(0)
    t, x, y = np.sort(rng.integers(0, last_us, 900)), rng.integers(0, 4, 900), rng.integers(0, 3, 900)
    return Events(t, x.astype(np.int16), y.astype(np.int16), rng.integers(0, 2, 900).astype(bool))


def _network(settings: DataSettings, *layers: dict[str, Any]) -> Network:
    """Build a network with weights that are multiples of 1/64, so that sums of counts are exact in any order."""
    torch.manual_seed(0)
    nodes = {f"layer{number}": dict(node) for number, node in enumerate(layers)}
    network = build_network(nodes, in_shape=settings.frame_shape, dt=settings.step_ms, num_steps=settings.steps).network
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, nn.Linear | nn.Conv2d):
                for parameter in layer.parameters():
                    parameter.copy_((parameter * 64).round() / 64)
    return network.eval()


def _batch(events: Events) -> EventBatch:
    offsets, none = np.array([0, events.t.size]), np.zeros(1, np.int64)
    return EventBatch.from_packed(Packed(events.t, events.x, events.y, events.p, offsets, none, none))


DENSE = ({"type": "flatten"}, {"type": "linear", "out_features": 5})


STEPWISE = [kind for kind in NEURONS if "psn" not in kind]
# Each neuron plain and recurrent, in pieces of one step or of five.
PIECES = [
    (kind, recurrent, (5, 1)[(n + recurrent) % 2]) for n, kind in enumerate(STEPWISE) for recurrent in (False, True)
]


@pytest.mark.parametrize(("kind", "recurrent", "size"), PIECES)
def test_every_neuron_continues_from_its_state(kind: str, recurrent: bool, size: int) -> None:
    settings = _settings()
    network = _network(settings, *DENSE, {"type": kind, "recurrent": recurrent})
    outputs = list(stream_window(network, settings.frame_builder(), _events(60_000), size))
    whole, _ = network(settings.frame_builder()(_batch(_events(60_000))).x)
    assert outputs[-1].y.equal(whole)
    assert [h.first for h in outputs] == list(range(0, STEPS, size))
    assert [h.last for h in outputs] == [False] * (len(outputs) - 1) + [True]


@pytest.mark.parametrize("size", [5])
@pytest.mark.parametrize("readout", get_args(Readout))
def test_every_readout_is_the_same_for_a_stream(readout: Readout, size: int) -> None:
    settings, loss = _settings(), CrossEntropy(readout)
    network = _network(settings, *DENSE, {"type": "lif"})
    batch = settings.frame_builder()(_batch(_events(60_000)))
    whole = loss.readout(network(batch.x)[0], batch.lengths)
    *before, last = stream_window(network, settings.frame_builder(), _events(60_000), size)
    assert loss.readout(last.y, torch.tensor([STEPS])).equal(whole)
    for outputs in before:
        shorter = loss.readout(network(batch.x[: len(outputs.y)])[0], torch.tensor([len(outputs.y)]))
        assert loss.readout(outputs.y, torch.tensor([len(outputs.y)])).equal(shorter)


@pytest.mark.parametrize("size", [1, 5])
@pytest.mark.parametrize(
    "layers",
    [
        [
            {"type": "conv2d", "out_channels": 3, "kernel_size": 2},
            {"type": "lif"},
            {"type": "max_pool", "kernel_size": 2},
        ],
        [{"type": "batch_norm"}, {"type": "flatten"}, {"type": "linear", "out_features": 5}, {"type": "dropout"}],
        [{"type": "batch_norm", "per_step": True}, *DENSE],
        [*DENSE, {"type": "loop", "layers": {"fc": {"type": "linear", "out_features": 5}, "lif": {"type": "lif"}}}],
        [*DENSE, {"type": "gru", "hidden_size": 5}],
        [*DENSE, {"type": "lstm", "hidden_size": 5}],
    ],
)
def test_other_layers_continue_from_their_state(layers: list[dict[str, Any]], size: int) -> None:
    settings = _settings()
    network = _network(settings, *layers)
    *_, last = stream_window(network, settings.frame_builder(), _events(60_000), size)
    whole, _ = network(settings.frame_builder()(_batch(_events(60_000))).x)
    # A matrix product with fewer rows may sum in another order.
    assert torch.allclose(last.y, whole, rtol=0, atol=1e-6)


def test_a_recording_ends_with_its_last_event() -> None:
    settings = _settings(length_from="recording")
    network = _network(settings, *DENSE, {"type": "lif"})
    events = _events(33_000)
    outputs = list(stream_window(network, settings.frame_builder(), events, 3))
    assert [len(h.y) for h in outputs] == [3, 6, 7]
    batch = settings.frame_builder()(_batch(events))
    assert batch.lengths.tolist() == [7]
    loss = CrossEntropy("last")
    whole = loss.readout(network(batch.x, lengths=batch.lengths)[0], batch.lengths)
    assert loss.readout(outputs[-1].y, torch.tensor([7])).equal(whole)


def test_frames_exist_for_one_piece_at_a_time() -> None:
    settings = _settings()
    network, seen = _network(settings, *DENSE, {"type": "lif"}), []
    network.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    list(stream_window(network, settings.frame_builder(), _events(), 5))
    assert seen == [1, 4, 5, 2]


@pytest.mark.parametrize(("text", "steps"), [("5", 1), ("15.0", 3), ("60", 12), ("600", 120)])
def test_a_piece_is_a_number_of_steps(text: str, steps: int) -> None:
    assert chunk_steps(text, _settings()) == steps


def test_a_piece_of_steps_with_infinitely_many_digits() -> None:
    assert chunk_steps("33.3333", _settings(dt=None, num_bins=3, duration_ms=100)) == 1


@pytest.mark.parametrize(
    ("text", "changed", "expected"),
    [
        ("7", {}, ("predict", 5, 7)),
        ("0", {}, ("predict", "steps")),
        ("-5", {}, ("predict", "steps")),
        ("1/0", {}, ("predict", 1, 0)),
        ("nan", {}, ("predict", "length")),
        ("5", {"dt": None, "num_bins": 4, "bin_by": "count"}, ("predict", "length")),
    ],
)
def test_a_piece_that_is_not_whole_steps_is_refused(text: str, changed: dict[str, Any], expected: tuple) -> None:
    with assert_raises(ConfigError, *expected):
        chunk_steps(text, _settings(**changed))


def test_a_recording_of_another_sensor_is_named() -> None:
    events = _events()
    with assert_raises(DataError, "a.npy", 0, 4, 2):
        require_sensor(events, _settings(sensor_size=[4, 2, 2]), Path("a.npy"))
    with assert_raises(DataError, "a.npy", "sorted"):
        require_sensor(events._replace(t=events.t[::-1]), _settings(), Path("a.npy"))


@pytest.mark.parametrize("changed", [{}, {"stride_ms": 20}, {"stride_ms": 60}, {"stride_ms": 110}], ids=str)
def test_windows_are_those_of_all_events(changed: dict[str, Any]) -> None:
    rng = np.random.default_rng(0)
    t, (x, y, p) = np.sort(rng.integers(0, 400_000, 1500)), rng.integers(0, 2, (3, 1500))
    windows = [*split_windows(Events(t, x.astype(np.int16), y.astype(np.int16), p > 0), _settings(**changed))]
    stride = changed.get("stride_ms")
    starts = [0] if stride is None else range(0, max(0, int(t[-1]) + 1 - 60_000) + stride * 1000, stride * 1000)
    assert [window.start_us for window in windows] == [*starts]
    for window in windows:
        inside = (t >= window.start_us) & (t < window.start_us + 60_000)
        assert np.array_equal(window.events.t, t[inside] - window.start_us)
        assert np.array_equal(window.events.x, x[inside])
        assert np.array_equal(window.events.p, p[inside] > 0)
        assert window.num_dropped == (0 if stride else int((t >= 60_000).sum()))
