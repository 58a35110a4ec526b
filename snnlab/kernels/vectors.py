"""SIMD vectors for numba, which has none: a type, and the operations of compiled loops on it.

Loads and stores take a flat index into the memory of an array. A vector may be longer than the processor's registers;
LLVM splits it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.datamodel.models import PrimitiveModel
from numba.extending import intrinsic, register_model

# Numbers in a vector: float32 in 512-bit registers.
LANES = 16


class Vector(types.Type):
    """A vector of `lanes` numbers of a type."""

    def __init__(self, dtype: Any, lanes: int) -> None:
        self.dtype, self.lanes = dtype, lanes
        super().__init__(f"Vector({dtype}, {lanes})")


@register_model(Vector)
class _Model(PrimitiveModel):
    def __init__(self, models: Any, kind: Vector) -> None:
        super().__init__(models, kind, ir.VectorType(models.lookup(kind.dtype).get_value_type(), kind.lanes))


def _pointer(context: Any, builder: ir.IRBuilder, array: Any, value_and_index: Any, kind: ir.Type) -> Any:
    """Build the pointer to a vector at an index of an array."""
    value, at = value_and_index
    values = context.make_array(array)(context, builder, value).data
    return builder.bitcast(builder.gep(values, [at]), ir.PointerType(kind))


def _broadcast(builder: ir.IRBuilder, value: Any, lanes: int) -> Any:
    undefined = ir.Constant(ir.VectorType(value.type, lanes), ir.Undefined)
    one = builder.insert_element(undefined, value, ir.IntType(32)(0))
    return builder.shuffle_vector(one, undefined, ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes))


def _multiply_add(builder: ir.IRBuilder, one: Any, other: Any, to: Any) -> Any:
    bits = 64 if to.type.element == ir.DoubleType() else 32
    kind = ir.FunctionType(to.type, [to.type] * 3)
    name = f"llvm.fmuladd.v{to.type.count}f{bits}"
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), [one, other, to])


def _vector_intrinsic(typing: Callable[..., Any]) -> Callable[..., Any]:
    return cast(Callable[..., Any], intrinsic(prefer_literal=True)(typing))


@_vector_intrinsic
def load(context: Any, values: Any, at: Any, lanes: Any) -> Any:
    """Return the vector at an index of an array."""
    kind = Vector(values.dtype, lanes.literal_value)

    def build(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        address = _pointer(context, builder, values, arguments[:2], context.get_value_type(kind))
        return builder.load(address, align=values.dtype.bitwidth // 8)

    return kind(values, types.intp, lanes), build


@_vector_intrinsic
def store(context: Any, row: Any, values: Any, at: Any) -> Any:
    """Write a vector at an index of an array."""

    def build(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        row, *address = arguments
        builder.store(row, _pointer(context, builder, values, address, row.type), align=values.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(row, values, types.intp), build


@_vector_intrinsic
def splat(context: Any, value: Any, lanes: Any) -> Any:
    """Return a vector with the same number in all lanes."""

    def build(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        return _broadcast(builder, arguments[0], lanes.literal_value)

    return Vector(value, lanes.literal_value)(value, lanes), build


def _elementwise(name: str) -> Callable[..., Any]:
    def typing(context: Any, one: Any, other: Any) -> Any:
        def build(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
            return getattr(builder, f"f{name}" if isinstance(one.dtype, types.Float) else name)(*arguments)

        return one(one, one), build

    return _vector_intrinsic(typing)


add, multiply = _elementwise("add"), _elementwise("mul")
"""Return the sum of two vectors; return their product."""

subtract, divide = _elementwise("sub"), _elementwise("div")
"""Return the difference of two vectors; return their quotient."""


@_vector_intrinsic
def multiply_add(context: Any, one: Any, other: Any, to: Any) -> Any:
    """Return one * other + to, rounded once where the processor can."""

    def build(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        return _multiply_add(builder, *arguments)

    return to(to, to, to), build


@_vector_intrinsic
def zeros(context: Any, like: Any, rows: Any, lanes: Any) -> Any:
    """Return a tuple of `rows` vectors of zeros, with the dtype of an array."""
    kind = types.UniTuple(Vector(like.dtype, lanes.literal_value), rows.literal_value)

    def build(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        return ir.Constant(context.get_value_type(kind), None)

    return kind(like, rows, lanes), build


@_vector_intrinsic
def add_products(context: Any, rows: Any, factors: Any, at: Any, step: Any, last: Any, row: Any) -> Any:
    """Return `rows[k] + factors[at + min(k, last) * step] * row` for each k."""

    def build(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        found, values, at, step, last, row = arguments
        for k in range(rows.count):
            taken = builder.select(builder.icmp_signed("<", at.type(k), last), at.type(k), last)
            address = values, builder.add(at, builder.mul(taken, step))
            value = builder.load(_pointer(context, builder, factors, address, row.type.element))
            factor = _broadcast(builder, value, row.type.count)
            found = builder.insert_value(found, _multiply_add(builder, factor, row, builder.extract_value(found, k)), k)
        return found

    return rows(rows, factors, types.intp, types.intp, types.intp, row), build


def _mask_bits(builder: ir.IRBuilder, mask: Any) -> Any:
    return builder.zext(builder.bitcast(mask, ir.IntType(mask.type.count)), ir.IntType(64))


def _comparison(name: str, sign: str) -> Callable[..., Any]:
    def typing(context: Any, one: Any, other: Any) -> Any:
        def build(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
            return _mask_bits(builder, getattr(builder, name)(sign, *arguments))

        return types.uint64(one, one), build

    return _vector_intrinsic(typing)


at_least, above = _comparison("fcmp_ordered", ">="), _comparison("fcmp_ordered", ">")
at_most, below = _comparison("fcmp_ordered", "<="), _comparison("fcmp_ordered", "<")
equals, differs = _comparison("fcmp_ordered", "=="), _comparison("fcmp_unordered", "!=")
"""Return the lanes where one vector compares so with another, as the bits of a number.

