"""Vectors in registers, which numba has no word for: pieces of LLVM's language for its intrinsics.

A vector may be longer than those of the processor; LLVM takes it apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

I32, I64, FLOAT, DOUBLE = ir.IntType(32), ir.IntType(64), ir.FloatType(), ir.DoubleType()

# Numbers in a vector, of float32 in the widest registers there are.
LANES = 16


def data(context: Any, builder: ir.IRBuilder, array: Any, value: Any, to: ir.Type) -> Any:
    """Return where an array's values are, as a pointer to a type."""
    return builder.bitcast(context.make_array(array)(context, builder, value).data, ir.PointerType(to))


def load(builder: ir.IRBuilder, values: Any, at: Any, vector: ir.Type) -> Any:
    """Return the vector that begins at a place of values."""
    return builder.load(builder.bitcast(builder.gep(values, [at]), ir.PointerType(vector)), align=4)


def store(builder: ir.IRBuilder, row: Any, values: Any, at: Any) -> None:
    """Write a vector to a place of values."""
    builder.store(row, builder.bitcast(builder.gep(values, [at]), ir.PointerType(row.type)), align=4)


def splat(builder: ir.IRBuilder, value: Any, lanes: int) -> Any:
    """Return a vector whose numbers are all the same."""
    nothing = ir.Constant(ir.VectorType(value.type, lanes), ir.Undefined)
    one = builder.insert_element(nothing, value, I32(0))
    return builder.shuffle_vector(one, nothing, ir.Constant(ir.VectorType(I32, lanes), [0] * lanes))


def multiply_add(builder: ir.IRBuilder, one: Any, other: Any, to: Any) -> Any:
    """Return one * other + to, rounded once where the processor can."""
    vector = to.type
    return _call(builder, f"llvm.fmuladd.{_named(vector)}", vector, [one, other, to])


def _call(builder: ir.IRBuilder, name: str, returns: ir.Type, arguments: list[Any]) -> Any:
    kind = ir.FunctionType(returns, [argument.type for argument in arguments])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), arguments)


def _named(vector: ir.VectorType) -> str:
    return f"v{vector.count}f{64 if vector.element == DOUBLE else 32}"


