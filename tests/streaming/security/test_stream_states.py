"""The state of a stream from a stranger: refused, or legal, and no loop leaves its arrays."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from snnlab.errors import SnnlabError
from snnlab.nn import build_network
from snnlab.streaming.event_stream import EventStream
from snnlab.streaming.stream_state import StreamState, read_state, write_state

pytestmark = pytest.mark.long  # compiles loops of its own

LAYERS: dict[str, dict[str, Any]] = {
    "conv": {"type": "conv2d", "out_channels": 3, "kernel_size": 3, "padding": 1, "bias": False},
    "iaf": {"type": "iaf", "recurrent": {"type": "conv", "kernel_size": 3}},
    "pool": {"type": "max_pool", "kernel_size": 2},
    "conv2": {"type": "conv2d", "out_channels": 3, "kernel_size": 3, "padding": 1, "bias": False},
    "lif": {"type": "lif"},
    "flatten": {"type": "flatten"},
    "out": {"type": "linear", "out_features": 3},
}
MARGIN, CANARY = 4096, 77
NUMBERS = [np.nan, np.inf, -1.0, 0.5, 1.0, 3.4e38, 2.0**24, 255.0, -(2.0**62), 2.0**62, 1e15]


def with_margins(stream: EventStream) -> list[np.ndarray]:
    """Move the engine's memory between margins, which are returned."""
    margins, moved = [], {}
    for name in ("values", "bits", "starts", "factors", "counts"):
        array = getattr(stream._buffers, name)
        memory = np.full((array.size + 2 * MARGIN) * array.itemsize, CANARY, np.uint8)
        size = MARGIN * array.itemsize
        moved[name] = memory[size:-size].view(array.dtype)
        moved[name][:] = array
        margins += [memory[:size], memory[-size:]]
    stream._buffers = stream._buffers._replace(**moved)
    stream._bind()
    return margins


def events(first_us: int, random: np.random.Generator) -> dict[str, np.ndarray]:
    places = {name: random.integers(0, size, 40) for name, size in (("x", 70), ("y", 9), ("p", 2))}
    return {"t": first_us + np.sort(random.integers(0, 8000, 40)), **places}


@pytest.mark.parametrize("seed", range(3))
def test_a_state_of_a_stranger_is_refused_or_legal_and_no_loop_leaves_its_arrays(tmp_path: Path, seed: int) -> None:
    path, random = tmp_path / "state", np.random.default_rng(seed)
    stream = EventStream(build_network(LAYERS, in_shape=(2, 9, 70), dt=1.0).network.eval())
    margins = with_margins(stream)
    list(stream.feed(events(0, random)))
    entries, good, kept = stream.state_entries(), stream.state()._asdict(), 0
    for n in range(150):
        entry = entries[n % len(entries)]
        array = good[entry.name].copy()
        flat = array.reshape(-1)
        if n % 2:
            flat.view(np.uint8)[random.integers(flat.nbytes)] ^= 1 << random.integers(8)
        else:
            with np.errstate(invalid="ignore"):
                flat[random.integers(flat.size, size=random.choice([1, flat.size]))] = np.array(
                    random.choice(NUMBERS)
                ).astype(array.dtype)
        write_state(path, "mine", entries, good | {entry.name: array})
        if n % 10 == 0:  # with the size of another, and a checksum that is right
            content = path.read_bytes()[48:-1]
            path.write_bytes(b"snnlab stream 2\n" + hashlib.sha256(content).digest() + content)
        try:
            state = StreamState(**read_state(path, "mine", entries))
        except SnnlabError:
            continue
        kept += 1
        stream.load(state)
        assert all(map(np.array_equal, stream.state(), state))
        list(stream.feed_usable(events(stream.start_us(stream.num_steps), random)))
        stream.finish()
        assert all((margin == CANARY).all() for margin in margins)
    assert 20 < kept < 140
