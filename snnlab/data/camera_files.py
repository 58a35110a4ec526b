"""Cameras' files: their headers, and their events.

Decoded here: N-MNIST's .bin, Prophesee's .dat and .raw (EVT2, EVT3), jAER's .aedat (AEDAT 2), of which no library reads
all: expelliarmus does not end in a header without an end, and adds 2^32 us where times are unsorted; tonic takes time
quadratic in the number of the counter's overflows; faery reads neither AEDAT 2 nor the DAT of N-CARS. faery reads DV's
.aedat4 and .es (Event Stream).

Axes: N events.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from snnlab.data import camera_words
from snnlab.data.camera_words import MOST_PER_WORD, OTHERS, STATE_SIZE
from snnlab.data.reading_process import read_apart
from snnlab.errors import DataError, join_names
from snnlab.files import open_regular

Columns = dict[str, np.ndarray]
Decode = Callable[..., tuple[int, int, bool]]

# Events that are decoded at once.
_EVENTS = 1 << 18
_AGAIN = "fetch the file again, or remove it"
_LONGEST_LINE, _LONGEST_HEADER = 1 << 12, 1 << 16
# The header of AEDAT 2 holds the settings of jAER.
_LONGEST_JAER_HEADER = 1 << 24
# The lines of a header that does not name its end; an event may begin with `% ` too.
_TEXT = re.compile(rb"% [\t\r -~]*\n")
_EVT = re.compile(rb"evt ?([23])(?:\.0)?(?![.\d])")
# The size of the sensor in headers of Prophesee: of one line, or of two; older ones only name its generation.
_SIZE = re.compile(rb"geometry (\d{1,5})x(\d{1,5})|(?=.*[;% ]width[ =](\d{1,5}))(?=.*[;% ]height[ =](\d{1,5}))", re.S)
_GENERATIONS = {b"gen3": (640, 480), b"gen4": (1280, 720), b"imx636": (1280, 720), b"genx320": (320, 320)}
_GENERATION = re.compile(rb"plugin_name \w*?_(gen3|gen4|imx636|genx320)")
_CHIP = re.compile(rb"^# AEChip: .*?(DVS128|DAVIS240|DAVIS346)", re.M | re.I)


class Jaer(NamedTuple):
    """The addresses of a camera in jAER's files, see `decode_aedat2`; `skipped` are bits of what is no event."""

    size: tuple[int, int]
    skipped: int
    x_shift: int
    x_mask: int
    y_shift: int
    y_mask: int
    p_shift: int
    off: int


_DAVIS = (1 << 31 | 1 << 10, 12, 0x3FF, 22, 0x1FF, 11, 0)
_JAER = {
    b"dvs128": Jaer((128, 128), 1 << 31 | 1 << 15, 1, 0x7F, 8, 0x7F, 0, 1),
    b"davis240": Jaer((240, 180), *_DAVIS),
    b"davis346": Jaer((346, 260), *_DAVIS),
}


class CameraFile(NamedTuple):
    """What a camera's file holds.

    Attributes:
        form: Its format.
        size: Width and height of the sensor; None: the file does not state it.
        columns: Its events, t (us), x, y, p.
        others: Number of words or packets that are no events, as of frames, triggers and IMU.
    """

    form: str
    size: tuple[int, int] | None
    columns: Columns
    others: int


def read_camera_file(path: Path, size: tuple[int, int] | None = None) -> CameraFile:
    """Read a camera's file; the ending of its name gives the format.

    Args:
        path: The file.
        size: Width and height of the sensor that it has to be from; None: any.

    Raises:
        DataError: if it is damaged, or its header states another sensor.
        MissingPackageError: if the package that reads it is not installed.
        OSError: if it cannot be read.
    """
    with open_regular(path) as file:
        recording = CAMERA_FORMATS[path.suffix.lower()](file, path)
    if size is not None and recording.size not in (None, size):
        stated, expected = (f"{width} x {height} pixels" for width, height in (recording.size, size))
        hint = "data.sensor_size is the sensor of all recordings"
        raise DataError(path, f"is from another sensor: its header states {stated}, not {expected}", hint)
    return recording


def _nmnist(file: BinaryIO, path: Path) -> CameraFile:
    # Without events it is a recording all the same: so are some of N-Caltech101.
    return _decoded("N-MNIST", None, file, path, "u1", camera_words.decode_nmnist, may_be_empty=True)


def _dat(file: BinaryIO, path: Path) -> CameraFile:
    head = _read_header(file, path)
    size = file.read(2)[1:]
    if size != b"\x08":
        raise DataError(path, f"has events of {size[0] if size else 'no'} bytes, expected 8", _AGAIN)
    return _decoded("DAT", _sensor(head), file, path, "<u8", camera_words.decode_dat)


