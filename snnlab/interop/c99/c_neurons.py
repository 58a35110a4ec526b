"""A pass over neurons in C: their currents, their step, and the pooling of their spikes; see `c_passes`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from snnlab.interop.c99.c_memory import CValue
from snnlab.interop.c99.c_passes import Pass
from snnlab.interop.c99.c_text import Lines, block, loop
from snnlab.interop.c99.expressions import c_float, step_lines
from snnlab.kernels.neuron_form import NeuronForm
from snnlab.kernels.quiet_neurons import Quiet, expressions
from snnlab.kernels.trace import Node, is_literal, number_name
from snnlab.nn.network_form import Neurons


class NeuronText(NamedTuple):
    """The function of a pass.

    Attributes:
        number: Index of the neurons.
        one: The neurons.
        does: What the pass does.
        source: The value that is read.
        numbers: The texts of the neurons' numbers, of channel k of neuron n.
        bias: Name of the constants of the bias; None: none.
        clears: Whether the source is cleared.
        marked: Whether the source has bits.
    """

    number: int
    one: Neurons
    does: Pass
    source: CValue
    numbers: Mapping[str, str]
    bias: str | None
    clears: bool
    marked: bool

    def lines(self) -> Lines:
        """Return the body."""
        pixels = self.one.shape[1] * self.one.shape[2]
        unused = [f"float unused[{self.one.shape[0]}] = {{0}};"] if self._is_cut else []
        quiet = self.does.quiet
        if quiet is None:
            reset = loop("w", self.source.words, ["marks[w] = 0;"]) if self.clears and self.marked else []
            return [*unused, *loop("p", pixels, self._pixel()), *reset]
        pixel = [*self._pixel(), "left |= (uint32_t)(flags >> 1) << (p - 32 * w);"]
        return [
            *self._leaks(quiet),
            *unused,
            f"uint32_t *restrict still = s->n{self.number}_still;",
            *loop(
                "w",
                (pixels + 31) // 32,
                [
                    "uint32_t bits = marks[w] | still[w], left = 0;",
                    *["marks[w] = 0;"] * self.clears,
                    *block("for (; bits != 0; bits &= bits - 1u)", ["const int p = 32 * w + lowest(bits);", *pixel]),
                    "still[w] = left;",
                ],
            ),
        ]

    def _leaks(self, quiet: Quiet) -> Lines:
        """Return the loops over all neurons that shrink their states, before the step."""
        channels, height, width = self.one.shape
        lines: Lines = []
        for name, factor in quiet.factors.items():
            if factor is not None:
                text = self._text(factor)
                shrink = f"s->n{self.number}_{name}[n] = s->n{self.number}_{name}[n] * {text} + 0.0f;"
                inner = loop("k", channels, [f"const int n = p * {channels} + k;", shrink])
                all_of_one = loop("n", channels * height * width, [shrink])
                lines += loop("p", height * width, inner) if "[k]" in text else all_of_one
        return lines

    def _text(self, node: Node) -> str:
        return c_float(node.name) if is_literal(node) else self.numbers[number_name(node)]

    @property
    def _is_cut(self) -> bool:
        """Whether some neurons are in no window."""
        (_, height, width), after = self.one.shape, self.does.after
        return after is not None and (height % after.window[0] != 0 or width % after.window[1] != 0)

    def _pixel(self) -> Lines:
        """Return the lines that update the neurons of pixel p."""
        (channels, _, width), before, after = self.one.shape, self.does.before, self.does.after
        lines, place, to = [], "p", f"out + p * {channels}"
        if before is not None or after is not None:
            lines.append(f"const int at_y = p / {width}, at_x = p % {width};")
        if after is not None:
            (rows, columns), (_, to_height, to_width) = after.window, after.shape
            lines.append(f"const int q = at_y / {rows} * {to_width} + at_x / {columns};")
            place, to = "q", f"out + q * {channels}"
            if self._is_cut:
                lines.append(f"const int inside = at_y < {to_height * rows} && at_x < {to_width * columns};")
                to = f"inside ? {to} : unused"
        read = (
            "p" if before is None else f"(at_y * {before.window[0] * self.source.shape[2]} + at_x * {before.window[1]})"
        )
        lines += [
            f"{'' if self.clears else 'const '}float *restrict from = in + {read} * {channels};",
            f"float *restrict to = {to};",
            *(
                f"float *restrict {name}_of = s->n{self.number}_{name} + p * {channels};"
                for name in self.one.form.start
            ),
            "int flags = 0;",
            *loop("k", channels, self._update()),
        ]
        return [*lines, f"{'if (inside) ' if self._is_cut else ''}mark(marks_of_out, {place}, flags & 1);"]

    def _update(self) -> Lines:
        """Return the lines that update the neurons of channel k."""
        step, quiet, after = self.one.form.step, self.does.quiet, self.does.after
        before = {node: f"{name}_before" for name, node in step.before.items()}
        known = {step.x: "x", **before, **({} if quiet is None else _leaked(self.one.form, quiet, before))}
        roots = {"spiked": step.y} | {f"{name}_after": node for name, node in step.after.items()}
        joined = {"max": "to[k] = spiked > to[k] ? spiked : to[k];", None: "to[k] = spiked;"}
        reached = [
            f"({name}_after >= {self._text(node)})" for name, node in ([] if quiet is None else quiet.thresholds)
        ]
        still = f" | ({' | '.join(dict.fromkeys(reached))}) << 1" if reached else ""
        is_own = any("[n]" in text for text in self.numbers.values())
        return [
            *[f"const int n = p * {self.one.shape[0]} + k;"] * is_own,
            *(f"const float {name}_before = {name}_of[k];" for name in step.before),
            *self._current(),
            *step_lines(known, roots, self.numbers.__getitem__),
            *(f"{name}_of[k] = {name}_after;" for name in step.after),
            joined.get(None if after is None else after.kind, "to[k] += spiked;"),
            f"flags |= (spiked != 0.0f){still};",
        ]

    def _current(self) -> Lines:
        """Return the lines that read and clear the currents of channel k."""
        (rows, columns), width = self.does.before.window if self.does.before else (1, 1), self.source.shape[2]
        places = [(row * width + column) * self.one.shape[0] for row in range(rows) for column in range(columns)]
        lines = [f"const float u{n} = from[{place} + k];" for n, place in enumerate(places)]
        largest = "u0"
        for n in range(1, len(places)):
            lines.append(f"const float largest{n} = u{n} > {largest} ? u{n} : {largest};")
            largest = f"largest{n}"
        lines.append(f"const float x = {largest}{'' if self.bias is None else f' + {self.bias}[k]'};")
        return [*lines, *[f"from[{place} + k] = 0.0f;" for place in places if self.clears]]


def _leaked(form: NeuronForm, quiet: Quiet, names: Mapping[Node, str]) -> dict[Node, str]:
    """Return the products of states and their factors, named as the states, which have been multiplied."""
    factors = {form.step.before[name]: factor for name, factor in quiet.factors.items() if factor is not None}
    products = {frozenset(pair): names[pair[0]] for pair in factors.items()}
    found = [node for node in expressions(form.step) if node.op == "mul"]
    return {node: products[frozenset(node.args)] for node in found if frozenset(node.args) in products}
