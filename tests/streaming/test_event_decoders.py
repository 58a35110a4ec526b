"""Decoders of event streams: bytes in any pieces, and what is no event."""

from __future__ import annotations

import numpy as np
import pytest

from snnlab.errors import ConfigError, DataError
from snnlab.streaming.event_decoders import EVENT, BinaryDecoder, Decoder, LineDecoder

from ..refusals import assert_raises


def decoded(decoder: Decoder, text: bytes, size: int = 1 << 20) -> list[list[int]]:
    """Return the events of a text in pieces."""
    parts = [decoder.decode(text[i : i + size]) for i in range(0, len(text), size)] + [decoder.finish()]
    return np.concatenate([np.stack([part[name] for name in "txyp"], 1) for part in parts]).tolist()


def test_lines_are_decoded_in_any_pieces() -> None:
    text = b"t,x,y,p\n5,1,2,0\n 7 3 4 1\r\n\n# a note\n9.6;0;0;-1\n1e1\t2.0 3 1"
    for size in (1, 2, 5, 100):
        found = decoded(LineDecoder("ms"), text, size)
        assert found == [[5000, 1, 2, 0], [7000, 3, 4, 1], [9600, 0, 0, 0], [10000, 2, 3, 1]]


def test_random_events_are_decoded_as_they_were_written() -> None:
    random = np.random.default_rng(0)
    table = np.stack([random.integers(-(10**15), 10**15, 500), *random.integers(0, 2000, (3, 500))], 1)
    text = "".join(",".join(map(str, row)) + "\n" for row in table.tolist()).encode()
    assert decoded(LineDecoder(), text, 777) == table.tolist()
    events = np.zeros(500, EVENT)
    for name, column in zip("txyp", table.T, strict=True):
        events[name] = column % 256 if name == "p" else column
    expected = [[t, x, y, p % 256] for t, x, y, p in table.tolist()]
    assert decoded(BinaryDecoder(), events.tobytes(), 777) == expected


@pytest.mark.parametrize(
    ("unit", "text", "us"),
    [
        ("s", "0.000007", 7),
        ("s", "1.9999999", 1999999),
        ("ns", "1999", 1),
        ("ns", "-1", -1),
        ("ms", "3.0005", 3000),
        ("us", "12345678901234567", 12345678901234567),
        ("s", "1.000000000000000000000000001", 1000000),
    ],
)
def test_times_are_whole_us_rounded_down(unit: str, text: str, us: int) -> None:
    assert decoded(LineDecoder(unit), f"{text},0,0,0\n".encode()) == [[us, 0, 0, 0]]


def test_columns_have_any_order() -> None:
    assert decoded(LineDecoder(columns=["x", "-", "t"]), b"1,2,3\n") == [[3, 1, 0, 0]]
    assert decoded(LineDecoder(), b"x y t p\n1 2 3 0\n") == [[3, 1, 2, 0]]
    assert decoded(LineDecoder(), b"on,x@128,y@128,t\n1,2,3,0\n") == [[0, 2, 3, 1]]
    for columns in (["x", "y"], ["t", "x", "x"], ["t", "x", "z"]):
        with assert_raises(ConfigError, "--columns"):
            LineDecoder(columns=columns)
    with assert_raises(ConfigError, "--time-unit"):
        LineDecoder("h")


BAD = [
    "1,2,3",
    "1,2,3,1,1",
    "nan,1,1,0",
    "1,a,2,3",
    "1e999,0,0,0",
    "1,1.5,0,0",
    "\u00ff,1,1,1",
    ",",
    "1,2,3,1x",
    "-,1,1,1",
]
BAD += ["99999999999999999999,1,1,1", "1e,1,1,1", ".,1,1,1", "1,1e20,1,1"]


@pytest.mark.parametrize("line", BAD)
def test_a_line_that_is_no_event_is_left_out_and_counted(line: str) -> None:
    decoder = LineDecoder()
    text = f"0,0,0,0\n{line}\n1,1,1,1\n".encode()
    if line == ",":  # empty
        assert len(decoded(decoder, text)) == 2
        return
    assert decoded(decoder, text) == [[0, 0, 0, 0], [1, 1, 1, 1]]
    assert decoder.num_bad == 1
    assert decoder.first_bad is not None
    assert decoder.first_bad == (2, line)
    with assert_raises(DataError, "line 1"):
        decoded(LineDecoder(), f"{line}\n0,0,0,0\n".encode())


def test_a_binary_event_that_is_cut_is_counted() -> None:
    decoder = BinaryDecoder()
    assert decoded(decoder, bytes(EVENT.itemsize + 5)) == [[0, 0, 0, 0]]
    assert decoder.num_bad == 5
