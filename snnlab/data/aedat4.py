"""AEDAT 4, the files of iniVation's DV: a header, then packets of several streams, each compressed on its own.

Header and packets are FlatBuffers: a table begins with the distance back to a list of the places of its fields.

Axes: N events.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple
from xml.etree import ElementTree

import numpy as np

from snnlab.compiled import compiled
from snnlab.errors import DataError, MissingPackageError

MAGIC = b"#!AER-DAT4.0\r\n"
EVENT = np.dtype([("t", "<i8"), ("x", "<i2"), ("y", "<i2"), ("p", "u1"), ("unused", "V3")])
_AGAIN = "fetch the file again, or remove it"
_ENDS_IN_HEADER = "truncated: it ends within its header"
_LARGEST_HEADER, _LARGEST_PACKET = 1 << 24, 1 << 28
_COMPRESSIONS = {0: "", 1: "lz4", 2: "lz4", 3: "zstd", 4: "zstd"}
_LZ4_MAGIC = 0x184D2204
# Results of `unpack_lz4` that are no sizes.
_DAMAGED, _NO_ROOM = -1, -2


class Header(NamedTuple):
    """The header of a file.

    Attributes:
        compression: lz4, zstd, or empty.
        end: Where the packets end; 0: where the file ends.
        stream: Number of the stream of events.
        size: Width and height of the sensor.
    """

    compression: str
    end: int
    stream: int
    size: tuple[int, int]


def read_header(file: BinaryIO, path: Path) -> Header:
    """Return the header, and leave the file at the first packet.

    Raises:
        DataError: if it is damaged, or names no stream of events, or several.
    """
    if file.read(len(MAGIC)) != MAGIC:
        raise DataError(path, "is no AEDAT 4: its first line is another", _AGAIN)
    size = file.read(4)
    length = struct.unpack("<I", size)[0] if len(size) == 4 else 0
    content = file.read(min(length, _LARGEST_HEADER))
    if len(content) < length or not length:
        raise DataError(path, _ENDS_IN_HEADER, _AGAIN)
    number = 0
    try:
        root = _number(content, "<I", 0)
        place = _field(content, root, 0)
        number = _number(content, "<i", place) if place else 0
        place = _field(content, root, 1)
        end = _number(content, "<q", place) if place else -1
        place = _field(content, root, 2)
        text = _text(content, place) if place else b""
        compression = _COMPRESSIONS[number]
    except (struct.error, ValueError):
        raise DataError(path, "is damaged: its header cannot be read", _AGAIN) from None
    except KeyError:
        raise DataError(path, f"is compressed in an unknown way, {number}", _AGAIN) from None
    stream, sensor = _stream_of_events(text, path)
    return Header(compression, max(end, 0), stream, sensor)


def read_packets(file: BinaryIO, path: Path, header: Header, others: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the events of each packet, `EVENT [N]`.

    Args:
        file: The file, at its first packet.
        path: Its path.
        header: Its header.
        others: Counts the packets of other streams in its first item, int64 `[1]`.

    Raises:
        DataError: names the packet that is damaged, and where the file is cut.
        MissingPackageError: if the package that reads their compression is not installed.
    """
    at, size = file.tell(), path.stat().st_size
    end = min(header.end or size, size)
    number = 0
    while at < end:
        head = file.read(8)
        stream, length = struct.unpack("<ii", head) if len(head) == 8 else (0, 0)
        if len(head) < 8 or at + 8 + length > size:
            raise DataError(path, f"truncated: it ends within packet {number:,}, which begins at byte {at:,}", _AGAIN)
        place = f"packet {number:,}, at byte {at:,}"
        if not 0 < length <= _LARGEST_PACKET:
            raise DataError(path, f"is damaged: {place}, has {length:,} bytes", _AGAIN)
        if stream == header.stream:
            content = _unpack(file.read(length), header.compression, path, place)
            try:
                yield _events(content)
            except (struct.error, ValueError):
                raise DataError(path, f"is damaged: {place}, holds no events", _AGAIN) from None
        else:
            others[0] += 1
            file.seek(length, 1)
        at += 8 + length
        number += 1


def _stream_of_events(text: bytes, path: Path) -> tuple[int, tuple[int, int]]:
    """Return the number of the stream of events and the size of its sensor, from the header's XML."""
    found = []
    try:
        if b"<!" in text:  # a document type, whose entities may grow without end
            raise ValueError
        for node in ElementTree.fromstring(text.rstrip(b"\0")).iterfind("./node[@name='outInfo']/node"):
            values = {attr.get("key"): (attr.text or "").strip() for attr in node.iter("attr")}
            if values.get("typeIdentifier") == "EVTS":
                found.append((int(node.get("name", "")), (int(values["sizeX"]), int(values["sizeY"]))))
    except (ElementTree.ParseError, ValueError, KeyError):
        raise DataError(path, "is damaged: its header does not describe its streams", _AGAIN) from None
    if len(found) != 1:
        numbers = ", ".join(str(number) for number, _ in found)
        has = f"has the events of {len(found)} cameras, streams {numbers}" if found else "has no stream of events"
        raise DataError(path, has, "DV exports one of them to a file of its own" if found else "")
    return found[0]


