"""The compiled loops of what a convolution's output sends back to its input, where that has few channels.

A pixel of the output sends to `width * channels` numbers side by side, which lie in whole vectors even where the
channels alone do not fill one. Some pixels beside one another take each number of the kernel out of memory together,
and their sums stay in registers, through all features and all rows of the kernel, until they are added to a line.

A kernel lies as `[chunks, height, F, lanes]`: the numbers that a feature sends to in one row, in chunks of as many as
three or four vectors hold.

Axes: N frames, H rows and W columns of a frame, C channels, H' rows and W' columns of the output, F features.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from snnlab.compiled import compiled, lent
from snnlab.nn.kernels.numba_vectors import FLOAT, I64, LANES, data, load, multiply_add, splat, store

# The most pixels that are taken together: with four vectors each and the kernel's own four, of 32 registers.
PIXELS = 6


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
