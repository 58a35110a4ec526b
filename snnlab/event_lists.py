"""Compiled loops that count the nonzero cells of frames, and list those of a frame from a bit mask.

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


class CellPositions(NamedTuple):
    """Rows and columns of the cells of one channel, by their index in memory.

    Attributes:
        row: Row of each cell.
        column: Column of each cell.
        row_stride: Cells of a row in memory.
    """

    row: np.ndarray
    column: np.ndarray
    row_stride: int


@lru_cache(maxsize=8)
def cell_positions(height: int, width: int, stride: int = 1) -> CellPositions:
    """Return the rows and columns of the cells of a channel, whose cells are `stride` apart in memory."""
    row, column = np.indices((height, width * stride), np.int32).reshape(2, -1)
    return CellPositions(row.copy(), column // np.int32(stride), width * stride)


def bits_of(cells: np.ndarray) -> tuple[np.ndarray, Any]:
    """Return the bits of cells as integers, and a mask of all bits but the sign, since -0.0 is a zero too.

    Integers, because a loop that flushes denormal numbers to zero would miss denormal cells.
    """
    bits = cells.view(f"u{cells.itemsize}")
    return bits, bits.dtype.type(2 ** (8 * cells.itemsize - 1) - 1)


def list_ends(cells: np.ndarray) -> np.ndarray:
    """Return the start of each frame's nonzero cells in a common list, and the end of the last frame.

    Shape:
        cells: `[N, cells]`; returns `[N + 1]`, int64.
    """
    ends = np.zeros(len(cells) + 1, np.int64)
    share(partial(_count, *bits_of(cells), ends), len(cells), cells.size // 8)
    return np.cumsum(ends, out=ends)


@compiled(nogil=True)
def _count(bits: np.ndarray, without_sign: Any, ends: np.ndarray, first: int, last: int) -> None:
    for n in range(first, last):
        count = np.int32(0)
        for at in range(bits.shape[1]):
            count += np.int32(bits[n, at] & without_sign != 0)
        ends[n + 1] = count


def _bit_intrinsic(name: str, *more: Any) -> Callable[[np.uint64], int]:
    def typing(context: Any, bits: Any) -> Any:
        def build(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
            i64, operands = ir.IntType(BITS), [arguments[0], *more]
            kind = ir.FunctionType(i64, [operand.type for operand in operands])
            function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.{name}.i{BITS}")
            return builder.call(function, operands)

        return types.intp(types.uint64), build

    return cast(Callable[[np.uint64], int], intrinsic(typing))


_lowest_bit, _count_bits = _bit_intrinsic("cttz", ir.IntType(1)(0)), _bit_intrinsic("ctpop")
"""Return the index of the lowest bit that is set, or 64 if none is; return the number of bits that are set."""


@njit(nogil=True, error_model="numpy")
def list_cells(
    nonzero: np.ndarray,
    positions: CellPositions,
    cells: np.ndarray,
    e: int,
    offsets: np.ndarray,
    rows: np.ndarray,
    columns: np.ndarray,
    values: np.ndarray,
    word_starts: np.ndarray,
    indices: np.ndarray,
) -> np.intp:
    """List the nonzero cells of a channel of a frame, row by row, and return their number.

    Args:
        nonzero: Bit mask of the nonzero cells.
        positions: Row and column of each cell.
        cells: The cells.
        e: Start of their list in rows, columns and values.
        offsets: Start of the list of each row, and the end of the last one; written.
        rows: Rows, written.
        columns: Columns, written.
        values: Values, written.
        word_starts: Start of the list of each word of the mask, written.
        indices: Index of each nonzero cell among the cells, written; 4 longer than cells.

    Shape:
        cells, with those of other channels between them, `[cells]`; nonzero, word_starts `[cells / 64]`; offsets
        `[H + 1]`; indices uint32 `[cells + 4]`.
    """
    count = np.uintp(0)
    for word in range(np.uintp(nonzero.size)):
        word_starts[word] = e + np.intp(count)
        left, end = nonzero[word], count + np.uintp(_count_bits(nonzero[word]))
        # Always four, of which the next word overwrites some: a branch here would be mispredicted half of the time.
        for k in range(np.uintp(4)):
            indices[count + k] = np.uintp(BITS) * word + np.uintp(_lowest_bit(left))
            left &= left - np.uint64(1)
        count += np.uintp(4)
        while left:
            indices[count] = np.uintp(BITS) * word + np.uintp(_lowest_bit(left))
            count += np.uintp(1)
            left &= left - np.uint64(1)
        count = end
    for row in range(np.uintp(offsets.size - 1)):
        bit = row * np.uintp(positions.row_stride)
        earlier = nonzero[bit // np.uintp(BITS)] & ((np.uint64(1) << (bit % np.uintp(BITS))) - np.uint64(1))
        offsets[row] = word_starts[bit // np.uintp(BITS)] + _count_bits(earlier)
    offsets[offsets.size - 1] = e + np.intp(count)
    for k in range(count):
        at, to = indices[k], np.uintp(e) + k
        rows[to], columns[to], values[to] = positions.row[at], positions.column[at], cells[at]
    return np.intp(count)
