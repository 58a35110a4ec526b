"""Decoders of cameras' files: the .bin of N-MNIST, Prophesee's .dat and .raw (EVT2, EVT3), iniVation's .aedat4.

Not those of expelliarmus and tonic. The first does not end in a header without an end, takes events that begin with
`% ` for a header, refuses triggers, and adds 2^32 us where times are unsorted; the second takes time quadratic in the
number of the counter's overflows.

Axes: N events.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from snnlab.compiled import compiled
from snnlab.data.reading_process import Columns, read_apart
from snnlab.errors import DataError, MissingPackageError
from snnlab.files import open_regular

_AGAIN = "fetch the file again, or remove it"
_LONGEST_LINE, _LONGEST_HEADER = 1 << 12, 1 << 16
# The lines of a header that does not name its end; an event may begin with `% ` too.
_TEXT = re.compile(rb"% [\t\r -~]*\n")
_EVT = re.compile(rb"evt ?([23])(?:\.0)?(?![.\d])")
_LARGEST_COLUMN = 2**15 - 1


def read_nmnist(path: Path) -> Columns:
    """Read a `.bin` of N-MNIST or N-Caltech101: 5 bytes for an event, x, y, the polarity and 23 bits of the time.

    A row of 240 is no event: from there on all times are 2^13 us later.

    Raises:
        DataError: if it ends within an event.
        OSError: if it cannot be read.
    """
    with open_regular(path) as file:
        data = np.frombuffer(file.read(), np.uint8)
    if data.size % 5:
        raise DataError(path, f"truncated: {data.size} bytes is not a multiple of 5, the size of an event", _AGAIN)
    x, y, high, middle, low = data.reshape(-1, 5).T
    overflows = y == 240
    t = (high & 127).astype(np.int64) << 16 | middle.astype(np.int64) << 8 | low
    t += np.cumsum(overflows) << 13
    return {name: column[~overflows] for name, column in (("t", t), ("x", x), ("y", y), ("p", high >> 7))}


def read_dat(path: Path) -> Columns:
    """Read a Prophesee `.dat`: 8 bytes for an event, after a header and the events' type and size.

    A time that falls by half of the range of 32 bits or more has wrapped around.

    Raises:
        DataError: if it is truncated, or has events of another size.
        OSError: if it cannot be read.
    """
    with open_regular(path) as file:
        _read_header(file, path)
        size = file.read(2)[1:]
        if size != b"\x08":
            raise DataError(path, f"has events of {size[0] if size else 'no'} bytes, expected 8", _AGAIN)
        events = _read_words(file, np.dtype([("t", "<u4"), ("place", "<u4")]), path)
    t, place = events["t"].astype(np.int64), events["place"]
    t[1:] += np.cumsum(np.diff(t) <= -(2**31)) << 32
    return {"t": t, "x": place & 0x3FFF, "y": place >> 14 & 0x3FFF, "p": place >> 28}


def read_raw(path: Path) -> Columns:
    """Read a Prophesee `.raw` in EVT2 or EVT3.

    As in the maker's decoder, triggers are dropped, and so are events before the first time. A counter that falls by
    half of its range or more has wrapped around.

    Raises:
        DataError: if it is truncated, has no events, or has another encoding.
        OSError: if it cannot be read.
    """
    with open_regular(path) as file:
        found = _EVT.search(_read_header(file, path).lower())
        if found is None:
            raise DataError(path, "its header names neither EVT2 nor EVT3, the supported encodings of .raw")
        decode, dtype = _DECODERS[found[1]]
        words = _read_words(file, np.dtype(dtype), path)
    counted, unknown = decode(words, *_columns(0))
    if unknown >= 0:
        kind = int(words[unknown]) >> (8 * words.itemsize - 4)
        raise DataError(
            path, f"damaged: word {unknown:,} is of type {kind}, which EVT{found[1].decode()} lacks", _AGAIN
        )
    if not counted:
        raise DataError(path, "holds no events")
    columns = _columns(counted)
    decode(words, *columns)
    return dict(zip("txyp", columns, strict=True))


def _read_header(file: BinaryIO, path: Path) -> bytes:
    """Return the lines that begin with `% `, and leave the file after them."""
    start = file.read(_LONGEST_HEADER)
    named_end = re.match(rb"(?:% .*\n)*?% end\r?\n", start)
    end = named_end.end() if named_end else 0
    while named_end is None and start.startswith(b"% ", end):
        line = _TEXT.match(start, end, end + _LONGEST_LINE)
        if line is None:
            break
        end = line.end()
    rest = start[end : end + _LONGEST_LINE]
    if named_end is None and rest.startswith(b"%") and re.fullmatch(rb"%[\t\r\n -~]*", rest):
        raise DataError(path, "truncated: its header has no end", _AGAIN)
    file.seek(end)
    return start[:end]


def _read_words(file: BinaryIO, dtype: np.dtype, path: Path) -> np.ndarray:
    content = file.read()
    if not content:
        raise DataError(path, "holds no events")
    if len(content) % dtype.itemsize:
        raise DataError(path, "truncated: it ends within an event", _AGAIN)
    return np.frombuffer(content, dtype)


def _columns(size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    return np.empty(size, np.int64), np.empty(size, np.int16), np.empty(size, np.int16), np.empty(size, np.uint8)


@compiled(nogil=True)
def _decode_evt2(words: Any, t: Any, x: Any, y: Any, p: Any) -> tuple[int, int]:
    """Write as many events as the columns hold.

    A word of 32 bits has its type in the upper 4: 0 OFF and 1 ON, with 6 bits of the time, 11 of x and 11 of y; 8 the
    upper 28 bits of the time; 10 a trigger, 14 and 15 others.

    Returns:
        The number of events, and the index of the first word of another type, or -1.

    Shape:
        words: uint32 `[words]`; t, x, y, p: `[N]`.
    """
    count, high, has_time = 0, np.int64(0), False
    for i in range(words.size):
        word = np.int64(words[i])
        kind = word >> 28
        if kind <= 1:
            if has_time:
                if count < t.size:
                    t[count], p[count] = high << 6 | word >> 22 & 0x3F, kind
                    x[count], y[count] = word >> 11 & 0x7FF, word & 0x7FF
                count += 1
        elif kind == 8:
            value = (high & ~np.int64(0xFFFFFFF)) | word & 0xFFFFFFF
            high = value + (1 << 28) if has_time and high - value >= 1 << 27 else value
            has_time = True
        elif kind != 10 and kind != 14 and kind != 15:
            return count, i
    return count, -1


@compiled(nogil=True)
def _decode_evt3(words: Any, t: Any, x: Any, y: Any, p: Any) -> tuple[int, int]:
    """Write as many events as the columns hold.

    A word of 16 bits has its type in the upper 4: 0 a row; 2 the column and polarity of an event; 3 those of the next
    vectors, 4 of 12 columns and 5 of 8, a bit for each; 6 and 8 the lower and upper 12 bits of the time; 10 a trigger,
    7, 14 and 15 others.

    Returns:
        The number of events, and the index of the first word of another type, or -1.

    Shape:
        words: uint16 `[words]`; t, x, y, p: `[N]`.
    """
    count, high, low, has_time = 0, np.int64(0), np.int64(0), False
    row, first, polarity = np.int64(0), np.int64(0), np.int64(0)
    for i in range(words.size):
        word = np.int64(words[i])
        kind, value = word >> 12, word & 0xFFF
        if kind == 0:
            row = value & 0x7FF
        elif kind == 6:
            low = value
        elif kind == 8:
            value |= high & ~np.int64(0xFFF)
            if has_time and high - value >= 1 << 11:
                value += 1 << 12
            if value != high:
                low = np.int64(0)
            high, has_time = value, True
        elif 2 <= kind <= 5:
            if kind <= 3:
                first, polarity = value & 0x7FF, value >> 11
            if kind == 3:
                continue
            width = 1 if kind == 2 else 12 if kind == 4 else 8
            for k in range(width):
                if has_time and (kind == 2 or value >> k & 1):
                    if count < t.size:
                        t[count], p[count] = high << 12 | low, polarity
                        x[count], y[count] = min(first + k, _LARGEST_COLUMN), row
                    count += 1
            if kind != 2:
                first += width
        elif kind != 7 and kind != 10 and kind != 14 and kind != 15:
            return count, i
    return count, -1


_DECODERS: dict[bytes, tuple[Callable[..., tuple[int, int]], str]] = {
    b"2": (_decode_evt2, "<u4"),
    b"3": (_decode_evt3, "<u2"),
}


def read_aedat4(path: Path) -> Columns:
    """Read an `.aedat4` with the package aedat.

    Raises:
        DataError: if it is damaged, or has no events.
        OSError: if it cannot be read.
    """
    if find_spec("aedat") is None:
        raise MissingPackageError(path, ".aedat4 needs another package", "pip install 'snnlab-train[aedat]'")
    columns = read_apart(path, "aedat4")
    if not columns:
        raise DataError(path, "holds no events")
    return columns
