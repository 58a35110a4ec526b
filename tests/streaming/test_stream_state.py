"""The state of a stream: nothing is missing, and that of another network or step is refused."""

from __future__ import annotations

import numpy as np
import pytest

from snnlab.errors import ConfigError
from snnlab.nn.network import Network, build_network
from snnlab.streaming.event_stream import EventStream

from ..refusals import assert_raises
from .test_event_loops import END, GRAPH_KINDS, GRAPHS, KINDS, neurons_of, random_network, random_steps, shape_of


def network_of(kind: str) -> tuple[Network, tuple[int, ...]]:
    if kind in GRAPHS:
        return random_network(GRAPHS[kind], shape_of(kind)), shape_of(kind)
    return neurons_of(kind)


def events_of(shape: tuple[int, ...], number: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Return the events of some steps of 1 ms."""
    steps = random_steps(shape, number, 12, seed)
    x, y, p = (np.concatenate([step[n] for step in steps]) for n in range(3))
    t = np.concatenate([np.full(len(step[0]), 1000 * n) for n, step in enumerate(steps)])
    return {"t": t, "x": x, "y": y, "p": p}


@pytest.mark.parametrize("kind", [*KINDS, *GRAPH_KINDS])
def test_a_state_is_all_that_a_stream_carries_on(kind: str) -> None:
    network, shape = network_of(kind)
    events = events_of(shape, 60)
    one, other = EventStream(network, shape), EventStream(network, shape)
    cut = int(np.searchsorted(events["t"], 30_000)) + 3  # within a step
    list(one.feed({name: column[:cut] for name, column in events.items()}))
    for steps in other.feed(events_of(shape, 10, seed=1)):
        assert len(steps.y)  # a state replaces what was there
    other.load(one.state())
    assert other.num_waiting > 0
    rest = {name: column[cut:] for name, column in events.items()}
    outputs = [np.concatenate([*(steps.y for steps in each.feed(rest)), each.finish()[None]]) for each in (one, other)]
    assert np.array_equal(outputs[0], outputs[1])
    for name, states in one.states().items():
        for state, values in states.items():
            assert np.array_equal(values.view(np.int32), other.states()[name][state].view(np.int32)), f"{name}.{state}"
    assert all(map(np.array_equal, one.state(), other.state()))


def test_the_state_of_another_network_or_step_is_refused_and_changes_nothing() -> None:
    layers = {"out": END["out"], "lif": {"type": "lif"}}
    stream = EventStream(build_network(layers, in_shape=(4,), dt=2.0).network)
    stream.step([0], None, [0])
    before = stream.state()
    wide = {**layers, "out": {**END["out"], "out_features": 40}}
    for other, fact in (
        (EventStream(build_network(wide, in_shape=(4,), dt=2.0).network), "network"),
        (EventStream(build_network(layers, in_shape=(5,), dt=2.0).network), "network"),
        (EventStream(build_network(layers, in_shape=(4,), dt=1.0).network), "2 ms"),
    ):
        with assert_raises(ConfigError, "state", fact):
            stream.load(other.state())
    assert all(map(np.array_equal, stream.state(), before))