A lane that is not a number is not at least another, above it or equal to it, but differs, as in PyTorch.
"""


@_vector_intrinsic
def select(context: Any, bits: Any, one: Any, other: Any) -> Any:
    """Return the lanes of one vector where a bit is set, and those of another elsewhere."""

    def build(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        lanes = one.lanes
        short = builder.trunc(arguments[0], ir.IntType(lanes))
        return builder.select(builder.bitcast(short, ir.VectorType(ir.IntType(1), lanes)), *arguments[1:])

    return one(types.uint64, one, one), build


def _of_lanes(name: str) -> Callable[..., Any]:
    def typing(context: Any, row: Any) -> Any:
        def build(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
            kind = arguments[0].type
            whole = f"llvm.{name}.v{kind.count}f{row.dtype.bitwidth}"
            called = cgutils.get_or_insert_function(builder.module, ir.FunctionType(kind, [kind]), whole)
            return builder.call(called, arguments)

        return row(row), build

    return _vector_intrinsic(typing)


truncate, round_down = _of_lanes("trunc"), _of_lanes("floor")
"""Return a vector rounded towards zero; return one rounded down."""

absolute, square_root = _of_lanes("fabs"), _of_lanes("sqrt")
"""Return the magnitudes of a vector; return its square roots."""


@_vector_intrinsic
def negate(context: Any, row: Any) -> Any:
    """Return a vector with other signs."""

    def build(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        return builder.fneg(arguments[0])

    return row(row), build


@_vector_intrinsic
def total(context: Any, row: Any) -> Any:
    """Return the sum of a vector's lanes, in any order."""

    def build(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        kind, zero = arguments[0].type, ir.Constant(arguments[0].type.element, 0.0)
        name = f"llvm.vector.reduce.fadd.v{kind.count}f{row.dtype.bitwidth}"
        function = ir.FunctionType(kind.element, [kind.element, kind])
        called = cgutils.get_or_insert_function(builder.module, function, name)
        return builder.call(called, [zero, *arguments], fastmath=("reassoc",))

    return row.dtype(row), build


@_vector_intrinsic
def number_of_bits(context: Any, number: Any) -> Any:
    """Return how many bits of a number are set."""

    def build(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.int64(types.uint64), build


@_vector_intrinsic
def trailing_zeros(context: Any, number: Any) -> Any:
    """Return the index of the lowest bit of a number that is not 0."""

    def build(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        kind = ir.FunctionType(ir.IntType(64), [ir.IntType(64), ir.IntType(1)])
        # With the flag, the result for 0 is undefined.
        given = [*arguments, ir.IntType(1)(True)]
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, "llvm.cttz.i64"), given)

    return types.int64(types.uint64), build


@_vector_intrinsic
def add_scaled_rows(
    context: Any, to: Any, at: Any, values: Any, starts: Any, factors: Any, count: Any, shift: Any, vectors: Any
) -> Any:
    """Add rows of an array, each times its factor, to the row of another: in their order, each product rounded.

        to[at + n] += sum over k < count of factors[k] * values[starts[k] + shift + n],   n < 16 * vectors

    `vectors` is a literal number; the sums stay in registers. `count` is 1 or more.
    """
    rows, kind = vectors.literal_value, Vector(to.dtype, LANES)

    def build(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        arrays, (_, at, _, _, _, count, shift, _) = signature.args, arguments
        index, vector = at.type, context.get_value_type(kind)
        target, source, start, factor = (
            context.make_array(arrays[k])(context, builder, arguments[k]).data for k in (0, 2, 3, 4)
        )

        def place(memory: Any, at: Any) -> Any:
            return builder.bitcast(builder.gep(memory, [at]), ir.PointerType(vector))

        ends = [place(target, builder.add(at, index(LANES * n))) for n in range(rows)]
        begun = [builder.load(end, align=4) for end in ends]
        entry, body = builder.block, builder.append_basic_block("row")
        after = builder.append_basic_block("rows_end")
        builder.branch(body)
        builder.position_at_end(body)
        k, sums = builder.phi(index), [builder.phi(vector) for _ in range(rows)]
        first = builder.add(builder.load(builder.gep(start, [k])), shift)
        scale = _broadcast(builder, builder.load(builder.gep(factor, [k])), LANES)
        added = []
        for n, total in enumerate(sums):
            row = builder.load(place(source, builder.add(first, index(LANES * n))), align=4)
            added.append(builder.fadd(total, builder.fmul(scale, row)))
        following = builder.add(k, index(1))
        for phi, zeroth, later in zip([k, *sums], [index(0), *begun], [following, *added], strict=True):
            phi.add_incoming(zeroth, entry)
            phi.add_incoming(later, body)
        builder.cbranch(builder.icmp_signed("<", following, count), body, after)
        builder.position_at_end(after)
        for total, end in zip(added, ends, strict=True):
            builder.store(total, end, align=4)
        return context.get_dummy_value()

    intp = types.intp
    return types.void(to, intp, values, starts, factors, intp, intp, vectors), build
