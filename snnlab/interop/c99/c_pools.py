"""A pooling in C on its own: of windows that overlap, or of what no pass over neurons pools."""

from __future__ import annotations

from snnlab.interop.c99.c_text import Lines, loop, marked_pixels, target
from snnlab.interop.c99.expressions import c_float
from snnlab.nn.network_form import Pooling, Shape


def pooling_lines(one: Pooling, in_shape: Shape) -> Lines:
    """Return the body of the function that pools the windows with a marked pixel.

    Args:
        one: The pooling.
        in_shape: Shape of its input.
    """
    channels, height, width = in_shape
    _, to_height, to_width = one.shape
    (rows, columns), (down, right), (top, left) = one.window, one.stride, one.padding
    mark = [
        f"const int in_y = p / {width}, in_x = p % {width};",
        *loop(
            "row",
            rows,
            [
                *target("to_y", f"in_y + {top} - row", down, to_height),
                *loop(
                    "column",
                    columns,
                    [
                        *target("to_x", f"in_x + {left} - column", right, to_width),
                        f"const int q = to_y * {to_width} + to_x;",
                        "mark(marks_of_out, q, 1);",
                    ],
                ),
            ],
        ),
    ]
    join = "if (from[k] > to[k]) to[k] = from[k];" if one.kind == "max" else "to[k] += from[k];"
    gather = [
        f"const int in_y = p / {to_width} * {down} - {top}, in_x = p % {to_width} * {right} - {left};",
        f"float *restrict to = out + p * {channels};",
        *(loop("k", channels, ["to[k] = -INFINITY;"]) if one.kind == "max" else []),
        *loop(
            "row",
            rows,
            [
                f"if (in_y + row < 0 || in_y + row >= {height}) continue;",
                *loop(
                    "column",
                    columns,
                    [
                        f"if (in_x + column < 0 || in_x + column >= {width}) continue;",
                        f"const int from_p = (in_y + row) * {width} + in_x + column;",
                        f"const float *restrict from = in + from_p * {channels};",
                        *loop("k", channels, [join]),
                    ],
                ),
            ],
        ),
        *(loop("k", channels, [f"to[k] /= {c_float(rows * columns)};"]) if one.kind == "avg" else []),
    ]
    return [*marked_pixels("marks", height * width, mark), *marked_pixels("marks_of_out", to_height * to_width, gather)]
