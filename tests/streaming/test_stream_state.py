"""The state of a stream and its file: nothing is missing, and what no stream can have is refused."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from snnlab.errors import ConfigError, DataError
from snnlab.nn import build_network
from snnlab.nn.network import Network
from snnlab.streaming.buffers import CLOCK
from snnlab.streaming.event_stream import EventStream
from snnlab.streaming.stream_state import StateEntry, read_state, write_state

from ..marks import mostly_long
from ..refusals import assert_raises
from .test_event_loops import END, GRAPH_KINDS, GRAPHS, KINDS, neurons_of, random_network, random_steps, shape_of

HOSTILE = [np.nan, np.inf, -np.inf, -1.0, 0.5, 3e38, 1e9, 255.0, -(2.0**62), 2.0**62]


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


@pytest.mark.long
@pytest.mark.parametrize("kind", mostly_long(["lif", "sinabs", "alif", "recurrent_conv", "shortcut", "delayed"], 2))
def test_values_that_no_stream_has_are_refused_and_change_nothing(kind: str) -> None:
    network, shape = network_of(kind)
    stream, random = EventStream(network, shape), np.random.default_rng(0)
    list(stream.feed(events_of(shape, 20)))
    before = stream.state()
    fields = [name for name, array in before._asdict().items() if array.size]
    refused = 0
    for _ in range(60):
        name = fields[random.integers(len(fields))]
        array = getattr(before, name).copy()
        with np.errstate(invalid="ignore"):
            array[random.integers(array.size)] = np.array(random.choice(HOSTILE)).astype(array.dtype)
        try:
            stream.load(before._replace(**{name: array}))
        except (DataError, ConfigError):
            assert all(map(np.array_equal, stream.state(), before))
            refused += 1
        else:
            assert np.array_equal(getattr(stream.state(), name), array)
            list(stream.end_steps(stream.num_steps + 3))
            stream.load(before)
    assert refused > 20


@pytest.mark.parametrize(
    "change",
    [
        lambda array: array.astype(object),
        lambda array: array.astype(">f4"),
        lambda array: array.astype(str),
        lambda array: array[:-1],
        lambda array: array[None],
        lambda array: np.zeros(0, array.dtype),
        lambda array: array.tolist(),
        lambda _: None,
    ],
    ids=["objects", "other order of bytes", "text", "short", "more axes", "empty", "list", "none"],
)
def test_arrays_of_another_form_are_those_of_another_network(change: Any) -> None:
    network, shape = network_of("lif")
    stream = EventStream(network, shape)
    state = stream.state()
    for name in state._fields:
        if getattr(state, name).size:
            with assert_raises(ConfigError, "state", "network"):
                stream.load(state._replace(**{name: change(getattr(state, name))}))


@pytest.mark.parametrize(
    ("name", "number"),
    [
        *(("step", -1), ("step", 2**62), ("events", -1), ("waiting", 0), ("waiting", 4), ("latest", -1)),
        *(("latest", 2000), ("latest", 2**62), ("late", -5), ("outside", 2**63 - 1), ("most_ahead", 2**62)),
    ],
)
def test_a_clock_that_no_stream_has_is_refused(name: str, number: int) -> None:
    stream = EventStream(build_network({"out": END["out"], "lif": {"type": "lif"}}, in_shape=(4,), dt=2.0).network)
    list(stream.feed({"t": np.array([10, 20, 1999]), "x": np.array([0, 1, 1]), "y": None, "p": np.zeros(3, int)}))
    state = stream.state()
    stream.load(state)
    clock = state.clock.copy()
    clock.view(CLOCK)[name] = number
    with assert_raises((DataError, ConfigError), "state"):
        stream.load(state._replace(clock=clock))
    assert (stream.num_steps, stream.num_events, stream.num_waiting, stream.latest_us) == (0, 3, 3, 1999)


def test_a_step_longer_than_events_may_be_ahead_is_refused() -> None:
    layers = {"out": END["out"], "lif": {"type": "lif"}}
    for dt in (1e300, 3.7e6, 1e-4, -1.0, float("nan")):
        with assert_raises(ConfigError, "dt"):
            EventStream(build_network(layers, in_shape=(4,), dt=1.0).network, dt=dt)
    with assert_raises(ConfigError, "dt"):
        EventStream(build_network(layers, in_shape=(4,), dt=1e-5).network)


ENTRIES = [
    StateEntry("bits", "|u1", (5,), 0, 1),
    StateEntry("v", "<f4", (2, 3), -10, 10),
    StateEntry("none", "<f4", (0,), 0, 0),
    StateEntry("count", "<i8", (), 0, lambda found: found["bits"].sum(dtype=np.int64)),
]


def arrays(count: int = 2) -> dict[str, np.ndarray]:
    v = np.arange(6, dtype=np.float32).reshape(2, 3)
    return {"bits": np.array([1, 0, 1, 1, 0], np.uint8), "v": v, "none": np.zeros(0), "count": np.array(count)}


def test_a_state_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "state"
    write_state(path, "mine", ENTRIES, arrays())
    found = read_state(path, "mine", ENTRIES)
    assert {name: array.tolist() for name, array in found.items()} == {k: v.tolist() for k, v in arrays().items()}
    assert list(tmp_path.iterdir()) == [path]
    for owner, entries in (("yours", ENTRIES), ("mine", ENTRIES[1:]), ("mine", [*ENTRIES, ENTRIES[0]])):
        with assert_raises(ConfigError, "state"):
            read_state(path, owner, entries)


def test_values_out_of_their_bounds_are_named(tmp_path: Path) -> None:
    path = tmp_path / "state"
    for name, array in (
        ("bits", np.full(5, 2)),
        ("v", np.full((2, 3), np.nan)),
        ("v", np.full((2, 3), np.inf)),
        ("count", np.array(-1)),
        ("count", np.array(4)),
    ):
        write_state(path, "mine", ENTRIES, arrays() | {name: array})
        with assert_raises(DataError, "state", name):
            read_state(path, "mine", ENTRIES)


def test_each_damage_of_a_file_is_one_line(tmp_path: Path) -> None:
    path, random = tmp_path / "state", np.random.default_rng(0)
    write_state(path, "mine", ENTRIES, arrays())
    whole = path.read_bytes()
    for n in range(300):
        damaged = bytearray(whole)
        if n % 3 == 0:
            damaged[random.integers(len(whole))] ^= 1 << random.integers(8)
        elif n % 3 == 1:
            damaged = damaged[: random.integers(len(whole))]
        else:
            damaged[random.integers(len(whole)) :] += bytes(random.integers(1, 9))
        path.write_bytes(damaged)
        with assert_raises((DataError, ConfigError), "state") as caught:
            read_state(path, "mine", ENTRIES)
        assert len(str(caught.value).splitlines()) == 1


def test_other_files_are_refused_without_reading_or_waiting_for_them(tmp_path: Path) -> None:
    text, pickled, fifo, long = (tmp_path / name for name in ("text", "pickled", "fifo", "long"))
    text.write_text("0,1,1,1\n")
    with pickled.open("wb") as file:
        np.savez(file, bits=np.array([{}], object))
    os.mkfifo(fifo)
    write_state(long, "mine", ENTRIES, arrays())
    with long.open("ab") as file:
        file.truncate(1 << 40)  # of which nothing is on the disk
    for path in (text, pickled, fifo, long, tmp_path, Path("/dev/zero"), tmp_path / "missing", tmp_path / ("a" * 300)):
        with assert_raises(DataError, path.name) as caught:
            read_state(path, "mine", ENTRIES)
        assert "pickle" not in str(caught.value).replace(str(path), "")


def test_a_sum_is_all_that_a_state_of_a_stranger_can_get_right(tmp_path: Path) -> None:
    path = tmp_path / "state"
    write_state(path, "mine", ENTRIES, arrays(3))
    content = bytearray(path.read_bytes())
    content[80] = 7  # the first of the bits
    content[16:48] = hashlib.sha256(content[48:]).digest()
    path.write_bytes(content)
    with assert_raises(DataError, "state", "bits", 7):
        read_state(path, "mine", ENTRIES)
