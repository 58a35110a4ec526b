"""System calls within compiled loops: read, write, wait for input, and the clock.

Each returns what the function of the C library returns; -1 is a failure, also that a signal has arrived.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, cast

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

_INT, _LONG = ir.IntType(32), ir.IntType(64)
_PAIR = ir.ArrayType(_LONG, 2)  # of seconds, and nanoseconds or microseconds
# Words of 64 bits in a set of descriptors, of which `select` takes 1024.
SET_WORDS = 16


def now_s() -> float:
    """Return the time of the clock that `clock_s` reads, s."""
    return time.clock_gettime(time.CLOCK_MONOTONIC)


def _system_call(typing: Callable[..., Any]) -> Callable[..., Any]:
    return cast(Callable[..., Any], intrinsic(typing))


def _call(builder: ir.IRBuilder, name: str, result: ir.Type, given: list[Any]) -> Any:
    kind = ir.FunctionType(result, [value.type for value in given])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), given)


def _transfer(name: str, values: Any) -> Any:
    """Return the signature and the code of `name(descriptor, &values[at], count)`."""

    def build(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        descriptor, array, at, count = arguments
        pointer = builder.gep(context.make_array(values)(context, builder, array).data, [at])
        return _call(builder, name, _LONG, [builder.trunc(descriptor, _INT), pointer, count])

    return types.int64(types.int64, values, types.int64, types.int64), build


@_system_call
def read_bytes(context: Any, descriptor: Any, values: Any, at: Any, count: Any) -> Any:
    """Read up to `count` bytes into an array of bytes, from an index on; return their number, 0 at the end."""
    return _transfer("read", values)


@_system_call
def write_bytes(context: Any, descriptor: Any, values: Any, at: Any, count: Any) -> Any:
    """Write up to `count` bytes of an array of bytes, from an index on; return their number."""
    return _transfer("write", values)


@_system_call
def wait_readable(context: Any, ready: Any, number: Any, seconds: Any) -> Any:
    """Wait until a descriptor below `number` of a set can be read; return how many can, and leave these in the set."""

    def build(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        array, number, seconds = arguments
        pointer = context.make_array(ready)(context, builder, array).data
        us = builder.fptosi(builder.fmul(seconds, ir.Constant(ir.DoubleType(), 1e6)), _LONG)
        million, pair = _LONG(1_000_000), cgutils.alloca_once(builder, _PAIR)
        builder.store(builder.sdiv(us, million), cgutils.gep_inbounds(builder, pair, 0, 0))
        builder.store(builder.srem(us, million), cgutils.gep_inbounds(builder, pair, 0, 1))
        none = ir.Constant(pointer.type, None)
        found = _call(builder, "select", _INT, [builder.trunc(number, _INT), pointer, none, none, pair])
        return builder.sext(found, _LONG)

    return types.int64(ready, types.int64, types.float64), build


@_system_call
def clock_s(context: Any) -> Any:
    """Return the time of the monotonic clock, s."""

    def build(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        pair = cgutils.alloca_once(builder, _PAIR)
        _call(builder, "clock_gettime", _INT, [_INT(time.CLOCK_MONOTONIC), pair])
        seconds, ns = (builder.load(cgutils.gep_inbounds(builder, pair, 0, n)) for n in (0, 1))
        billion = ir.Constant(ir.DoubleType(), 1e-9)
        fraction = builder.fmul(builder.sitofp(ns, ir.DoubleType()), billion)
        return builder.fadd(builder.sitofp(seconds, ir.DoubleType()), fraction)

    return types.float64(), build
