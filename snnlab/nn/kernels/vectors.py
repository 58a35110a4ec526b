"""Vectors in registers, which numba has no word for: pieces of LLVM's language for its intrinsics.

A vector may be longer than those of the processor; LLVM takes it apart. Their file is not looked at by numba's cache:
after a change here, so must be the files of the loops.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils

I32, I64, FLOAT = ir.IntType(32), ir.IntType(64), ir.FloatType()


def data(context: Any, builder: ir.IRBuilder, array: Any, value: Any, to: ir.Type) -> Any:
    """Return where an array's values are, as a pointer to a type."""
    return builder.bitcast(context.make_array(array)(context, builder, value).data, ir.PointerType(to))


def load(builder: ir.IRBuilder, values: Any, at: Any, vector: ir.Type) -> Any:
    found = builder.load(builder.bitcast(builder.gep(values, [at]), ir.PointerType(vector)))
    found.align = 4
    return found


def store(builder: ir.IRBuilder, row: Any, values: Any, at: Any) -> None:
    done = builder.store(row, builder.bitcast(builder.gep(values, [at]), ir.PointerType(row.type)))
    done.align = 4


def splat(builder: ir.IRBuilder, value: Any, lanes: int) -> Any:
    nothing = ir.Constant(ir.VectorType(value.type, lanes), ir.Undefined)
    one = builder.insert_element(nothing, value, I32(0))
    return builder.shuffle_vector(one, nothing, ir.Constant(ir.VectorType(I32, lanes), [0] * lanes))


def multiply_add(builder: ir.IRBuilder, one: Any, other: Any, to: Any) -> Any:
    vector = to.type
    name = f"llvm.fmuladd.v{vector.count}f32"
    called = cgutils.get_or_insert_function(builder.module, ir.FunctionType(vector, [vector] * 3), name)
    return builder.call(called, [one, other, to])