def _events(content: bytes) -> np.ndarray:
    """Return the events of a packet, a table with the size before it, whose only field is a vector of events."""
    place = _field(content, 4 + _number(content, "<I", 4), 0)
    if not place:
        return np.empty(0, EVENT)
    begin = place + _number(content, "<I", place)
    return np.frombuffer(content, EVENT, _number(content, "<I", begin), begin + 4)


def _field(content: bytes, table: int, number: int) -> int:
    """Return the place of a field of a table; 0: it has its default."""
    fields = table - _number(content, "<i", table)
    if 4 + 2 * number >= _number(content, "<H", fields):
        return 0
    offset = _number(content, "<H", fields + 4 + 2 * number)
    return table + offset if offset else 0


def _text(content: bytes, place: int) -> bytes:
    begin = place + _number(content, "<I", place)
    return content[begin + 4 : begin + 4 + _number(content, "<I", begin)]


def _number(content: bytes, form: str, at: int) -> int:
    if at < 0:
        raise ValueError
    return struct.unpack_from(form, content, at)[0]


def _unpack(content: bytes, compression: str, path: Path, place: str) -> bytes:
    if not compression:
        return content
    if compression == "zstd":
        return _unpack_zstd(content, path, place)
    data, room = np.frombuffer(content, np.uint8), max(8 * len(content), 1 << 16)
    while room <= min(512 * len(content) + (1 << 16), 2 * _LARGEST_PACKET):
        out = np.empty(room, np.uint8)
        size = unpack_lz4(data, out)
        if size >= 0:
            return out[:size].tobytes()
        if size == _DAMAGED:
            break
        room *= 2
    raise DataError(path, f"is damaged: {place}, cannot be decompressed", _AGAIN)


def _unpack_zstd(content: bytes, path: Path, place: str) -> bytes:
    if find_spec("zstandard") is None:
        problem = "is compressed by Zstandard, which needs another package"
        raise MissingPackageError(path, problem, "pip install 'snnlab-train[aedat]'")
    import zstandard  # pyright: ignore[reportMissingImports]

    most = 2 * _LARGEST_PACKET
    try:
        claimed = zstandard.get_frame_parameters(content).content_size
        if claimed <= most or claimed == zstandard.CONTENTSIZE_UNKNOWN:
            return zstandard.ZstdDecompressor().decompress(content, max_output_size=most)
        raise DataError(path, f"is damaged: {place}, claims to hold {claimed:,} bytes", _AGAIN)
    except zstandard.ZstdError:
        raise DataError(path, f"is damaged: {place}, cannot be decompressed", _AGAIN) from None


@compiled(nogil=True)
def unpack_lz4(data: Any, out: Any) -> Any:
    """Decompress a frame of LZ4.

    Returns:
        The size; -1 if it is damaged, -2 if there is no room for it.

    Shape:
        data, out: uint8 `[bytes]`.
    """
    if data.size < 7 or _word(data, 0) != _LZ4_MAGIC or data[4] >> 6 != 1:
        return _DAMAGED
    flags = data[4]
    at = 7 + (8 if flags & 8 else 0) + (4 if flags & 1 else 0)
    size = np.int64(0)
    while True:
        if at + 4 > data.size:
            return _DAMAGED
        length = _word(data, at)
        at += 4
        if length == 0:
            return size
        is_plain, length = length >> 31, length & 0x7FFFFFFF
        if at + length > data.size:
            return _DAMAGED
        if is_plain:
            if size + length > out.size:
                return _NO_ROOM
            out[size : size + length] = data[at : at + length]
            size += length
        else:
            size = _unpack_block(data, at, at + length, out, size)
            if size < 0:
                return size
        at += length + (4 if flags & 16 else 0)


@compiled(nogil=True)
def _unpack_block(data: Any, at: Any, end: Any, out: Any, size: Any) -> int:
    """Decompress a block: runs of bytes as they are, each followed by a copy of bytes that were written before."""
    while at < end:
        token = np.int64(data[at])
        at += 1
        length, at = _whole_length(data, at, end, token >> 4)
        if at < 0 or at + length > end:
            return _DAMAGED
        if size + length > out.size:
            return _NO_ROOM
        for k in range(length):
            out[size + k] = data[at + k]
        at += length
        size += length
        if at == end:
            return size
        if at + 2 > end:
            return _DAMAGED
        back = np.int64(data[at]) | np.int64(data[at + 1]) << 8
        at += 2
        if back == 0 or back > size:
            return _DAMAGED
        length, at = _whole_length(data, at, end, token & 15)
        if at < 0:
            return _DAMAGED
        length += 4
        if size + length > out.size:
            return _NO_ROOM
        for k in range(length):  # one by one: a copy may read what it has just written
            out[size + k] = out[size + k - back]
        size += length
    return _DAMAGED


@compiled(nogil=True)
def _whole_length(data: Any, at: Any, end: Any, length: Any) -> Any:
    """Return a length whose first four bits are these, and the place behind it; -1 where the block ends within it."""
    more = np.int64(255 if length == 15 else 0)
    while more == 255:
        if at >= end:
            return length, np.int64(_DAMAGED)
        more = np.int64(data[at])
        length += more
        at += 1
    return length, at


@compiled(nogil=True)
def _word(data: Any, at: Any) -> Any:
    value = np.int64(0)
    for k in range(4):
        value |= np.int64(data[at + k]) << (8 * k)
    return value
