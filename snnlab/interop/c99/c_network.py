"""A network's form as C99: a state of fixed size, and one step.

A value is `[H][W][C]` floats and one bit a pixel, which is set where a channel may differ from 0. A sum goes through
the marked pixels in order, and so has the order of the plain dense loops: row, column, channel; each product is rounded
before it is added, and the bias is added last. Neurons that only shrink without input (`quiet_neurons`) are updated
where their input or their state asks for it; the others in every step.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import lcm, prod
from typing import NamedTuple

import numpy as np

from snnlab.interop.c99.c_maps import MapText, arranged
from snnlab.interop.c99.c_memory import Array, CMemory, CValue
from snnlab.interop.c99.c_neurons import NeuronText
from snnlab.interop.c99.c_passes import Passes, readers
from snnlab.interop.c99.c_pools import pooling_lines
from snnlab.interop.c99.c_text import EXP, HELPERS, Lines, block, indented, loop, marked_pixels
from snnlab.interop.c99.expressions import c_float, operations
from snnlab.nn.network_form import INPUT, Addition, Currents, NetworkForm, Neurons, Pooling, Value


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


class _Renderer:
    def __init__(self, form: NetworkForm, name: str, events: InputMap, title: str) -> None:
        self.form, self.name, self.events, self.title = form, name, events, title
        self.memory, self.passes = CMemory(), Passes(form)
        self.functions: Lines = []
        self.start: Lines = []
        self.states: dict[tuple[str, str], str] = {}
        self.delays = {value: max(delay for _, delay in found) for value, found in readers(form).items()}

    def network(self) -> CNetwork:
        """Return the two files."""
        body = self._input()
        for number, one in enumerate(self.form.operations):
            body += self._operation(number, one)
        body += self._output()
        kept = self.memory.arrays
        floats, bits = [one for one in kept if one.is_float], [one for one in kept if not one.is_float]
        floats.sort(key=lambda one: one.size % 16 != 0)  # these begin where a cache line does, if the state does
        arrays = [*floats, *bits, Array("steps", 1, False)]
        source = "\n".join([*self._head(), *self.memory.constants, *self.functions, *self._entry(body)]) + "\n"
        return CNetwork(self.name, self._header(arrays), source, arrays, self.states, self.memory.weight_bytes)

    def _place(self, number: int) -> CValue:
        """Return the memory of a value."""
        name = "frame" if number == INPUT else f"v{number}"
        return CValue(name, self.form.shape_of(Value(number)), 1 + self.delays.get(number, 0))

    def _cleared(self, number: int) -> Lines:
        """Return the line that clears a value before it is written anew, if its reader has not done so."""
        if number in self.passes.taken:
            return []
        place = self._place(number)
        return [f"clear({place.at()}, {place.marks()}, {place.words}, {place.channels});"]

    def _keep(self, number: int) -> CValue:
        """Return the memory of a value, which the state gets."""
        place = self._place(number)
        self.memory.keep(place, marked=number not in self.passes.unmarked)
        return place

    def _call(self, name: str, source: Value, number: int, body: Lines, state: str = "") -> str:
        """Add a function from one value to another; return its call."""
        given, to, unmarked = self._place(source.of), self._place(number), self.passes.unmarked
        const = "" if source.of in self.passes.taken else "const "
        parts = [(f"{self.name}_state *restrict s", state)] if state else []
        parts.append((f"{const}float *restrict in", given.at(source.delay)))
        parts += [] if source.of in unmarked else [(f"{const}uint32_t *restrict marks", given.marks(source.delay))]
        parts.append(("float *restrict out", to.at()))
        parts += [] if number in unmarked else [("uint32_t *restrict marks_of_out", to.marks())]
        self.functions += ["", *block(f"static void {name}({', '.join(one for one, _ in parts)})", body)]
        return f"{name}({', '.join(argument for _, argument in parts)});"

    # -- Operations -------------------------------------------------------------------------------------------------

    def _operation(self, number: int, one: Currents | Neurons | Pooling | Addition) -> Lines:
        if isinstance(one, Currents):
            return self._currents(number, one)
        if isinstance(one, Neurons):
            return self._neurons(number, one)
        if isinstance(one, Pooling):
            return [] if number in self.passes.poolings else self._pooling(number, one)
        return self._addition(number, one)

    def _input(self) -> Lines:
        """Return the lines that count events."""
        place, events = self._keep(INPUT), self.events
        channels = self.form.in_shape[0]
        lines = [*self._cleared(INPUT), f"float *x = {place.at()};", f"uint32_t *marks = {place.marks()};"]
        found = f"(events[e].y * {events.width} + events[e].x)"
        if events.places is None:
            to = [f"const uint32_t at = {found} * {channels}u;"]
        else:
            self.memory.places("places", events.places)
            to = [f"if (places[{found}] < 0) continue;", f"const uint32_t at = (uint32_t)places[{found}];"]
        inside = f"events[e].x < {events.width} && events[e].y < {events.height} && events[e].p < {events.polarities}"
        channel = "" if not events.per_polarity else " + events[e].p"
        mark = f"marks[at / {channels}u / 32u] |= 1u << (at / {channels}u % 32u);"
        body = [f"if (!({inside})) {{ outside++; continue; }}", *to, f"x[at{channel}] += 1.0f;", mark]
        return ["/* the events */", "{", *indented([*lines, *block("for (uint32_t e = 0; e < n; e++)", body)]), "}"]

    def _currents(self, number: int, one: Currents) -> Lines:
        """Return the lines that add the maps of a layer."""
        place = self._keep(number)
        lines = [f"/* {one.name} */", *self._cleared(number)]
        for at, part in enumerate(one.maps):
            weight = self.memory.weights(f"w{number}_{at}", arranged(part))
            source, passes = part.source.of, self.passes
            clears, marks = source in passes.taken, number not in passes.unmarked
            text = MapText(part, weight, place, passes.divisors.get(source, 1), clears, marks)
            lines.append(self._call(f"map{number}_{at}", part.source, number, text.lines()))
        if one.bias is not None and number not in self.passes.summed:
            bias = self.memory.floats(f"bias{number}", one.bias)
            add = [
                f"float *u = {place.at()} + p * {place.channels};",
                *loop("k", place.channels, [f"u[k] += {bias}[k];"]),
            ]
            lines += loop("p", place.pixels, add)
            lines.append(f"mark_some({place.marks()}, 0, {place.pixels});")
        return lines

    def _neurons(self, number: int, one: Neurons) -> Lines:
        """Return the line that updates neurons."""
        form, does = one.form, self.passes.of[number]
        self._keep(does.gives)
        states = CValue(f"n{number}", one.shape)
        for name, values in form.start.items():
            array = f"n{number}_{name}"
            self.states[one.name, name] = array
            self.memory.arrays.append(Array(array, states.size))
            first = np.unique(values)
            if first.size > 1:
                start = self.memory.floats(f"start{number}_{name}", values.transpose(1, 2, 0))
                self.start.append(f"memcpy(s->{array}, {start}, sizeof s->{array});")
            elif first[0] != 0 or np.signbit(first[0]):
                self.start += loop("n", states.size, [f"s->{array}[n] = {c_float(first[0])};"])
        if does.quiet is not None:
            self.memory.arrays.append(Array(f"n{number}_still", states.words, is_float=False))
        numbers = {name: self._number(number, name, value) for name, value in form.numbers.items()}
        bias = None
        if does.biased is not None and does.biased.bias is not None:
            bias = self.memory.floats(f"bias{number}", does.biased.bias)
        clears, marked = does.source in self.passes.taken, does.source not in self.passes.unmarked
        text = NeuronText(number, one, does, self._place(does.source), numbers, bias, clears, marked)
        call = self._call(f"neurons{number}", Value(does.source, one.source.delay), does.gives, text.lines(), "s")
        return [f"/* {one.name}: {form.title} */", *self._cleared(does.gives), call]

    def _number(self, number: int, name: str, value: np.ndarray) -> str:
        """Return the text of a number of neurons `k` of pixel `p`, the n-th."""
        if value.size == 1:
            return c_float(value.item())
        array = self.memory.floats(f"{name}_{number}", value.transpose(1, 2, 0))
        return f"{array}[k]" if value.shape[1:] == (1, 1) else f"{array}[n]"

    def _pooling(self, number: int, one: Pooling) -> Lines:
        """Return the lines that pool a value."""
        self._keep(number)
        call = self._call(f"pool{number}", one.source, number, pooling_lines(one, self.form.shape_of(one.source)))
        return [f"/* {one.name} */", *self._cleared(number), call]

    def _addition(self, number: int, one: Addition) -> Lines:
        """Return the lines that add values at their marked pixels."""
        place, channels = self._keep(number), one.shape[0]
        lines = [f"/* {one.name} */", *self._cleared(number)]
        for source in one.sources:
            other = self._place(source.of)
            add = [
                f"float *restrict to = {place.at()} + p * {channels};",
                f"const float *restrict from = {other.at(source.delay)} + p * {channels};",
                *loop("k", channels, ["to[k] += from[k];"]),
            ]
            lines += marked_pixels(f"({other.marks(source.delay)})", place.pixels, add)
            mark = f"({place.marks()})[w] |= ({other.marks(source.delay)})[w];"
            lines += loop("w", place.words, [mark])
        return lines

    # -- The files --------------------------------------------------------------------------------------------------

    def _output(self) -> Lines:
        place = self._place(self.form.output.of)
        channels = place.shape[0]
        text = f"output[k * {place.pixels} + p] = ({place.at()})[p * {channels} + k];"
        return [
            "/* the output, [C][H][W] */",
            *loop("p", place.pixels, loop("k", channels, [text])),
        ]

    def _header(self, arrays: Iterable[Array]) -> str:
        name = self.name
        members = [
            f"    {'float' if array.is_float else 'uint32_t'} {array.name}[{array.size}];"
            for array in arrays
            if array.name != "steps"
        ]
        return "\n".join(
            [
                f"/* {self.title}; written by snnlab. SPDX-License-Identifier: 0BSD: anyone may use it. */",
                f"#ifndef {name.upper()}_H",
                f"#define {name.upper()}_H",
                "#include <stdint.h>",
                "",
                f"#define {name.upper()}_OUTPUTS {prod(self.form.out_shape)}",
                "",
                f"/* x below {self.events.width}, y below {self.events.height}, p below {self.events.polarities} */",
                f"typedef struct {{ uint16_t x, y, p; }} {name}_event;",
                "",
                f"typedef struct {{ /* {4 * sum(array.size for array in arrays)} bytes */",
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
            f"/* {self.title}; written by snnlab. SPDX-License-Identifier: 0BSD: anyone may use it. */",
            f'#include "{self.name}.h"',
            "#include <float.h>",
            "#include <math.h>",
            "#include <string.h>",
            "/* 16: half precision is computed as such, floats as floats */",
            "#if defined(__FAST_MATH__) || (defined(FLT_EVAL_METHOD) && FLT_EVAL_METHOD != 0 && FLT_EVAL_METHOD != 16)",
            '#error "results are exact only without -ffast-math, and with floats that are computed as floats"',
            "#endif",
            "#ifdef __clang__",
            "#pragma STDC FP_CONTRACT OFF",
            "#elif defined(__GNUC__)",
            '#pragma GCC optimize("fp-contract=off", "no-trapping-math", "no-math-errno", "tree-vectorize")',
            "#endif",
            "",
            *HELPERS,
            *(EXP if "exp" in used else []),
            "",
        ]

    def _entry(self, body: Lines) -> Lines:
        name = self.name
        return [
            "",
            f"void {name}_reset({name}_state *s) {{",
            *indented(["memset(s, 0, sizeof *s);", *self.start]),
            "}",
            "",
            f"uint32_t {name}_step({name}_state *s, const {name}_event *events, uint32_t n, float *output) {{",
            *indented(
                [
                    "uint32_t outside = 0;",
                    *body,
                    f"s->steps = (s->steps + 1u) % {lcm(*(delay + 1 for delay in self.delays.values()))}u;",
                    "return outside;",
                ]
            ),
            "}",
        ]