def _adds(context: Any, to: Any, at: Any, row: Any, of: Any, value: Any, many: Any) -> Any:
    def build(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        number = context.get_data_type(to.dtype)
        vector = ir.VectorType(number, LANES)
        to_data, row_data = (data(context, builder, signature.args[k], arguments[k], number) for k in (0, 2))
        _, at, _, of, value, many = arguments
        factor = splat(builder, value, LANES)
        with loop(builder, I64(0), builder.sub(many, I64(LANES - 1)), LANES) as n:
            where = builder.add(at, n)
            row = load(builder, row_data, builder.add(of, n), vector)
            total = multiply_add(builder, factor, row, load(builder, to_data, where, vector))
            store(builder, total, to_data, where)
        n = builder.and_(many, I64(-LANES))
        with builder.if_then(builder.icmp_signed("<", n, many)):
            where = builder.add(at, n)
            left = splat(builder, builder.trunc(builder.sub(many, n), I32), LANES)
            mask = builder.icmp_signed("<", ir.Constant(ir.VectorType(I32, LANES), list(range(LANES))), left)
            row = _load_some(builder, row_data, builder.add(of, n), vector, mask)
            total = multiply_add(builder, factor, row, _load_some(builder, to_data, where, vector, mask))
            _store_some(builder, total, to_data, where, mask)
        return context.get_dummy_value()

    return types.void(to, types.intp, row, types.intp, to.dtype, types.intp), build


add_row = cast(Callable[..., None], intrinsic(_adds))
"""Do `to[at + n] += value * row[of + n]` for n below `many`, in arrays as they lie in memory.

numba's own loop takes longer for some sixty numbers: most of its time goes to those at the end, which do not fill its
four vectors.
"""


@contextmanager
def loop(builder: ir.IRBuilder, first: Any, last: Any, step: int) -> Iterator[Any]:
    """Build what is within for each number from `first` to before `last` in steps."""
    before, head = builder.block, builder.append_basic_block("head")
    body, behind = builder.append_basic_block("body"), builder.append_basic_block("behind")
    builder.branch(head)
    builder.position_at_end(head)
    n = builder.phi(I64)
    n.add_incoming(first, before)
    builder.cbranch(builder.icmp_signed("<", n, last), body, behind)
    builder.position_at_end(body)
    yield n
    n.add_incoming(builder.add(n, I64(step)), builder.block)
    builder.branch(head)
    builder.position_at_end(behind)


def _load_some(builder: ir.IRBuilder, values: Any, at: Any, vector: ir.VectorType, mask: Any) -> Any:
    where = builder.bitcast(builder.gep(values, [at]), ir.PointerType(vector))
    name = f"llvm.masked.load.{_named(vector)}.p0"
    return _call(builder, name, vector, [where, I32(4), mask, ir.Constant(vector, [0.0] * vector.count)])


def _store_some(builder: ir.IRBuilder, row: Any, values: Any, at: Any, mask: Any) -> None:
    where = builder.bitcast(builder.gep(values, [at]), ir.PointerType(row.type))
    _call(builder, f"llvm.masked.store.{_named(row.type)}.p0", ir.VoidType(), [row, where, I32(4), mask])


def _adds_events(vectors: int) -> Callable[..., None]:
    """Return what adds `value * lines[base + row * stride + column * step:]` of each event to `to[at:]`."""

    def add_events(
        context: Any,
        to: Any,
        at: Any,
        lines: Any,
        base: Any,
        stride: Any,
        step: Any,
        rows: Any,
        columns: Any,
        values: Any,
        first: Any,
        last: Any,
    ) -> Any:
        def build(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
            number = context.get_data_type(to.dtype)
            vector = ir.VectorType(number, LANES)
            to_data, line_data, value_data = (
                data(context, builder, signature.args[k], arguments[k], number) for k in (0, 2, 8)
            )
            row_data, column_data = (data(context, builder, signature.args[k], arguments[k], I32) for k in (6, 7))
            _, at, _, base, stride, step, _, _, _, first, last = arguments
            places = [builder.add(at, I64(LANES * k)) for k in range(vectors)]
            before, head = builder.block, builder.append_basic_block("head")
            body, behind = builder.append_basic_block("body"), builder.append_basic_block("behind")
            begins = [load(builder, to_data, place, vector) for place in places]
            builder.branch(head)
            builder.position_at_end(head)
            n, totals = builder.phi(I64), [builder.phi(vector) for _ in places]
            for phi, begin in zip([n, *totals], [first, *begins], strict=True):
                phi.add_incoming(begin, before)
            builder.cbranch(builder.icmp_signed("<", n, last), body, behind)
            builder.position_at_end(body)
            row, column = (builder.sext(builder.load(builder.gep(of, [n])), I64) for of in (row_data, column_data))
            where = builder.add(base, builder.add(builder.mul(row, stride), builder.mul(column, step)))
            value = splat(builder, builder.load(builder.gep(value_data, [n])), LANES)
            for k, total in enumerate(totals):
                line = load(builder, line_data, builder.add(where, I64(LANES * k)), vector)
                total.add_incoming(multiply_add(builder, value, line, total), body)
            n.add_incoming(builder.add(n, I64(1)), body)
            builder.branch(head)
            builder.position_at_end(behind)
            for place, total in zip(places, totals, strict=True):
                store(builder, total, to_data, place)
            return context.get_dummy_value()

        i = types.intp
        return types.void(to, i, lines, i, i, i, rows, columns, values, i, i), build

    return cast(Callable[..., None], intrinsic(add_events))


add_events_1, add_events_4 = _adds_events(1), _adds_events(4)


def _occupied(context: Any, cells: Any, at: Any) -> Any:
    def build(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        number = context.get_data_type(cells.dtype)
        vector = ir.VectorType(number, 64)
        row = load(builder, data(context, builder, cells, arguments[0], number), arguments[1], vector)
        found = builder.fcmp_unordered("!=", row, ir.Constant(vector, [0.0] * 64))
        return builder.bitcast(found, I64)

    return types.uint64(cells, types.intp), build


occupied = cast(Callable[..., np.uint64], intrinsic(_occupied))
"""Return which of 64 numbers from a place of an array on are not zero, the first one's in the lowest bit."""
