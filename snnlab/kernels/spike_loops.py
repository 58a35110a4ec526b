"""The compiled loops of a convolution whose input are few spikes: what is zero is not multiplied.

The cells that are not zero lie one behind the other, those of a row of a frame in a run, so that all that a row of the
kernel meets at one place is one run too. The runs of all rows of the kernel are gathered in a list, and one loop over
it keeps the features in registers. (A loop over each run alone takes twice as long: runs hold a handful of cells each,
and where the next one ends the processor guesses wrong.) Each sum goes through the cells in the order in which the
kernel lies, one after the other.

An entry is 64 bits: 32 of where the cell is within its row of the frame, and 32 of its value. A kernel lies as
`[tiles, height, width * channels, lanes]`, of which a tile's features fill the lanes of a vector.

A pixel of the output sends back to `width * channels` numbers side by side, which lie in whole vectors even where the
channels alone do not fill one. Some pixels beside one another take each number of the kernel out of memory together,
and their sums stay in registers, through all features and all rows of the kernel, until they are added to a line. There
a kernel lies as `[chunks, height, F, lanes]`: the numbers that a feature sends to in one row, in chunks of as many as
three or four vectors hold.

Vectors in registers, for which numba has no word, are written as pieces of LLVM's language. A vector may be longer than
those of the processor; LLVM takes it apart.

Axes: N frames, H rows and W columns of a frame, C channels, H' rows and W' columns of the output, F features.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np
from llvmlite import ir
from numba import njit
from numba.core import cgutils, types
from numba.extending import intrinsic

from snnlab.compiled import compiled, lent

I32, I64, FLOAT, DOUBLE = ir.IntType(32), ir.IntType(64), ir.FloatType(), ir.DoubleType()

# Numbers in a vector, of float32 in the widest registers there are.
LANES = 16

# Entries that are copied at once, some in vain; arrays of entries have as many to spare behind their last one.
CHUNK = 16

# Bits of a float32 but for its sign: the zero below zero is one too.
SIZE = np.uint32(0x7FFFFFFF)

# The most pixels that are taken together: with four vectors each and the kernel's own four, of 32 registers.
PIXELS = 6


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


@compiled(nogil=True, error_model="numpy")
def count(cells: np.ndarray, ends: np.ndarray, first: int, last: int) -> None:
    """Write how many cells of each row are not zero, from row `first` to before `last`.

    Shape:
        cells: `[N * H, W * C]`; ends: `[N * H + 1]`, of which row n's number stands at n + 1.
    """
    bits = cells.view(np.uint32)
    for n in range(first, last):
        row = bits[n]
        many = np.int32(0)
        for at in range(row.size):
            many += np.int32(row[at] & SIZE != 0)
        ends[n + 1] = many


@compiled(nogil=True, error_model="numpy")
def fill(
    cells: np.ndarray, channels: int, ends: np.ndarray, starts: np.ndarray, entries: np.ndarray, first: int, last: int
) -> None:
    """Write the entries of rows `first` to before `last`, and where those of each column begin.

    Shape:
        cells: `[N * H, W * C]`; ends: `[N * H + 1]`; starts: `[N * H, W + 1]`; entries: as many as there are.
    """
    room = np.empty(cells.shape[1] + 1, np.uint64)
    line, bits = lent(room), lent(cells.view(np.uint32))
    c = np.uintp(channels)
    for n in range(first, last):
        row, begin = bits[n], ends[n]
        many = np.uintp(0)
        for w in range(np.uintp(row.size // channels)):
            starts[n, w] = begin + many
            for at in range(w * c, w * c + c):
                # Written in any case, and over by the next one: without a branch that is as often wrong as right.
                line[many] = np.uint64(row[at]) << np.uint64(32) | np.uint64(at)
                many += np.uintp(row[at] & SIZE != 0)
        starts[n, starts.shape[1] - 1] = begin + many
        for at in range(many):
            entries[begin + at] = line[at]
    room[:] = 0  # until here somebody has it


@compiled(nogil=True, error_model="numpy")
def convolve(
    starts: np.ndarray,
    entries: np.ndarray,
    kernel: np.ndarray,
    bias: np.ndarray,
    y: np.ndarray,
    channels: int,
    padding: tuple[int, int],
    first: int,
    last: int,
) -> None:
    """Write the outputs of frames `first` to before `last`.

    Shape:
        starts: `[N, H, W + 1]`; entries: see `fill`; kernel: see above; bias: `[F]`; y: `[N, H', W', F]`.
    """
    tiles, taps_y, across, lanes = kernel.shape
    room = np.empty(taps_y * across + CHUNK, np.uint64)
    found, starts, entries, kernel, bias, y = lent(room), lent(starts), lent(entries), lent(kernel), lent(bias), lent(y)
    for n in range(first, last):
        for tile in range(tiles):
            for h in range(y.shape[1]):
                for w in range(y.shape[2]):
                    many = _gather(found, starts, entries, n, h, w, channels, padding, taps_y, across)
                    to, of = ((n * y.shape[1] + h) * y.shape[2] + w) * y.shape[3] + tile * lanes, tile * taps_y * across
                    if lanes == 32:
                        _sum_32(y, to, bias, tile * lanes, kernel, of, found, many)
                    elif lanes == 16:
                        _sum_16(y, to, bias, tile * lanes, kernel, of, found, many)
                    else:
                        _sum_8(y, to, bias, tile * lanes, kernel, of, found, many)
    room[:] = 0  # until here somebody has it


@compiled(nogil=True, error_model="numpy")
def correlate(
    starts: np.ndarray,
    entries: np.ndarray,
    gy: np.ndarray,
    dkernels: np.ndarray,
    channels: int,
    padding: tuple[int, int],
    first: int,
    last: int,
) -> None:
    """Add to the kernel's gradient of parts `first` to before `last` of the frames what these bring.

    Shape:
        starts: `[N, H, W + 1]`; entries: see `fill`; gy: `[N, H', W', F]`; dkernels: `[parts, *kernel]`.
    """
    parts, tiles, taps_y, across, lanes = dkernels.shape
    room = np.empty(taps_y * across + CHUNK, np.uint64)
    found, starts, entries, gy, dkernels = lent(room), lent(starts), lent(entries), lent(gy), lent(dkernels)
    frames = len(starts)
    for part in range(first, last):
        for tile in range(tiles):
            for n in range(part * frames // parts, (part + 1) * frames // parts):
                for h in range(gy.shape[1]):
                    for w in range(gy.shape[2]):
                        many = _gather(found, starts, entries, n, h, w, channels, padding, taps_y, across)
                        at = ((n * gy.shape[1] + h) * gy.shape[2] + w) * gy.shape[3] + tile * lanes
                        to = (part * tiles + tile) * taps_y * across
                        if lanes == 32:
                            _spread_32(dkernels, to, gy, at, found, many)
                        elif lanes == 16:
                            _spread_16(dkernels, to, gy, at, found, many)
                        else:
                            _spread_8(dkernels, to, gy, at, found, many)
    room[:] = 0  # until here somebody has it


@njit(nogil=True, error_model="numpy")
def _gather(
    found: np.ndarray,
    starts: np.ndarray,
    entries: np.ndarray,
    n: int,
    h: int,
    w: int,
    channels: int,
    padding: tuple[int, int],
    taps_y: int,
    across: int,
) -> int:
    """List the entries that the kernel meets at one place, by their place in the kernel, and return how many."""
    height, columns = starts.shape[1], starts.shape[2] - 1
    top, left = h - padding[0], w - padding[1]
    # Where padding is wider than the kernel, they may be beyond the frame.
    low, high = np.uintp(min(max(left, 0), columns)), np.uintp(max(min(left + across // channels, columns), 0))
    many = 0
    for tap in range(max(0, -top), min(taps_y, height - top)):
        row = np.uintp(top + tap)
        begin, end = starts[n, row, low], starts[n, row, high]
        _move(found, many, entries, begin, end, tap * across - left * channels)
        many += end - begin
    return many


def _moves(context: Any, found: Any, many: Any, entries: Any, begin: Any, end: Any, shift: Any) -> Any:
    """Copy the entries from `begin` to before `end` behind the `many` that were found, their places shifted."""

    def build(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        to, of = (data(context, builder, signature.args[k], arguments[k], I64) for k in (0, 2))
        many, begin, end, shift = arguments[1], *arguments[3:]
        vector = ir.VectorType(I32, 2 * CHUNK)
        places = ir.Constant(vector, [-1, 0] * CHUNK)
        shifts = builder.and_(splat(builder, builder.trunc(shift, I32), 2 * CHUNK), places)
        before, loop = builder.block, builder.append_basic_block("chunk")
        behind = builder.append_basic_block("behind")
        builder.branch(loop)
        builder.position_at_end(loop)
        at = builder.phi(I64)
        at.add_incoming(begin, before)
        chunk = builder.add(load(builder, of, at, vector), shifts)
        store(builder, chunk, to, builder.add(many, builder.sub(at, begin)))
        following = builder.add(at, I64(CHUNK))
        at.add_incoming(following, loop)
        builder.cbranch(builder.icmp_signed("<", following, end), loop, behind)
        builder.position_at_end(behind)
        return context.get_dummy_value()

    integer = types.intp
    return types.void(found, integer, entries, integer, integer, integer), build


_move = cast(Callable[..., None], intrinsic(_moves))


def _each(builder: ir.IRBuilder, found: Any, many: Any, begin: Any, step: Callable[..., Any]) -> Any:
    """Go through what was found with `sum = step(place, value, sum)`, and return the last sum.

    Args:
        builder: Where it is built.
        found: Pointer to entries.
        many: How many there are.
        begin: The first sum, or None where there is none.
        step: Builds one round, with the place in the kernel and the value.
    """
    before, loop = builder.block, builder.append_basic_block("entry")
    body, behind = builder.append_basic_block("body"), builder.append_basic_block("behind")
    builder.branch(loop)
    builder.position_at_end(loop)
    at = builder.phi(I64)
    at.add_incoming(I64(0), before)
    total = None
    if begin is not None:
        total = builder.phi(begin.type)
        total.add_incoming(begin, before)
    builder.cbranch(builder.icmp_signed("<", at, many), body, behind)
    builder.position_at_end(body)
    halves = builder.gep(found, [builder.shl(at, I64(1))])
    place = builder.sext(builder.load(halves), I64)
    value = builder.bitcast(builder.load(builder.gep(halves, [I64(1)])), FLOAT)
    after = step(place, value, total)
    at.add_incoming(builder.add(at, I64(1)), body)
    if total is not None:
        total.add_incoming(after, body)
    builder.branch(loop)
    builder.position_at_end(behind)
    return total


def _sums(lanes: int) -> Callable[..., None]:
    """Return what writes `y[to:] = bias[first:] + sum of value * kernel[of + place]`, of as many features as lanes."""
    vector = ir.VectorType(FLOAT, lanes)

    def sums(context: Any, y: Any, to: Any, bias: Any, first: Any, kernel: Any, of: Any, found: Any, many: Any) -> Any:
        def build(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
            y, bias, kernel = (data(context, builder, signature.args[k], arguments[k], FLOAT) for k in (0, 2, 4))
            found = data(context, builder, signature.args[6], arguments[6], I32)
            _, to, _, first, _, of, _, many = arguments

            def step(place: Any, value: Any, total: Any) -> Any:
                row = load(builder, kernel, builder.mul(builder.add(of, place), I64(lanes)), vector)
                return multiply_add(builder, splat(builder, value, lanes), row, total)

            total = _each(builder, found, many, load(builder, bias, first, vector), step)
            store(builder, total, y, to)
            return context.get_dummy_value()

        return types.void(y, types.intp, bias, types.intp, kernel, types.intp, found, types.intp), build

    return cast(Callable[..., None], intrinsic(sums))


def _spreads(lanes: int) -> Callable[..., None]:
    """Return what does `dkernel[to + place] += value * gy[at:]` for each entry, of as many features as lanes."""
    vector = ir.VectorType(FLOAT, lanes)

    def spreads(context: Any, dkernel: Any, to: Any, gy: Any, at: Any, found: Any, many: Any) -> Any:
        def build(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
            dkernel, gy = (data(context, builder, signature.args[k], arguments[k], FLOAT) for k in (0, 2))
            found = data(context, builder, signature.args[4], arguments[4], I32)
            _, to, _, at, _, many = arguments
            arrived = load(builder, gy, at, vector)

            def step(place: Any, value: Any, _: Any) -> Any:
                where = builder.mul(builder.add(to, place), I64(lanes))
                row = load(builder, dkernel, where, vector)
                store(builder, multiply_add(builder, splat(builder, value, lanes), arrived, row), dkernel, where)

            _each(builder, found, many, None, step)
            return context.get_dummy_value()

        return types.void(dkernel, types.intp, gy, types.intp, found, types.intp), build

    return cast(Callable[..., None], intrinsic(spreads))


_sum_8, _sum_16, _sum_32 = _sums(8), _sums(16), _sums(32)
_spread_8, _spread_16, _spread_32 = _spreads(8), _spreads(16), _spreads(32)


@compiled(nogil=True, error_model="numpy")
def spread(
    gy: np.ndarray, kernel: np.ndarray, gx: np.ndarray, channels: int, padding: tuple[int, int], first: int, last: int
) -> None:
    """Write the gradient of frames `first` to before `last`.

    Shape:
        gy: `[N, H', W', F]`; kernel: see above; gx: `[N, H, W * C]`.
    """
    _, height, width, features = gy.shape
    chunks, taps_y, _, lanes = kernel.shape
    # As few groups as can be, and those of as few pixels as then can be.
    together = max(4, -(-width // -(-width // PIXELS)))
    begin = padding[1] * channels
    room = np.empty(max(width * channels + chunks * lanes, begin + gx.shape[2]), gx.dtype)
    line, gy, kernel, gx = lent(room), lent(gy), lent(kernel), lent(gx)
    for n in range(first, last):
        for y in range(gx.shape[1]):
            low, high = max(0, y + padding[0] - height + 1), min(taps_y, y + padding[0] + 1)
            line[:] = 0
            for chunk in range(chunks if low < high else 0):
                for x in range(0, width, together):
                    many = min(together, width - x)
                    to, of = x * channels + chunk * lanes, ((n * height + y + padding[0]) * width + x) * features
                    line_of, at = width * features, chunk * taps_y
                    if lanes == 64 and together == 4:
                        _send_4_4(line, to, channels, gy, of, line_of, features, kernel, at, low, high, many)
                    elif lanes == 64 and together == 5:
                        _send_5_4(line, to, channels, gy, of, line_of, features, kernel, at, low, high, many)
                    elif lanes == 64:
                        _send_6_4(line, to, channels, gy, of, line_of, features, kernel, at, low, high, many)
                    elif together == 4:
                        _send_4_3(line, to, channels, gy, of, line_of, features, kernel, at, low, high, many)
                    elif together == 5:
                        _send_5_3(line, to, channels, gy, of, line_of, features, kernel, at, low, high, many)
                    else:
                        _send_6_3(line, to, channels, gy, of, line_of, features, kernel, at, low, high, many)
            row = gx[n, y]
            for at in range(row.size):
                row[at] = line[begin + at]
    room[:] = 0  # until here somebody has it


def _sends(pixels: int, vectors: int) -> Callable[..., None]:
    """Return what adds to a line what `many` pixels, at most so many, send through rows `low` to before `high`.

    line[to + p * step:] += sum of gy[of + p * features - tap * line_of + f] * kernel[at + tap, f] over taps and f
    """
    vector, lanes = ir.VectorType(FLOAT, LANES), LANES * vectors

    def build(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        line, gy, kernel = (data(context, builder, signature.args[k], arguments[k], FLOAT) for k in (0, 3, 7))
        _, to, step, _, of, line_of, features, _, at, low, high, many = arguments
        # Pixels past the last one are the last one again, and dropped.
        beyond = builder.sub(many, I64(1))
        taken = [builder.select(builder.icmp_signed("<", I64(p), beyond), I64(p), beyond) for p in range(pixels)]
        places = [builder.add(of, builder.mul(features, pixel)) for pixel in taken]
        before, rows = builder.block, builder.append_basic_block("rows")
        body, following = builder.append_basic_block("body"), builder.append_basic_block("following")
        behind = builder.append_basic_block("behind")
        builder.branch(rows)
        builder.position_at_end(rows)
        tap = builder.phi(I64)
        tap.add_incoming(low, before)
        so_far = [builder.phi(vector) for _ in range(pixels * vectors)]
        for total in so_far:
            total.add_incoming(ir.Constant(vector, [0.0] * LANES), before)
        shift = builder.mul(tap, line_of)
        sources = [builder.gep(gy, [builder.sub(place, shift)]) for place in places]
        weights = builder.gep(kernel, [builder.mul(builder.mul(builder.add(at, tap), features), I64(lanes))])
        builder.branch(body)
        builder.position_at_end(body)
        feature = builder.phi(I64)
        feature.add_incoming(I64(0), rows)
        totals = [builder.phi(vector) for _ in so_far]
        base = builder.mul(feature, I64(lanes))
        numbers = [load(builder, weights, builder.add(base, I64(LANES * k)), vector) for k in range(vectors)]
        after = []
        for p, source in enumerate(sources):
            arrived = splat(builder, builder.load(builder.gep(source, [feature])), LANES)
            after += [multiply_add(builder, arrived, numbers[k], totals[p * vectors + k]) for k in range(vectors)]
        next_feature, next_tap = builder.add(feature, I64(1)), builder.add(tap, I64(1))
        feature.add_incoming(next_feature, body)
        for total, begin, end in zip(totals, so_far, after, strict=True):
            total.add_incoming(begin, rows)
            total.add_incoming(end, body)
            begin.add_incoming(end, following)
        builder.cbranch(builder.icmp_signed("<", next_feature, features), body, following)
        builder.position_at_end(following)
        tap.add_incoming(next_tap, following)
        builder.cbranch(builder.icmp_signed("<", next_tap, high), rows, behind)
        builder.position_at_end(behind)
        for p in range(pixels):
            with builder.if_then(builder.icmp_signed("<", I64(p), many)):
                for k in range(vectors):
                    where = builder.add(builder.add(to, builder.mul(step, I64(p))), I64(LANES * k))
                    total = builder.fadd(load(builder, line, where, vector), after[p * vectors + k])
                    store(builder, total, line, where)
        return context.get_dummy_value()

    def sends(
        context: Any,
        line: Any,
        to: Any,
        step: Any,
        gy: Any,
        of: Any,
        line_of: Any,
        features: Any,
        kernel: Any,
        at: Any,
        low: Any,
        high: Any,
        many: Any,
    ) -> Any:
        integer = types.intp
        return types.void(line, *[integer] * 2, gy, *[integer] * 3, kernel, *[integer] * 4), build

    return cast(Callable[..., None], intrinsic(sends))


_send_4_4, _send_5_4, _send_6_4 = _sends(4, 4), _sends(5, 4), _sends(6, 4)
_send_4_3, _send_5_3, _send_6_3 = _sends(4, 3), _sends(5, 3), _sends(6, 3)
