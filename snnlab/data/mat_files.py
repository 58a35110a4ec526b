"""Arrays of whole numbers in files of MATLAB 5, read without SciPy's reader.

A file comes from a stranger: what it says of sizes is compared with the bytes that are there before memory is asked
for, and only arrays of the expected names, axes and values are read.

Axes: any.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from snnlab.errors import DataError
from snnlab.files import open_regular

_HEADER = 128  # bytes: text, version, byte order
_LITTLE_5 = b"\x00\x01IM"
_MATRIX, _COMPRESSED, _DIMENSIONS, _NAME = 14, 15, 5, 1
_WHOLE = {1: "<i1", 2: "<u1", 3: "<i2", 4: "<u2", 5: "<i4", 6: "<u4"}
# Axes of an array, bytes of its names and sizes, and of a file.
_MOST_AXES, _MOST_HEAD, _MOST_BYTES = 8, 512, 1 << 28


class _Element(NamedTuple):
    """A part of a file: the number of its type, and its bytes."""

    kind: int
    content: memoryview


def read_mat(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Return arrays of whole numbers by name, in the types in which they are stored.

    Args:
        path: A file of MATLAB 5, little-endian, its arrays compressed or not.
        names: The arrays; others are not read.

    Raises:
        DataError: if the file cannot be read, is damaged, or lacks one of them.
    """
    try:
        with open_regular(path) as file:
            content = memoryview(file.read(_MOST_BYTES + 1))
    except OSError as error:
        raise DataError(path, f"cannot be read ({error.strerror or error})") from error
    if len(content) > _MOST_BYTES or bytes(content[124:_HEADER]) != _LITTLE_5:
        raise DataError(path, "is no MATLAB 5 file")
    found = {}
    try:
        for element in _elements(content[_HEADER:]):
            packed = element.kind == _COMPRESSED
            head = _unpacked(element.content, _MOST_HEAD) if packed else element.content
            if (name := _name_of(head, packed)) in names:
                whole = memoryview(_unpacked(element.content, _MOST_BYTES)) if packed else element.content
                found[name] = _array(whole, packed)
    except (ValueError, struct.error, zlib.error, UnicodeDecodeError) as error:
        raise DataError(path, f"is damaged ({error})", "fetch it again") from error
    if missing := [name for name in names if name not in found]:
        raise DataError(path, f"has no array {missing[0]} of whole numbers")
    return found


def _unpacked(content: memoryview, most: int) -> bytes:
    return zlib.decompressobj().decompress(content, most)


def _elements(content: memoryview, *, whole: bool = True) -> Iterator[_Element]:
    """Yield the elements of a block; with `whole` false, those that a block that was cut still has."""
    at = 0
    while at + 8 <= len(content):
        kind, size = struct.unpack_from("<II", content, at)
        short = kind >> 16
        begin, length = (at + 4, short) if short else (at + 8, size)
        if short > 4 or (begin + length > len(content) and whole):
            raise ValueError("a part is longer than the file")
        if begin + length > len(content):
            return
        yield _Element(kind & 0xFFFF if short else kind, content[begin : begin + length])
        # Compressed parts alone are not padded.
        at = at + 8 if short else begin + (length if kind == _COMPRESSED else -(-length // 8) * 8)


def _matrix(content: bytes | memoryview, packed: bool) -> memoryview:
    """Return the elements of an array; a compressed one has the tag of the array before them."""
    view = memoryview(content)
    if not packed:
        return view
    if len(view) < 8 or struct.unpack_from("<I", view)[0] != _MATRIX:
        raise ValueError("a compressed part is no array")
    return view[8:]


def _name_of(head: bytes | memoryview, packed: bool) -> str:
    parts = list(_elements(_matrix(head, packed)[:_MOST_HEAD], whole=False))[:3]
    if len(parts) < 3 or parts[1].kind != _DIMENSIONS or parts[2].kind != _NAME:
        return ""  # a structure, text, or another kind of part
    return bytes(parts[2].content).decode("ascii")


def _array(whole: memoryview, packed: bool) -> np.ndarray:
    _, sizes, _, values = list(_elements(_matrix(whole, packed)))[:4]
    shape = tuple(np.frombuffer(sizes.content, "<i4").tolist())
    if values.kind not in _WHOLE or len(shape) > _MOST_AXES or any(size < 0 for size in shape):
        raise ValueError("an array is not one of whole numbers")
    numbers = np.frombuffer(values.content, _WHOLE[values.kind])
    if math.prod(shape) != numbers.size:
        raise ValueError(f"an array has {numbers.size:,} values, and axes {list(shape)}")
    return numbers.reshape(shape, order="F")
