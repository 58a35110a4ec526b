"""A network's form as C99: a state of fixed size, and one step.

A value is `[H][W][C]` floats and one bit a pixel, which is set where a channel may differ from 0. A sum goes through
the marked pixels in order, and so has the order of the plain dense loops: row, column, channel; each product is rounded
before it is added, and the bias is added last. Neurons that only shrink without input (`quiet_neurons`) are updated
where their input or their state asks for it; the others in every step.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import lcm, prod
from typing import NamedTuple

import numpy as np

from snnlab.interop.c99.expressions import c_float, c_floats, operations, step_lines
from snnlab.kernels.quiet_neurons import Quiet, quiet_neurons
from snnlab.kernels.trace import Node, is_literal, number_name
from snnlab.nn.network_form import INPUT, Addition, Currents, NetworkForm, Neurons, Pooling, Shape, Value, WeightMap

Lines = list[str]


class Array(NamedTuple):
    """An array of the state, of 32-bit numbers.

    Attributes:
        name: Its name in the struct.
        size: Number of its elements.
        is_float: Whether these are floats, not bits.
    """

    name: str
    size: int
    is_float: bool = True


class InputMap(NamedTuple):
    """Where events enter.

    Attributes:
        width, height, polarities: Of the sensor.
        places: Index of each pixel's first channel in the frame `[H, W, C]`; -1: left out. None: the sensor is the
            frame.
        per_polarity: 1, or 0 where polarities are merged.
    """

    width: int
    height: int
    polarities: int
    places: np.ndarray | None = None
    per_polarity: int = 1


class CNetwork(NamedTuple):
    """A network as C.

    Attributes:
        name: Prefix of its names.
        header, source: The two files.
        arrays: The state's arrays, in the order of the struct.
        states: Array of each state, by the names of the neurons and of the state.
        weight_bytes: Bytes of the constants.
    """

    name: str
    header: str
    source: str
    arrays: list[Array]
    states: dict[tuple[str, str], str]
    weight_bytes: int

    @property
    def state_bytes(self) -> int:
        """Bytes of the struct."""
        return 4 * sum(array.size for array in self.arrays)


def c_network(form: NetworkForm, name: str, events: InputMap, title: str) -> CNetwork:
    """Return a network as C.

    Args:
        form: The network's form.
        name: Prefix of the names, an identifier.
        events: Where events enter.
        title: What the first line says the network is.
    """
    return _Renderer(form, name, events, title).network()


class _Place(NamedTuple):
    """A value in memory, of the last `slots` steps."""

    name: str
    shape: Shape
    slots: int

    @property
    def pixels(self) -> int:
        return self.shape[1] * self.shape[2]

    @property
    def size(self) -> int:
        return prod(self.shape)

    @property
    def words(self) -> int:
        return (self.pixels + 31) // 32

    def at(self, delay: int = 0) -> str:
        """Return the text of its numbers, of a step ago."""
        return f"s->{self.name}" if self.slots == 1 else f"s->{self.name} + {self._slot(delay)} * {self.size}"

    def marks(self, delay: int = 0) -> str:
        """Return the text of its bits."""
        bits = f"s->{self.name}_marks"
        return bits if self.slots == 1 else f"{bits} + {self._slot(delay)} * {self.words}"

    def _slot(self, delay: int) -> str:
        return f"(s->steps + {self.slots - delay}u) % {self.slots}u"


class _Renderer:
    def __init__(self, form: NetworkForm, name: str, events: InputMap, title: str) -> None:
        self.form, self.name, self.events, self.title = form, name, events, title
        self.constants: Lines = []
        self.functions: Lines = []
        self.arrays: list[Array] = []
        self.start: Lines = []
        self.states: dict[tuple[str, str], str] = {}
        self.weight_bytes = 0
        self.slots = [1]
        self.uses = _uses(form)

    def network(self) -> CNetwork:
        """Return the two files."""
        body = self._input()
        for number, one in enumerate(self.form.operations):
            body += self._operation(number, one)
        body += self._output()
        floats = [array for array in self.arrays if array.is_float]
        bits = [array for array in self.arrays if not array.is_float]
        self.arrays = [*floats, *bits, Array("steps", 1, False)]
        source = "\n".join([*self._head(), *self.constants, *self.functions, *self._entry(body)]) + "\n"
        return CNetwork(self.name, self._header(), source, self.arrays, self.states, self.weight_bytes)

    # -- Values -----------------------------------------------------------------------------------------------------

    def _place(self, number: int) -> _Place:
        """Return the memory of a value."""
        name = "frame" if number == INPUT else f"v{number}"
        return _Place(name, self.form.shape_of(Value(number)), 1 + max(self.uses.get(number, [0])))

    def _new_place(self, number: int) -> _Place:
        """Return the memory of a value, which the state gets."""
        place = self._place(number)
        self.slots.append(place.slots)
        self.arrays.append(Array(place.name, place.slots * place.size))
        self.arrays.append(Array(f"{place.name}_marks", place.slots * place.words, is_float=False))
        return place

    def _clear(self, place: _Place) -> Lines:
        """Return the lines that clear a value before it is written anew."""
        return [f"clear({place.at()}, {place.marks()}, {place.words}, {place.shape[0]});"]

    def _constant(self, name: str, values: np.ndarray) -> str:
        values = np.ascontiguousarray(values, np.float32)
        self.weight_bytes += values.nbytes
        self.constants.append(f"static const float {name}[{values.size}] = {{\n{c_floats(values)}}};")
        return name

    def _function(self, head: str, lines: Lines) -> None:
        self.functions += ["", f"{head} {{", *_indented(lines), "}"]

    # -- Operations -------------------------------------------------------------------------------------------------

    def _operation(self, number: int, one: Currents | Neurons | Pooling | Addition) -> Lines:
        if isinstance(one, Currents):
            return self._currents(number, one)
        if isinstance(one, Neurons):
            return self._neurons(number, one)
        if isinstance(one, Pooling):
            return self._pooling(number, one)
        return self._addition(number, one)

    def _input(self) -> Lines:
        """Return the lines that count events."""
        place, events = self._new_place(INPUT), self.events
        channels = self.form.in_shape[0]
        lines = [*self._clear(place), f"float *x = {place.at()};", f"uint32_t *marks = {place.marks()};"]
        found = f"(events[e].y * {events.width} + events[e].x)"
        if events.places is None:
            to = [f"const uint32_t at = {found} * {channels}u;"]
        else:
            places = events.places.astype(np.int64)
            texts = [str(value) for value in places.reshape(-1)]
            rows = ",\n".join(", ".join(texts[n : n + 16]) for n in range(0, len(texts), 16))
            self.constants.append(f"static const int32_t places[{places.size}] = {{\n{rows}}};")
            self.weight_bytes += 4 * places.size
            to = [f"if (places[{found}] < 0) continue;", f"const uint32_t at = (uint32_t)places[{found}];"]
        inside = f"events[e].x < {events.width} && events[e].y < {events.height} && events[e].p < {events.polarities}"
        channel = "" if not events.per_polarity else " + events[e].p"
        mark = f"marks[at / {channels}u / 32u] |= 1u << (at / {channels}u % 32u);"
        body = [f"if (!({inside})) {{ outside++; continue; }}", *to, f"x[at{channel}] += 1.0f;", mark]
        return ["/* the events */", "{", *_indented([*lines, *_loop("uint32_t e = 0; e < n; e++", body)]), "}"]

    def _currents(self, number: int, one: Currents) -> Lines:
        """Return the lines that add the maps of a layer."""
        place = self._new_place(number)
        lines = [f"/* {one.name} */", *self._clear(place)]
        for at, part in enumerate(one.maps):
            source, name = self._place(part.source.of), f"map{number}_{at}"
            self._map(name, part, one.shape)
            arguments = source.at(part.source.delay), source.marks(part.source.delay), place.at(), place.marks()
            lines.append(f"{name}({', '.join(arguments)});")
        if one.bias is not None:
            bias = self._constant(f"bias{number}", one.bias)
            channels = one.shape[0]
            add = [
                f"float *u = {place.at()} + p * {channels};",
                *_loop(f"int k = 0; k < {channels}; k++", [f"u[k] += {bias}[k];"]),
            ]
            lines += _loop(f"int p = 0; p < {place.pixels}; p++", add)
            lines.append(f"fill({place.marks()}, {place.pixels});")
        return lines

    def _map(self, name: str, one: WeightMap, shape: Shape) -> None:
        """Add the function of a linear map."""
        channels, height, width = one.in_shape
        outputs, to_height, to_width = shape
        per_group, own = outputs // one.groups, channels // one.groups
        rows, columns = one.weight.shape[2:]
        weight = self._constant(f"w{name[3:]}", one.weight.transpose(2, 3, 1, 0))
        gather = [
            f"const float *from = x + p * {channels};",
            "int many = 0;",
            *_loop(
                f"int c = 0; c < {channels}; c++", ["if (from[c] != 0.0f) { which[many] = c; much[many++] = from[c]; }"]
            ),
            "if (many == 0) continue;",
        ]
        if one.is_whole:
            add = _loop(
                "int j = 0; j < many; j++",
                [
                    f"const float *w = {weight} + (p * {channels} + which[j]) * {outputs};",
                    "const float value = much[j];",
                    *_loop(f"int k = 0; k < {outputs}; k++", ["u[k] += w[k] * value;"]),
                ],
            )
            body = [*gather, "marks_of_u[0] |= 1u;", *add]
        else:
            line = f"const float *w = {weight} + ((row * {columns} + column) * {own} + "
            if one.groups == 1:
                inner = [f"{line}which[j]) * {outputs};", "const float value = much[j];"]
                inner += _loop(f"int k = 0; k < {outputs}; k++", ["to[k] += w[k] * value;"])
            else:  # each channel goes to the outputs of its group
                inner = [
                    f"const int group = which[j] / {own};",
                    f"{line}which[j] % {own}) * {outputs} + group * {per_group};",
                ]
                inner += ["const float value = much[j];", f"float *part = to + group * {per_group};"]
                inner += _loop(f"int k = 0; k < {per_group}; k++", ["part[k] += w[k] * value;"])
            at_pixel = [
                f"const int q = to_y * {to_width} + to_x;",
                f"float *restrict to = u + q * {outputs};",
                "marks_of_u[q >> 5] |= 1u << (q & 31);",
                *_loop("int j = 0; j < many; j++", inner),
            ]
            body = [
                *gather,
                f"const int y = p / {width}, in_x = p % {width};",
                *_loop(
                    f"int row = 0; row < {rows}; row++",
                    [
                        *_target("to_y", f"y + {one.padding[0]} - row * {one.dilation[0]}", one.stride[0], to_height),
                        *_loop(
                            f"int column = 0; column < {columns}; column++",
                            [
                                *_target(
                                    "to_x",
                                    f"in_x + {one.padding[1]} - column * {one.dilation[1]}",
                                    one.stride[1],
                                    to_width,
                                ),
                                *at_pixel,
                            ],
                        ),
                    ],
                ),
            ]
        head = _head_of(name, "x", "u")
        self._function(
            head, [f"int which[{channels}];", f"float much[{channels}];", *_pixels("marks", height * width, body)]
        )

    def _neurons(self, number: int, one: Neurons) -> Lines:
        """Return the line that updates neurons."""
        form, channels = one.form, one.shape[0]
        source = self._place(one.source.of)
        quiet = None if self._has_bias(one.source) else quiet_neurons(form)
        place = self._new_place(number)
        for name, values in form.start.items():
            array = f"n{number}_{name}"
            self.states[one.name, name] = array
            self.arrays.append(Array(array, place.size))
            first = np.unique(values)
            if first.size > 1:
                start = self._constant(f"start{number}_{name}", values.transpose(1, 2, 0))
                self.start.append(f"memcpy(s->{array}, {start}, sizeof s->{array});")
            elif first[0] != 0 or np.signbit(first[0]):
                self.start += _loop(f"int n = 0; n < {place.size}; n++", [f"s->{array}[n] = {c_float(first[0])};"])
        numbers = {name: self._number(number, name, value) for name, value in form.numbers.items()}
        before = {node: f"{name}_before" for name, node in form.step.before.items()}
        roots = {"spiked": form.step.y} | {f"{name}_after": node for name, node in form.step.after.items()}
        update = [
            f"const int n = p * {channels} + k;",
            *(f"const float {name}_before = s->n{number}_{name}[n];" for name in form.step.before),
            "const float x = input[n];",
            *step_lines({form.step.x: "x", **before}, roots, numbers.__getitem__),
            *(f"s->n{number}_{name}[n] = {name}_after;" for name in form.step.after),
            "y[n] = spiked;",
            "any |= spiked != 0.0f;",
        ]
        after = ["if (any) marks_of_y[p >> 5] |= 1u << (p & 31);"]
        if quiet is not None:
            self.arrays.append(Array(f"n{number}_still", place.words, is_float=False))
            reached = " | ".join(f"({name}_after >= {self._text(node, numbers)})" for name, node in quiet.thresholds)
            update += [f"still |= {reached};"] if reached else []
            after.append(f"if (still) s->n{number}_still[p >> 5] |= 1u << (p & 31);")
        whole = [
            "int any = 0, still = 0;" if quiet is not None else "int any = 0;",
            *_loop(f"int k = 0; k < {channels}; k++", update),
            *after,
        ]
        if quiet is None:
            body = _loop(f"int p = 0; p < {place.pixels}; p++", whole)
        else:
            body = self._driven(number, place, quiet, whole, numbers)
        head = _head_of(f"neurons{number}", "input", "y", f"{self.name}_state *restrict s")
        self._function(head, ["(void)marks;", *body])
        arguments = source.at(one.source.delay), source.marks(one.source.delay), place.at(), place.marks()
        call = f"neurons{number}(s, {', '.join(arguments)});"
        return [f"/* {one.name}: {form.title} */", *self._clear(place), call]

    def _driven(self, number: int, place: _Place, quiet: Quiet, whole: Lines, numbers: dict[str, str]) -> Lines:
        """Return the loop over neurons that only shrink without input."""
        channels = place.shape[0]
        still = f"s->n{number}_still"
        first = [f"uint32_t bits = marks[w] | {still}[w];", f"{still}[w] = 0;"]
        shrink = [
            f"s->n{number}_{name}[n] = s->n{number}_{name}[n] * {self._text(node, numbers)} + 0.0f;"
            for name, node in quiet.factors.items()
            if node is not None
        ]
        if not shrink:
            body = [*first, *_while("bits", ["const int p = 32 * w + lowest(bits);", *whole])]
            return _loop(f"int w = 0; w < {place.words}; w++", body)
        all_pixels = [
            f"const int from = 32 * w, to = from + 32 < {place.pixels} ? from + 32 : {place.pixels};",
            "if (bits == 0) {",
            *_indented(
                _loop(
                    "int p = from; p < to; p++",
                    _loop(f"int k = 0; k < {channels}; k++", [f"const int n = p * {channels} + k;", *shrink]),
                )
                if any("[k]" in line for line in shrink)
                else _loop(f"int n = from * {channels}; n < to * {channels}; n++", shrink)
            ),
            "    continue;",
            "}",
        ]
        each = [
            "if (bits >> (p - from) & 1u) {",
            *_indented(whole),
            "} else {",
            *_indented(_loop(f"int k = 0; k < {channels}; k++", [f"const int n = p * {channels} + k;", *shrink])),
            "}",
        ]
        body = [*first, *all_pixels, *_loop("int p = from; p < to; p++", each)]
        return _loop(f"int w = 0; w < {place.words}; w++", body)

    def _text(self, node: Node, numbers: dict[str, str]) -> str:
        return c_float(node.name) if is_literal(node) else numbers[number_name(node)]

    def _number(self, number: int, name: str, value: np.ndarray) -> str:
        """Return the text of a number of neurons `k` of pixel `p`, the n-th."""
        if value.size == 1:
            return c_float(value.item())
        array = self._constant(f"{name}_{number}", value.transpose(1, 2, 0))
        return f"{array}[k]" if value.shape[1:] == (1, 1) else f"{array}[n]"

    def _has_bias(self, source: Value) -> bool:
        one = self.form.operations[source.of] if source.of != INPUT else None
        return isinstance(one, Currents) and one.bias is not None

    def _pooling(self, number: int, one: Pooling) -> Lines:
        """Return the lines that pool the windows with a marked pixel."""
        place, source = self._new_place(number), self._place(one.source.of)
        channels, height, width = source.shape
        _, to_height, to_width = one.shape
        (rows, columns), (down, right), (top, left) = one.window, one.stride, one.padding
        mark = [
            f"const int in_y = p / {width}, in_x = p % {width};",
            *_loop(
                f"int row = 0; row < {rows}; row++",
                [
                    *_target("to_y", f"in_y + {top} - row", down, to_height),
                    *_loop(
                        f"int column = 0; column < {columns}; column++",
                        [
                            *_target("to_x", f"in_x + {left} - column", right, to_width),
                            f"const int q = to_y * {to_width} + to_x;",
                            "marks_of_y[q >> 5] |= 1u << (q & 31);",
                        ],
                    ),
                ],
            ),
        ]
        join = "if (from[k] > to[k]) to[k] = from[k];" if one.kind == "max" else "to[k] += from[k];"
        gather = [
            f"const int in_y = p / {to_width} * {down} - {top}, in_x = p % {to_width} * {right} - {left};",
            f"float *restrict to = y + p * {channels};",
            *(_loop(f"int k = 0; k < {channels}; k++", ["to[k] = -INFINITY;"]) if one.kind == "max" else []),
            *_loop(
                f"int row = 0; row < {rows}; row++",
                [
                    f"if (in_y + row < 0 || in_y + row >= {height}) continue;",
                    *_loop(
                        f"int column = 0; column < {columns}; column++",
                        [
                            f"if (in_x + column < 0 || in_x + column >= {width}) continue;",
                            f"const int from_p = (in_y + row) * {width} + in_x + column;",
                            f"const float *restrict from = input + from_p * {channels};",
                            *_loop(f"int k = 0; k < {channels}; k++", [join]),
                        ],
                    ),
                ],
            ),
            *(
                _loop(f"int k = 0; k < {channels}; k++", [f"to[k] /= {c_float(rows * columns)};"])
                if one.kind == "avg"
                else []
            ),
        ]
        head = _head_of(f"pool{number}", "input", "y")
        self._function(
            head, [*_pixels("marks", height * width, mark), *_pixels("marks_of_y", to_height * to_width, gather)]
        )
        arguments = source.at(one.source.delay), source.marks(one.source.delay), place.at(), place.marks()
        return [f"/* {one.name} */", *self._clear(place), f"pool{number}({', '.join(arguments)});"]

    def _addition(self, number: int, one: Addition) -> Lines:
        """Return the lines that add values at their marked pixels."""
        place, channels = self._new_place(number), one.shape[0]
        lines = [f"/* {one.name} */", *self._clear(place)]
        for source in one.sources:
            other = self._place(source.of)
            add = [
                f"float *restrict to = {place.at()} + p * {channels};",
                f"const float *restrict from = {other.at(source.delay)} + p * {channels};",
                *_loop(f"int k = 0; k < {channels}; k++", ["to[k] += from[k];"]),
            ]
            lines += _pixels(other.marks(source.delay), place.pixels, add)
            mark = f"({place.marks()})[w] |= ({other.marks(source.delay)})[w];"
            lines += _loop(f"int w = 0; w < {place.words}; w++", [mark])
        return lines

    # -- The files --------------------------------------------------------------------------------------------------

    def _output(self) -> Lines:
        place = self._place(self.form.output.of)
        channels = place.shape[0]
        text = f"output[k * {place.pixels} + p] = ({place.at()})[p * {channels} + k];"
        return [
            "/* the output, [C][H][W] */",
            *_loop(f"int p = 0; p < {place.pixels}; p++", _loop(f"int k = 0; k < {channels}; k++", [text])),
        ]

    def _header(self) -> str:
        name = self.name
        members = [
            f"    {'float' if array.is_float else 'uint32_t'} {array.name}[{array.size}];"
            for array in self.arrays
            if array.name != "steps"
        ]
        return "\n".join(
            [
                f"/* {self.title}; written by snnlab. This text may be used by anyone, for any purpose. */",
                f"#ifndef {name.upper()}_H",
                f"#define {name.upper()}_H",
                "#include <stdint.h>",
                "",
                f"#define {name.upper()}_OUTPUTS {prod(self.form.out_shape)}",
                "",
                f"/* x below {self.events.width}, y below {self.events.height}, p below {self.events.polarities} */",
                f"typedef struct {{ uint16_t x, y, p; }} {name}_event;",
                "",
                f"typedef struct {{ /* {4 * sum(array.size for array in self.arrays)} bytes */",
                *members,
                "    uint32_t steps;",
                f"}} {name}_state;",
                "",
                "/* Return to the state before the first step. */",
                f"void {name}_reset({name}_state *s);",
                "",
                "/* Run one step with its events, in any order; return how many were left out, outside the sensor. */",
                f"uint32_t {name}_step({name}_state *s, const {name}_event *events, uint32_t n, float *output);",
                "",
                "#endif",
                "",
            ]
        )

    def _head(self) -> Lines:
        used = {
            op
            for one in self.form.neurons.values()
            for op in operations([one.form.step.y, *one.form.step.after.values()])
        }
        return [
            f"/* {self.title}; written by snnlab. This text may be used by anyone, for any purpose. */",
            f'#include "{self.name}.h"',
            "#include <float.h>",
            "#include <math.h>",
            "#include <string.h>",
            "#if defined(__FAST_MATH__) || (defined(FLT_EVAL_METHOD) && FLT_EVAL_METHOD != 0)",
            '#error "results are exact only without -ffast-math, and with floats that are computed as floats"',
            "#endif",
            "#ifdef __clang__",
            "#pragma STDC FP_CONTRACT OFF",
            "#endif",
            "",
            *_HELPERS,
            *(_EXP if "exp" in used else []),
            "",
        ]

    def _entry(self, body: Lines) -> Lines:
        name = self.name
        return [
            "",
            f"void {name}_reset({name}_state *s) {{",
            *_indented(["memset(s, 0, sizeof *s);", *self.start]),
            "}",
            "",
            f"uint32_t {name}_step({name}_state *s, const {name}_event *events, uint32_t n, float *output) {{",
            *_indented(
                [
                    "uint32_t outside = 0;",
                    *body,
                    f"s->steps = (s->steps + 1u) % {lcm(*self.slots)}u;",
                    "return outside;",
                ]
            ),
            "}",
        ]


_HELPERS = """\
static inline int lowest(uint32_t bits) {
#ifdef __GNUC__
    return __builtin_ctz(bits);
#else
    int n = 0;
    while (!(bits & 1u)) { bits >>= 1; n++; }
    return n;
#endif
}