_EVTS: dict[bytes, tuple[str, Decode]] = {
    b"2": ("<u4", camera_words.decode_evt2),
    b"3": ("<u2", camera_words.decode_evt3),
}


def _evt(file: BinaryIO, path: Path) -> CameraFile:
    """Open EVT2 or EVT3.

    As in the maker's decoder, triggers are dropped, and so are events before the first time. A counter that falls by
    half of its range or more has wrapped around.
    """
    head = _read_header(file, path).lower()
    found = _EVT.search(head)
    if found is None:
        raise DataError(path, "its header names neither EVT2 nor EVT3, the supported encodings of .raw")
    dtype, decode = _EVTS[found[1]]
    return _decoded(f"EVT{found[1].decode()}", _sensor(head), file, path, dtype, decode)


def _aedat2(file: BinaryIO, path: Path) -> CameraFile:
    first = file.readline(_LONGEST_LINE)
    if not first.startswith(b"#!AER-DAT2"):
        named = re.match(rb"#!AER-DAT(\d\.\d)", first)
        version = f"AEDAT {named[1].decode()}" if named else "no AEDAT"
        raise DataError(path, f"is {version}, and .aedat has to be AEDAT 2.0", "an AEDAT 4 file ends in .aedat4")
    lines, end = [first], len(first)
    while (line := file.readline(_LONGEST_LINE)).startswith(b"#") and end < _LONGEST_JAER_HEADER:
        lines.append(line)
        end += len(line)
    file.seek(end)
    head = b"".join(lines)
    chip = _CHIP.search(head)
    if chip is None:
        known = join_names(name.decode().upper() for name in _JAER)
        raise DataError(path, f"its header names no camera that is known, {known}")
    camera = _JAER[chip[1].lower()]
    state = np.zeros(STATE_SIZE, np.int64)
    state[4:] = (*camera[1:7], camera.size[0] - 1, camera.size[1] - 1)
    recording = _decoded("AEDAT 2", camera.size, file, path, ">u8", camera_words.decode_aedat2, state)
    p = recording.columns["p"]
    return recording._replace(columns=recording.columns | {"p": 1 - p if camera.off else p})


def _by_faery(file: BinaryIO, path: Path, *, form: str) -> CameraFile:
    columns = read_apart(path, "camera")
    width, height = columns.pop("size").tolist()
    others = int(columns.pop("others"))
    if not columns["t"].size:
        raise DataError(path, "holds no events")
    return CameraFile(form, (width, height), columns, others)


CAMERA_FORMATS: dict[str, Callable[[BinaryIO, Path], CameraFile]] = {
    ".bin": _nmnist,
    ".aedat": _aedat2,
    ".aedat4": partial(_by_faery, form="AEDAT 4"),
    ".dat": _dat,
    ".es": partial(_by_faery, form="Event Stream"),
    ".raw": _evt,
}


def _decoded(
    form: str,
    size: tuple[int, int] | None,
    file: BinaryIO,
    path: Path,
    dtype: str,
    decode: Decode,
    state: np.ndarray | None = None,
    *,
    may_be_empty: bool = False,
) -> CameraFile:
    state = np.zeros(STATE_SIZE, np.int64) if state is None else state
    begin, content, itemsize = file.tell(), file.read(), np.dtype(dtype).itemsize
    stored = np.frombuffer(content, dtype, len(content) // itemsize)
    words = stored.astype(stored.dtype.newbyteorder("="), copy=False)
    pieces: list[list[np.ndarray]] = []
    at, count, is_known = 0, _EVENTS, True
    while is_known and count + MOST_PER_WORD > _EVENTS:
        piece = [np.empty(_EVENTS, kind) for kind in (np.int64, np.int16, np.int16, np.uint8)]
        at, count, is_known = decode(words, at, state, *piece)
        pieces.append([column[:count].copy() for column in piece])
    place = begin + at * itemsize
    if not is_known:
        kind = int(words[at]) >> (8 * itemsize - 4)
        raise DataError(path, f"damaged: the word at byte {place:,} is of type {kind}, which {form} lacks", _AGAIN)
    if place < begin + len(content):
        raise DataError(path, f"truncated: it ends within an event, which begins at byte {place:,}", _AGAIN)
    columns = {name: np.concatenate(parts) for name, parts in zip("txyp", zip(*pieces, strict=True), strict=True)}
    if not columns["t"].size and not may_be_empty:
        raise DataError(path, "holds no events")
    return CameraFile(form, size, columns, int(state[OTHERS]))


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


def _sensor(head: bytes) -> tuple[int, int] | None:
    """Return the size of the sensor that a header of Prophesee states, or that of the generation it names."""
    head = head.lower()
    if found := _SIZE.search(head):
        width, height = (part for part in found.groups() if part is not None)
        return int(width), int(height)
    named = _GENERATION.search(head)
    return _GENERATIONS[named[1]] if named else None
