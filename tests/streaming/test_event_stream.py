"""Feeding a stream: steps, events in pieces, states, mistakes."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch

from snnlab.data.events import Events
from snnlab.errors import ConfigError, DataError
from snnlab.nn.network import Network, build_network
from snnlab.streaming.event_stream import EventStream

from ..refusals import assert_raises

SHAPE = (2, 6, 8)
# As in `model=mlp_lif`, which other tests stream, so that its loops are compiled once: that takes seconds.
LAYERS: dict[str, dict[str, Any]] = {
    "flatten": {"type": "flatten"},
    "fc": {"type": "linear", "out_features": 16, "bias": False},
    "lif": {"type": "lif", "tau_mem": 20.0},
    "out": {"type": "linear", "out_features": 3, "bias": False},
    "readout": {"type": "li", "tau_mem": 20.0},
}


def built(layers: dict[str, dict[str, Any]], in_shape: tuple[int, ...] = SHAPE) -> Network:
    """Return a network that spikes in its first step."""
    torch.manual_seed(0)
    network = build_network(layers, in_shape=in_shape, dt=2.0).network.eval()
    torch.nn.init.uniform_(network.get_submodule("fc").get_parameter("weight"), -1.0, 1.0)
    return network


@pytest.fixture(scope="module")
def network() -> Network:
    return built(LAYERS)


def recording(count: int = 300, last_us: int = 60_000, seed: int = 0) -> Events:
    random = np.random.default_rng(seed)
    p, y, x = (random.integers(0, size, count) for size in SHAPE)
    t = np.sort(random.integers(0, last_us, count))
    return Events(t, x.astype(np.int16), y.astype(np.int16), p.astype(bool))


def outputs(stream: EventStream, *pieces: Any) -> np.ndarray:
    """Return the outputs of all steps of a recording in pieces, the last one included."""
    found = [steps.y for piece in pieces for steps in stream.feed(piece)]
    return np.concatenate([*found, stream.finish()[None]])


def test_a_stream_in_pieces_equals_single_steps(network: Network) -> None:
    events = recording()
    whole = outputs(EventStream(network), events)
    pieces = [events.take(slice(i, i + 7)) for i in range(0, 300, 7)]
    assert np.array_equal(outputs(EventStream(network), *pieces), whole)
    stream, step = EventStream(network), events.t // 2000
    columns = np.stack([events.x, np.asarray(events.y), events.p])
    one_by_one = [stream.step(*columns[:, step == n]) for n in range(30)]
    assert whole.shape == (30, 3)
    assert np.array_equal(one_by_one[-1], whole[-1])
    assert stream.stats()["events"] == 300


def test_steps_have_the_times_of_their_ends_and_the_spikes_so_far(network: Network) -> None:
    (steps,) = EventStream(network).feed(recording())
    assert steps.t.tolist() == [2.0 * n for n in range(1, 30)]
    assert 0 < steps.spikes[0] < steps.spikes[-1]


def test_a_step_can_have_another_length(network: Network) -> None:
    stream = EventStream(network, dt=0.5)
    rebuilt = build_network(LAYERS, in_shape=SHAPE, dt=0.5).network.eval()
    rebuilt.load_state_dict(network.state_dict())
    assert np.array_equal(outputs(stream, recording()), outputs(EventStream(rebuilt), recording()))
    assert stream.num_steps == 120


def test_a_long_silence_is_run_in_parts_and_decays_to_rest(network: Network) -> None:
    stream = EventStream(network)
    assert np.concatenate([steps.y for steps in stream.feed(recording())]).any()
    late = recording(1, 1)
    parts = [steps.y for steps in stream.feed(late._replace(t=late.t + 40_000_000))]
    assert len(parts) == 20
    assert np.abs(parts[-1]).max() < 1e-40  # products of subnormal numbers are rounded up


def test_a_copy_goes_on_by_itself(network: Network) -> None:
    stream = EventStream(network)
    list(stream.feed(recording()))
    other, state = deepcopy(stream), stream.state()
    y = other.step(1, 1, 1).copy()
    assert np.array_equal(stream.state().values, state.values)
    assert np.array_equal(stream.step(1, 1, 1), y)


def test_reset_starts_again(network: Network) -> None:
    stream = EventStream(network)
    first = outputs(stream, recording())
    stream.reset()
    assert np.array_equal(outputs(stream, recording()), first)
    stream.reset()
    assert stream.stats()["layers"]["lif"] == {"inputs": 0, "operations": 0, "spikes": 0}


def test_events_outside_the_sensor_are_refused_and_change_nothing(network: Network) -> None:
    stream = EventStream(network)
    stream.step(1, 1, 1)
    before = stream.state()
    for x, y, p in [(8, 0, 0), (-1, 0, 0), (0, 6, 0), (0, -1, 0), (0, 0, 2), (0, 0, -1)]:
        with assert_raises(DataError, "stream", f"x={x}", f"y={y}", f"p={p}"):
            stream.step([0, x], [0, y], [1, p])
    assert np.array_equal(stream.state().values, before.values)
    assert stream.num_steps == 1


@pytest.mark.parametrize(("times", "number"), [([5000, 3000], 3000), ([-1, 0], -1)])
def test_times_that_fall_or_are_negative_are_refused(network: Network, times: list[int], number: int) -> None:
    columns = {name: np.zeros(2, np.int64) for name in "xyp"}
    with assert_raises(DataError, "stream", number):
        EventStream(network).feed({"t": np.array(times), **columns})


def test_events_of_a_step_that_has_ended_are_refused(network: Network) -> None:
    stream = EventStream(network)
    outputs(stream, recording(last_us=10_000))
    with assert_raises(DataError, "stream", "ended"):
        stream.feed(recording(1, 1))


def test_a_refused_piece_does_not_stop_the_stream(network: Network) -> None:
    events = recording()
    stream = EventStream(network)
    found = [steps.y for steps in stream.feed(events.take(slice(0, 100)))]
    with assert_raises(DataError, "stream", "x=8"):
        stream.feed(events.take(slice(100, 101))._replace(x=np.array([8])))
    found += [steps.y for steps in stream.feed(events.take(slice(100, 300)))]
    assert np.array_equal(np.concatenate([*found, stream.finish()[None]]), outputs(EventStream(network), events))


def test_events_of_the_open_step_have_any_order_and_others_are_dropped_and_counted(network: Network) -> None:
    events = recording()
    whole = outputs(EventStream(network), events)
    shuffled = events.take(np.lexsort((np.random.default_rng(0).random(300), events.t // 2000)))
    stream = EventStream(network)
    found = [steps.y for i in range(0, 300, 7) for steps in stream.feed_usable(shuffled.take(slice(i, i + 7)))]
    assert np.array_equal(np.concatenate([*found, stream.finish()[None]]), whole)
    columns = {
        "t": np.array([60_000, -1, 1, 70_000, 10**15, 61_999]),
        "x": np.array([0, 0, 1, 8, 0, 1]),
        "y": np.zeros(6),
        "p": np.zeros(6),
    }
    assert list(stream.feed_usable(columns)) == []
    assert stream.dropped == (2, 1, 1)
    assert (stream.num_steps, stream.num_waiting, stream.num_events) == (30, 2, 302)


def test_a_step_can_end_without_events(network: Network) -> None:
    events = recording()
    stream, expected = EventStream(network), outputs(EventStream(network), events)
    found = [steps.y for steps in stream.feed(events)]
    found += [steps.y for steps in stream.end_steps(30)]
    assert np.array_equal(np.concatenate(found), expected)
    assert list(stream.end_steps(30)) == []
    (steps,) = stream.end_steps(33)
    assert steps.t.tolist() == [62, 64, 66]


def test_the_first_events_of_steps_of_a_third_of_a_ms(network: Network) -> None:
    stream = EventStream(network, dt=1 / 3)
    (steps,) = stream.feed({"t": np.arange(999, 10_000, 1000), **{name: np.zeros(10, np.int64) for name in "xyp"}})
    assert steps.t == pytest.approx(np.arange(1, 30) / 3)
    assert [stream.start_us(number) for number in (1, 2, 3)] == [334, 667, 1000]
    with assert_raises(DataError, "stream", "hour"):
        stream.feed({"t": np.array([2**62]), **{name: np.zeros(1, np.int64) for name in "xyp"}})


def test_a_step_longer_than_events_may_be_ahead_is_refused() -> None:
    for dt in (1e300, 3.7e6, 1e-4, -1.0, float("nan")):
        with assert_raises(ConfigError, "dt"):
            EventStream(build_network(LAYERS, in_shape=SHAPE, dt=1.0).network, dt=dt)
    with assert_raises(ConfigError, "dt"):
        EventStream(build_network(LAYERS, in_shape=SHAPE, dt=1e-5).network)


def test_columns_of_unequal_lengths_are_refused(network: Network) -> None:
    with assert_raises(DataError, "step", 2, 1):
        EventStream(network).step([1, 2], [1], [0])