static inline void clear(float *x, uint32_t *marks, int words, int channels) {
    for (int w = 0; w < words; w++) {
        for (uint32_t bits = marks[w]; bits != 0; bits &= bits - 1u)
            memset(x + (32 * w + lowest(bits)) * channels, 0, (size_t)channels * sizeof *x);
        marks[w] = 0;
    }
}

static inline void fill(uint32_t *marks, int pixels) {
    for (int p = 0; p < pixels; p++) marks[p >> 5] |= 1u << (p & 31);
}""".splitlines()

# The operations of `snnlab.kernels.runtime.exp_` in single precision, in its order.
_EXP = [
    "",
    *"""\
static inline float exp_(float x) {
    if (x != x) return x;
    const float high = x > LOW ? x : LOW;
    const float z = high < HIGH ? high : HIGH;
    const float k = floorf(z * PER + 0.5f);
    const float f = (z - k * UPPER) - k * LOWER;
    float p = 1.0f + f * C6;
    p = 1.0f + f * (1.0f + f * C2 * (1.0f + f * C3 * (1.0f + f * C4 * (1.0f + f * C5 * p))));
    union { int32_t bits; float value; } power;
    power.bits = (int32_t)((uint32_t)((int32_t)k + 127) << 23);
    return p * power.value;
}""".replace("LOWER", c_float(-2.12194440e-4))
    .replace("LOW", c_float(-88.0296))
    .replace("HIGH", c_float(88.37))
    .replace("UPPER", c_float(0.693359375))
    .replace("PER", c_float(1.4426950408889634))
    .replace("C2", c_float(1 / 2))
    .replace("C3", c_float(1 / 3))
    .replace("C4", c_float(1 / 4))
    .replace("C5", c_float(1 / 5))
    .replace("C6", c_float(1 / 6))
    .splitlines(),
]


def _uses(form: NetworkForm) -> dict[int, list[int]]:
    """Return the delays with which each value is read."""
    found: dict[int, list[int]] = {form.output.of: [form.output.delay]}
    for one in form.operations:
        sources = [part.source for part in one.maps] if isinstance(one, Currents) else _sources(one)
        for source in sources:
            found.setdefault(source.of, []).append(source.delay)
    return found


def _sources(one: Neurons | Pooling | Addition) -> Sequence[Value]:
    return one.sources if isinstance(one, Addition) else (one.source,)


def _head_of(name: str, source: str, target: str, state: str = "") -> str:
    """Return the head of a function from one value to another."""
    values = (
        f"const float *restrict {source}, const uint32_t *marks, float *restrict {target}, uint32_t *marks_of_{target}"
    )
    return f"static void {name}({state}{state and ', '}{values})"


def _indented(lines: Iterable[str]) -> Lines:
    return ["    " + line for line in lines]


def _loop(head: str, body: Iterable[str]) -> Lines:
    return [f"for ({head}) {{", *_indented(body), "}"]


def _while(bits: str, body: Iterable[str]) -> Lines:
    return [f"for (; {bits} != 0; {bits} &= {bits} - 1u) {{", *_indented(body), "}"]


def _pixels(marks: str, pixels: int, body: Iterable[str]) -> Lines:
    """Return a loop over the marked pixels `p`, in order."""
    inner = _loop(
        "uint32_t bits = marked[w]; bits != 0; bits &= bits - 1u", ["const int p = 32 * w + lowest(bits);", *body]
    )
    return [
        "{",
        *_indented([f"const uint32_t *marked = {marks};", *_loop(f"int w = 0; w < {(pixels + 31) // 32}; w++", inner)]),
        "}",
    ]


def _target(name: str, text: str, stride: int, size: int) -> Lines:
    """Return the lines that find the output of an input, or go on with the next kernel element."""
    if stride == 1:
        return [f"const int {name} = {text};", f"if ({name} < 0 || {name} >= {size}) continue;"]
    return [
        f"const int far_{name} = {text};",
        f"if (far_{name} < 0 || far_{name} % {stride} != 0 || far_{name} / {stride} >= {size}) continue;",
        f"const int {name} = far_{name} / {stride};",
    ]
