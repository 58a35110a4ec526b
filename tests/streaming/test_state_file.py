"""Files of states: complete, of their owner, and with legal values, or refused by a line that names them."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np

from snnlab.errors import ConfigError, DataError
from snnlab.streaming.state_file import read_state, write_state
from snnlab.streaming.stream_state import Entry

from ..refusals import assert_raises

ENTRIES = [
    Entry("bits", "|u1", (5,), 0, 1),
    Entry("v", "<f4", (2, 3), -10, 10),
    Entry("none", "<f4", (0,), 0, 0),
    Entry("count", "<i8", (), 0, lambda found: found["bits"].sum(dtype=np.int64)),
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
