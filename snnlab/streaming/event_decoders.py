"""Decoders of event streams: bytes arrive in any pieces, columns of whole events leave.

LineDecoder     lines of numbers, `t,x,y,p`, separated by commas, semicolons, spaces or tabs
BinaryDecoder   16 bytes for an event, little endian: t int64, x uint16, y uint16, p uint8, three not read
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numba import njit

from snnlab.compiled import compiled
from snnlab.errors import ConfigError, DataError

Columns = dict[str, np.ndarray]

# Powers of ten of units of time, in us.
UNIT_POWERS = {"s": 6, "ms": 3, "us": 0, "ns": -3}
EVENT = np.dtype([("t", "<i8"), ("x", "<u2"), ("y", "<u2"), ("p", "u1"), ("unused", "V3")])
_NAMES = "txyp"
# Other names in a first line; faery writes `t,x@128,y@128,on`.
_SYNONYMS = {"ts": "t", "time": "t", "timestamp": "t", "pol": "p", "polarity": "p", "on": "p"}
# The shortest line with a column t and a column x, `1,1` and its end, in bytes.
_SHORTEST_LINE = 4
_LONGEST_LINE = 1 << 16
_LARGEST = 2**62
_NEWLINE, _COMMENT = 10, 35


class BadLine(NamedTuple):
    """A line that is no event: its number, from 1, and the beginning of its text."""

    number: int
    text: str


class Decoder(Protocol):
    """Turns bytes into events.

    Attributes:
        num_bad: Number of lines that were no events, or of bytes of an event that was cut at the end.
        first_bad: The first of these lines.
    """

    num_bad: int
    first_bad: BadLine | None

    def decode(self, piece: bytes) -> Columns:
        """Return the events that end in a piece: columns t (us), x, y, p, int64."""
        ...

    def finish(self) -> Columns:
        """Return the events after the last piece."""
        ...


class BinaryDecoder:
    """Decodes events of 16 bytes."""

    def __init__(self) -> None:
        self.num_bad = 0
        self.first_bad: BadLine | None = None
        self._rest = b""

    def decode(self, piece: bytes) -> Columns:
        """Return the events that end in a piece."""
        text = self._rest + piece if self._rest else piece
        count = len(text) // EVENT.itemsize
        self._rest = text[count * EVENT.itemsize :]
        events = np.frombuffer(text, EVENT, count)
        return {name: events[name].astype(np.int64) for name in _NAMES}

    def finish(self) -> Columns:
        """Return no events; a part of one is counted as bad."""
        self.num_bad = len(self._rest)
        return {name: np.zeros(0, np.int64) for name in _NAMES}


class LineDecoder:
    """Decodes lines of numbers; lines that are no events are counted, and left out.

    The first line may name the columns. Empty lines and lines that begin with # are left out.

    Args:
        time_unit: Unit of the times: s, ms, us or ns.
        columns: Names of the columns, in order; `-` is ignored, and a missing y or p is 0.
        polarities: Number of polarities; of two, -1 means 0.
    """

    def __init__(self, time_unit: str = "us", columns: Sequence[str] = tuple(_NAMES), polarities: int = 2) -> None:
        if time_unit not in UNIT_POWERS:
            raise ConfigError("--time-unit", f"is {time_unit}", allowed=UNIT_POWERS)
        self._power, self._lowest = UNIT_POWERS[time_unit], -1 if polarities == 2 else 0
        self._order = _order(columns)
        self.num_bad = 0
        self.first_bad: BadLine | None = None
        self._rest, self._num_lines = b"", 0

    def decode(self, piece: bytes) -> Columns:
        """Return the events of the lines that end in a piece.

        Raises:
            DataError: if the first line of all is neither an event nor names of columns, or a line is too long.
        """
        text = self._rest + piece if self._rest else piece
        size = text.rfind(b"\n") + 1
        self._rest = text[size:]
        if len(self._rest) > _LONGEST_LINE:
            number = self._num_lines + text.count(b"\n") + 1
            raise DataError(f"line {number}", "is longer than 64 kB", "see --binary for events that are no lines")
        return self._columns(text[:size])

    def finish(self) -> Columns:
        """Return the event of a last line without an end."""
        rest, self._rest = self._rest, b""
        return self._columns(rest + b"\n" if rest.strip() else b"")

    def warm_up(self) -> None:
        """Load the compiled loop, which takes some tenths of a second, before events arrive."""
        parse_lines(np.frombuffer(b"\n", np.uint8), self._order, self._power, self._lowest, np.empty((4, 1), np.int64))

    def _columns(self, text: bytes) -> Columns:
        if text and not self._num_lines:
            text = self._without_header(text)
        table = np.empty((4, len(text) // _SHORTEST_LINE + 2), np.int64)
        data = np.frombuffer(text, np.uint8)
        count, lines, bad, first_line, first_byte = parse_lines(data, self._order, self._power, self._lowest, table)
        if bad and self.first_bad is None:
            line = text[first_byte : text.index(b"\n", first_byte)].decode("utf-8", "replace").strip()
            self.first_bad = BadLine(self._num_lines + first_line, line[:40])
            if self._num_lines + first_line == 1:
                raise DataError("line 1", f"is no event, got '{line[:40]}'", "write t,x,y,p in each line")
        self._num_lines += lines
        self.num_bad += bad
        return dict(zip(_NAMES, table[:, :count], strict=True))

    def _without_header(self, text: bytes) -> bytes:
        end = text.index(b"\n") + 1
        line = text[:end].decode("utf-8", "replace").lower().replace(",", " ").replace(";", " ")
        words = [_SYNONYMS.get(name, name) for word in line.split() for name in [word.partition("@")[0]]]
        if not {"t", "x"} <= set(words) <= {*_NAMES, "-"}:
            return text
        self._order, self._num_lines = _order(words), 1
        return text[end:]


def _order(columns: Sequence[str]) -> np.ndarray:
    """Return for each number of a line its place in `txyp`, or -1."""
    names = [name for name in columns if name != "-"]
    if len(set(names)) < len(names) or not {"t", "x"} <= set(names) <= set(_NAMES):
        raise ConfigError("--columns", f"needs t, x and optionally y, p, or - for others, got {','.join(columns)}")
    return np.array([_NAMES.find(name) if name != "-" else -1 for name in columns])


_inner = njit(nogil=True, error_model="numpy", forceinline=True)


@_inner
def shifted(value: Any, power: Any) -> Any:
    """Return the largest whole number that is not above value * 10^power, and whether it is exact and not too large."""
    exact = True
    while power > 0 and value != 0:
        if abs(value) > _LARGEST // 10:
            return value, False
        value *= 10
        power -= 1
    while power < 0 and value != 0:
        exact = exact and value % 10 == 0
        value //= 10
        power += 1
    return value, exact


@_inner
def parse_number(data: Any, at: Any) -> Any:
    """Return the decimal number at a place: whole * 10^power, the place after it, and whether there is one."""
    negative = data[at] == 45
    if negative or data[at] == 43:
        at += 1
    whole, power, digits, after_point = 0, 0, 0, False
    while True:
        code = data[at]
        if 48 <= code <= 57:
            digits += 1
            if whole < _LARGEST // 10 - 1:
                whole = whole * 10 + (np.int64(code) - 48)
                power -= after_point
            elif not after_point:
                power += 1
        elif code == 46 and not after_point:
            after_point = True
        else:
            break
        at += 1
    is_number = digits > 0
    if is_number and (data[at] == 101 or data[at] == 69):
        at += 1
        down = data[at] == 45
        if down or data[at] == 43:
            at += 1
        exponent, digits = 0, 0
        while 48 <= data[at] <= 57:
            exponent = min(exponent * 10 + np.int64(data[at]) - 48, 1000)
            digits += 1
            at += 1
        is_number = digits > 0
        power += -exponent if down else exponent
    return -whole if negative else whole, power, at, is_number


@_inner
def is_space(code: Any) -> bool:
    """Return whether a byte separates numbers."""
    return code == 32 or code == 44 or code == 59 or code == 9 or code == 13


@compiled(nogil=True, error_model="numpy")
def parse_lines(data: Any, order: Any, power: Any, lowest: Any, table: Any) -> tuple[int, int, int, int, int]:
    """Write the events of whole lines to a table.

    Args:
        data: The text; it ends with the end of a line.
        order: For each number of a line its row in the table, or -1.
        power: Power of ten of the unit of time.
        lowest: The polarity -1 means 0 if this is -1.
        table: The columns t, x, y, p.

    Returns:
        The numbers of events, lines, and lines that are no events; the number and the place of the first of these.
    """
    at, count, lines, bad, first_line, first_byte = 0, 0, 0, 0, 0, 0
    while at < data.size:
        begin = at
        lines += 1
        for row in range(4):
            table[row, count] = 0
        n, is_event = 0, True
        while True:
            while is_space(data[at]):
                at += 1
            if data[at] == _NEWLINE or (n == 0 and data[at] == _COMMENT):
                break
            value, exponent, at, is_number = parse_number(data, at)
            if not is_number or n == order.size or not (is_space(data[at]) or data[at] == _NEWLINE):
                is_event = False
                break
            if order[n] >= 0:
                value, is_exact = shifted(value, exponent + (power if order[n] == 0 else 0))
                is_event &= is_exact or (order[n] == 0 and abs(value) < _LARGEST // 10)
                table[order[n], count] = value
            n += 1
        is_empty = n == 0 and is_event
        while data[at] != _NEWLINE:
            at += 1
        at += 1
        if is_event and n == order.size:
            if table[3, count] == lowest:
                table[3, count] = 0 if lowest < 0 else lowest
            count += 1
        elif not is_empty:
            if bad == 0:
                first_line, first_byte = lines, begin
            bad += 1
    return count, lines, bad, first_line, first_byte
