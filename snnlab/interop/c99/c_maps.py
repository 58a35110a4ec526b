"""A linear map in C: each marked pixel of the input adds its channels' weights to the currents that it reaches.

The weights of one kernel row and channel are side by side for all columns that a pixel reaches, in the order of these,
so that one loop adds them. Where groups or a dilation prevent that, the loop goes column by column.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from snnlab.interop.c99.c_memory import CValue, StoredWeights
from snnlab.interop.c99.c_text import Lines, block, loop, marked_pixels, target
from snnlab.interop.c99.expressions import c_float
from snnlab.nn.network_form import WeightMap

# So few channels are all added, zeros too: which of them are zero cannot be predicted.
_FEW = 2
# So many channels are listed at once, on the stack.
_LISTED = 64


class MapText(NamedTuple):
    """The function of a map, from a value to currents.

    Attributes:
        one: The map.
        weight: Its constants, which are `arranged`.
        to: The currents.
        divisor: What the input is divided by.
        clears: Whether the input is cleared.
        marks: Whether the pixels that it reaches are marked.
    """

    one: WeightMap
    weight: StoredWeights
    to: CValue
    divisor: int
    clears: bool
    marks: bool

    def lines(self) -> Lines:
        """Return the body."""
        one, channels = self.one, self.one.in_shape[0]
        _, height, width = one.in_shape
        if one.is_whole:
            body = [
                *self._taken(),
                f"const {self.weight.kind} *rows = {self.weight.name} + p * {channels * self.to.channels};",
            ]
            body += [*self._added("out", self.to.channels, 1), *["marks_of_out[0] |= 1u;"] * self.marks]
        else:
            body = [*self._taken(), f"const int in_y = p / {width}, in_x = p % {width};"]
            body += self._runs() if _has_runs(one) else self._columns()
        if channels > _LISTED:
            end = f"const int end = first + {_LISTED} < {channels} ? first + {_LISTED} : {channels};"
            body = block(f"for (int first = 0; first < {channels}; first += {_LISTED})", [end, *body])
        most = min(channels, _LISTED)
        lists = [] if self._few else [f"int which[{most}];", f"float much[{most}];"]
        return [*lists, *marked_pixels("marks", height * width, body, clears=self.clears)]

    @property
    def _few(self) -> bool:
        return self.one.in_shape[0] <= _FEW and self.one.groups == 1

    def _taken(self) -> Lines:
        """Return the lines that read the channels of pixel p, and list those that are not 0."""
        channels, of = self.one.in_shape[0], "" if self.divisor == 1 else f" / {c_float(self.divisor)}"
        of += "" if self.weight.factor == 1.0 else f" * {c_float(self.weight.factor)}"
        lines = [f"{'' if self.clears else 'const '}float *from = in + p * {channels};"]
        if self._few:
            lines += [f"const float much_{c} = from[{c}]{of};" for c in range(channels)]
        else:
            listed = ["which[many] = c;", f"much[many] = from[c]{of};", "many += from[c] != 0.0f;"]
            lines += ["int many = 0;", *self._channels(listed)]
        return lines + (self._channels(["from[c] = 0.0f;"]) if self.clears else [])

    def _channels(self, body: Lines) -> Lines:
        channels = self.one.in_shape[0]
        return loop("c", channels, body) if channels <= _LISTED else loop("c", "end", body, first="first")

    def _added(self, to: str, distance: int, columns: int | str) -> Lines:
        """Return the lines that add the weights of the channels, one after another, to some columns."""

        def added(text: str) -> Lines:
            if isinstance(columns, int):
                return loop("k", columns * self.to.channels, [text.replace("@", "k")])
            inner = loop("k", self.to.channels, [text.replace("@", f"(n * {self.to.channels} + k)")])
            return loop("n", columns, inner)

        if self._few:
            terms = [f"rows[{c * distance} + @] * much_{c}" for c in range(self.one.in_shape[0])]
            total = terms[0] if len(terms) == 1 else f"{terms[0]}) + {terms[1]}"
            return added(f"{to}[@] = {'(' * (len(terms) - 1)}{to}[@] + {total};")
        kind = self.weight.kind
        two = [
            f"const {kind} *restrict v = rows + which[j] * {distance}, *restrict w = rows + which[j + 1] * {distance};",
            "const float one = much[j], other = much[j + 1];",
            *added(f"{to}[@] = ({to}[@] + v[@] * one) + w[@] * other;"),
        ]
        last = [
            f"const {kind} *restrict v = rows + which[j] * {distance};",
            "const float one = much[j];",
            *added(f"{to}[@] += v[@] * one;"),
        ]
        return ["int j = 0;", *block("for (; j + 1 < many; j += 2)", two), *block("if (j < many)", last)]

    def _runs(self) -> Lines:
        """Return the lines that add the columns of each kernel row."""
        one, (outputs, to_height, to_width) = self.one, self.to.shape
        rows, columns = one.weight.shape[2:]
        (down, across), channels = one.stride, one.in_shape[0]
        whole, rest = divmod(columns, across)
        lines = [f"const int right = in_x + {one.padding[1]};"]
        last, most, begin = "right", str(columns), "0"
        if across > 1:  # a column of the input reaches every so many columns of the kernel
            lines.append(f"const int phase = right % {across}, last = right / {across};")
            last, most, begin = "last", str(whole), f"phase * {whole}"
        if rest and across > 1:
            lines.append(f"const int most = {whole} + (phase < {rest});")
            most, begin = "most", f"phase * {whole} + (phase < {rest} ? phase : {rest})"
        lines += [
            f"const int from_x = {last} - {most} + 1;",
            f"const int to_x = from_x > 0 ? from_x : 0, end_x = {last} < {to_width} ? {last} + 1 : {to_width};",
            "if (to_x >= end_x) continue;",
            f"const int skipped = ({begin} + to_x - from_x) * {outputs};",
        ]
        at_row = [
            *target("to_y", f"in_y + {one.padding[0]} - row * {one.dilation[0]}", down, to_height),
            f"const int q = to_y * {to_width} + to_x;",
            f"float *restrict to = out + q * {outputs};",
            f"const {self.weight.kind} *rows = {self.weight.name} + row * {channels * columns * outputs} + skipped;",
            *["mark_some(marks_of_out, q, q + end_x - to_x);"] * self.marks,
        ]
        part = self._added("to", columns * outputs, "end_x - to_x")
        if most.isdigit():
            full = self._added("to", columns * outputs, int(most))
            part = [*block(f"if (end_x - to_x == {most})", full)[:-1], *block("} else", part)]
        return [*lines, *loop("row", rows, [*at_row, *part])]

    def _columns(self) -> Lines:
        """Return the lines that add column by column, to the outputs of each channel's group."""
        one, (outputs, to_height, to_width) = self.one, self.to.shape
        per_group, own = outputs // one.groups, one.in_shape[0] // one.groups
        rows, columns = one.weight.shape[2:]
        add = [
            f"const int group = which[j] / {own}, place = (row * {columns} + column) * {own} + which[j] % {own};",
            f"const {self.weight.kind} *restrict w = {self.weight.name} + place * {outputs} + group * {per_group};",
            f"float *restrict to = out + q * {outputs} + group * {per_group};",
            "const float value = much[j];",
            *loop("k", per_group, ["to[k] += w[k] * value;"]),
        ]
        at = [f"const int q = to_y * {to_width} + to_x;", *["mark(marks_of_out, q, 1);"] * self.marks]
        across = target("to_x", f"in_x + {one.padding[1]} - column * {one.dilation[1]}", one.stride[1], to_width)
        down = target("to_y", f"in_y + {one.padding[0]} - row * {one.dilation[0]}", one.stride[0], to_height)
        return loop("row", rows, [*down, *loop("column", columns, [*across, *at, *loop("j", "many", add)])])


def arranged(one: WeightMap) -> np.ndarray:
    """Return the weights in the order in which they are read."""
    weight = one.weight.transpose(2, 3, 1, 0)  # row, column, channel, output
    if one.is_whole or not _has_runs(one):
        return weight
    columns, stride = one.weight.shape[3], one.stride[1]
    order = [column for phase in range(stride) for column in reversed(range(phase, columns, stride))]
    return weight[:, order].transpose(0, 2, 1, 3)


def _has_runs(one: WeightMap) -> bool:
    return one.groups == 1 and one.dilation[1] == 1
