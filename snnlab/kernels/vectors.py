"""Vectors in registers, for which numba has no word: a type of its own, and what compiled loops do with it.

Loads and stores take a place in an array as it lies in memory, whatever its axes. A vector may be longer than those of
the processor; LLVM takes it apart.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.datamodel.models import PrimitiveModel
from numba.extending import intrinsic, register_model

# Numbers in a vector, of float32 in the widest registers there are.
LANES = 16


class Vector(types.Type):
    """So many numbers of a type."""

    def __init__(self, dtype: Any, lanes: int) -> None:
        self.dtype, self.lanes = dtype, lanes
        super().__init__(f"Vector({dtype}, {lanes})")


@register_model(Vector)
class _Model(PrimitiveModel):
    def __init__(self, models: Any, kind: Vector) -> None:
        super().__init__(models, kind, ir.VectorType(models.lookup(kind.dtype).get_value_type(), kind.lanes))


def _place(context: Any, builder: ir.IRBuilder, array: Any, place: Any, kind: ir.Type) -> Any:
    value, at = place
    values = context.make_array(array)(context, builder, value).data
    return builder.bitcast(builder.gep(values, [at]), ir.PointerType(kind))


def _repeated(builder: ir.IRBuilder, value: Any, lanes: int) -> Any:
    nothing = ir.Constant(ir.VectorType(value.type, lanes), ir.Undefined)
    one = builder.insert_element(nothing, value, ir.IntType(32)(0))
    return builder.shuffle_vector(one, nothing, ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes))


def _multiplied(builder: ir.IRBuilder, one: Any, other: Any, to: Any) -> Any:
    bits = 64 if to.type.element == ir.DoubleType() else 32
    kind = ir.FunctionType(to.type, [to.type] * 3)
    name = f"llvm.fmuladd.v{to.type.count}f{bits}"
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), [one, other, to])


def _word(typing: Callable[..., Any]) -> Callable[..., Any]:
    return cast(Callable[..., Any], intrinsic(prefer_literal=True)(typing))


@_word
def load(context: Any, values: Any, at: Any, lanes: Any) -> Any:
    """Return the vector that begins at a place of an array."""
    kind = Vector(values.dtype, lanes.literal_value)

    def build(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        place = _place(context, builder, values, arguments[:2], context.get_value_type(kind))
        return builder.load(place, align=values.dtype.bitwidth // 8)

    return kind(values, types.intp, lanes), build


@_word
def store(context: Any, row: Any, values: Any, at: Any) -> Any:
    """Write a vector to a place of an array."""

    def build(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        row, *place = arguments
        builder.store(row, _place(context, builder, values, place, row.type), align=values.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(row, values, types.intp), build


@_word
def splat(context: Any, value: Any, lanes: Any) -> Any:
    """Return a vector whose numbers are all the same."""

    def build(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        return _repeated(builder, arguments[0], lanes.literal_value)

    return Vector(value, lanes.literal_value)(value, lanes), build


def _of_two(name: str) -> Callable[..., Any]:
    def typing(context: Any, one: Any, other: Any) -> Any:
        def build(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
            return getattr(builder, f"f{name}" if isinstance(one.dtype, types.Float) else name)(*arguments)

        return one(one, one), build

    return _word(typing)


add, multiply = _of_two("add"), _of_two("mul")
"""Return the sum, the product of two vectors."""


@_word
def multiply_add(context: Any, one: Any, other: Any, to: Any) -> Any:
    """Return one * other + to, rounded once where the processor can."""

    def build(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        return _multiplied(builder, *arguments)

    return to(to, to, to), build


@_word
def zeros(context: Any, like: Any, rows: Any, lanes: Any) -> Any:
    """Return so many vectors of zeros, of an array's numbers, as a tuple."""
    kind = types.UniTuple(Vector(like.dtype, lanes.literal_value), rows.literal_value)

    def build(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        return ir.Constant(context.get_value_type(kind), None)

    return kind(like, rows, lanes), build


@_word
def add_products(context: Any, rows: Any, factors: Any, at: Any, step: Any, last: Any, row: Any) -> Any:
    """Return `rows[k] + factors[at + min(k, last) * step] * row` for each k."""

    def build(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        found, values, at, step, last, row = arguments
        for k in range(rows.count):
            taken = builder.select(builder.icmp_signed("<", at.type(k), last), at.type(k), last)
            place = values, builder.add(at, builder.mul(taken, step))
            value = builder.load(_place(context, builder, factors, place, row.type.element))
            factor = _repeated(builder, value, row.type.count)
            found = builder.insert_value(found, _multiplied(builder, factor, row, builder.extract_value(found, k)), k)
        return found

    return rows(rows, factors, types.intp, types.intp, types.intp, row), build
