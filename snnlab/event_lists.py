"""Compiled loops that count the cells that hold anything, and list those of a frame from their bits.

Axes: N frames or rows of frames, H rows, W columns of a frame.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, NamedTuple, cast

import numpy as np
from llvmlite import ir
from numba import njit
from numba.core import cgutils, types
from numba.extending import intrinsic

from snnlab.compiled import compiled
from snnlab.threads import share

BITS = 64


class Places(NamedTuple):
    """What the cells of one channel are, by their places in memory.

    Attributes:
        row: Row of each.
        column: Column of each.
        across: Cells of a row.
    """

    row: np.ndarray
    column: np.ndarray
    across: int


@lru_cache(maxsize=8)
def places_of(height: int, width: int, stride: int = 1) -> Places:
    """Return the places of the cells of a channel, of which each is so many places behind the one before."""
    row, column = np.indices((height, width * stride), np.int32).reshape(2, -1)
    return Places(row.copy(), column // np.int32(stride), width * stride)


def bits_of(cells: np.ndarray) -> tuple[np.ndarray, Any]:
    """Return the bits of cells, and all but the sign's: the zero below zero is one too.

    A loop that is told to take denormal numbers for zero would not see some of the cells themselves.
    """
    bits = cells.view(f"u{cells.itemsize}")
    return bits, bits.dtype.type(2 ** (8 * cells.itemsize - 1) - 1)


def list_ends(cells: np.ndarray) -> np.ndarray:
    """Return where the list of each frame's cells other than 0 would begin, and where the last one would end.

    Shape:
        cells: `[N, cells]`; returns `[N + 1]`, int64.
    """
    ends = np.zeros(len(cells) + 1, np.int64)
    share(partial(_count, *bits_of(cells), ends), len(cells), cells.size // 8)
    return np.cumsum(ends, out=ends)


@compiled(nogil=True)
def _count(bits: np.ndarray, size: Any, ends: np.ndarray, first: int, last: int) -> None:
    for n in range(first, last):
        many = np.int32(0)
        for at in range(bits.shape[1]):
            many += np.int32(bits[n, at] & size != 0)
        ends[n + 1] = many


def _of_bits(name: str, *more: Any) -> Callable[[np.uint64], int]:
    def counts(context: Any, bits: Any) -> Any:
        def build(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
            i64, given = ir.IntType(BITS), [arguments[0], *more]
            kind = ir.FunctionType(i64, [argument.type for argument in given])
            function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.{name}.i{BITS}")
            return builder.call(function, given)

        return types.intp(types.uint64), build

    return cast(Callable[[np.uint64], int], intrinsic(counts))


_lowest, _set_bits = _of_bits("cttz", ir.IntType(1)(0)), _of_bits("ctpop")
"""Return the place of the lowest bit that is set, 64 where none is; how many are."""


@njit(nogil=True, error_model="numpy")
def list_cells(
    held: np.ndarray,
    places: Places,
    cells: np.ndarray,
    e: int,
    offsets: np.ndarray,
    rows: np.ndarray,
    columns: np.ndarray,
    values: np.ndarray,
    before: np.ndarray,
    spare: np.ndarray,
) -> np.intp:
    """List the cells of a channel of a frame, row by row, and return how many there are.

    Args:
        held: Bits of the cells that hold anything.
        places: What each cell is.
        cells: The cells.
        e: Where their list begins in rows, columns and values.
        offsets: Where the list of each row begins, and where the last one ends; written.
        rows: Rows, written.
        columns: Columns, written.
        values: Values, written.
        before: Where the list of each word begins, written.
        spare: Where each is among the cells, written, and four more.

    Shape:
        cells, with all that lies between them, `[cells]`; held, before `[cells / 64]`; offsets `[H + 1]`; spare
        uint32, 4 longer than cells.
    """
    many = np.uintp(0)
    for word in range(np.uintp(held.size)):
        before[word] = e + np.intp(many)
        left, behind = held[word], many + np.uintp(_set_bits(held[word]))
        # Four in any case, of which the next word overwrites some: without a branch that is as often wrong as right.
        for k in range(np.uintp(4)):
            spare[many + k] = np.uintp(BITS) * word + np.uintp(_lowest(left))
            left &= left - np.uint64(1)
        many += np.uintp(4)
        while left:
            spare[many] = np.uintp(BITS) * word + np.uintp(_lowest(left))
            many += np.uintp(1)
            left &= left - np.uint64(1)
        many = behind
    for row in range(np.uintp(offsets.size - 1)):
        bit = row * np.uintp(places.across)
        earlier = held[bit // np.uintp(BITS)] & ((np.uint64(1) << (bit % np.uintp(BITS))) - np.uint64(1))
        offsets[row] = before[bit // np.uintp(BITS)] + _set_bits(earlier)
    offsets[offsets.size - 1] = e + np.intp(many)
    for k in range(many):
        at, to = spare[k], np.uintp(e) + k
        rows[to], columns[to], values[to] = places.row[at], places.column[at], cells[at]
    return np.intp(many)
