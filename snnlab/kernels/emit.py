"""A step as lines of Python for CPUs and GPUs, with the order and brackets of the step, on which rounding depends.

In the text, `o` is the offset of a sample's neurons at a step in memory, `s` that of its state, `n` a neuron.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from snnlab.kernels.layout import Pool
from snnlab.kernels.trace import Node, StepGraph

Lines = list[str]

_SIGNS = {
    **{"add": "+", "sub": "-", "mul": "*", "and": "&", "or": "|"},
    **{"ge": ">=", "gt": ">", "le": "<=", "lt": "<", "eq": "==", "ne": "!="},
}


class Syntax(NamedTuple):
    """The syntax of operations for one compiler, as templates of their arguments.

    Attributes:
        read: A read from memory.
        write: A write to memory.
        state: A state variable of a sample's neurons.
        value: A computed expression, broadcast to all neurons.
    """

    where: str
    abs: str
    exp: str
    sqrt: str
    trunc: str
    floor: str
    const: str
    read: str
    write: str
    state: str
    value: str = "{0}"
    neg: str = "-{0}"
    div: str = "({0} / {1})"


class LoopVariant(NamedTuple):
    """The variant of a loop that is rendered for a step.

    Attributes:
        per_neuron: Argument names of the numbers with one value per neuron.
        pool: The fused pooling, or None.
        inplace: Whether the first saved value overwrites x, and the gradient of x overwrites that value.
        counts: Whether spikes are counted, or counts have a gradient.
        gy: Whether the output has a gradient.
        events: Whether the input is a convolution of events, which the loop computes.
        cut: Whether no gradient passes from a step to the one before.
    """

    per_neuron: frozenset[str] = frozenset()
    pool: Pool | None = None
    inplace: bool = False
    counts: bool = False
    gy: bool = True
    events: bool = False
    cut: bool = False

    @property
    def in_row_blocks(self) -> bool:
        """Whether the loop goes through blocks of whole rows of the image."""
        return self.pool is not None or self.events


class LoopSource(NamedTuple):
    """A rendered function.

    Attributes:
        text: Source of its module.
        arguments: Names of its first arguments.
    """

    text: str
    arguments: list[str]


class Writer:
    """Writes the lines that compute a step, each expression once.

    Args:
        step: The step.
        options: The variant of the loop.
        syntax: The syntax of the compiler.
        per_neuron: Template of a number with one value per neuron; `{0}` is its name.
    """

    def __init__(self, step: StepGraph, options: LoopVariant, syntax: Syntax, per_neuron: str = "{0}") -> None:
        self.step, self.options, self.syntax = step, options, syntax
        self.numbers = {
            node: per_neuron.format(name) if name in options.per_neuron else name for name, node in step.numbers.items()
        }
        self.saved = {node: f"saved{at}_n" for at, node in enumerate(step.saved)}
        self._constants: dict[str, str] = {}

    def forward(self, x: str, y: str) -> Lines:
        """Return the lines of a forward step, which write the values to save.

        Args:
            x: Expression of the input.
            y: The line that writes the output, `y_n`.
        """
        step, write, state = self.step, self.syntax.write.format, self.syntax.state.format
        inplace, existing = self.options.inplace, in_memory(step, self.options)
        to_write = {"x" if inplace and at == 0 else f"saved{at}": node for at, node in enumerate(step.saved)}
        to_write = {array: node for array, node in to_write.items() if node not in existing}
        values = {"y_n": step.y} | {f"new_{name}": node for name, node in step.after.items()}
        values |= {f"{array}_saved": node for array, node in to_write.items()}
        known = {step.x: "x_n"} | {node: state(f"s_{name}") for name, node in step.before.items()}
        return [
            f"x_n = {x}",
            *self.lines(known, values),
            *(write(array, "o + n", f"{array}_saved") for array in to_write),
            *(f"{state(f's_{name}')} = new_{name}" for name in step.after),
            y,
            *[f"{state('counts')} += y_n"] * self.options.counts,
        ]

    def backward(self, gy: str, dx: Lines, recomputed: str) -> Lines:
        """Return the lines of a backward step.

        Args:
            gy: Expression of the gradient of the output.
            dx: The lines that write the gradient of the input, `new_x`.
            recomputed: Template of a recomputed state before the step; `{0}` is its name.
        """
        step, state, zero = self.step, self.syntax.state.format, self.syntax.const.format("0.0")
        carried = [] if self.options.cut else [f"g_{name}" for name in step.before]
        known = self.known_values(recomputed) | {step.grad_outputs["y"]: "g_y_n"}
        known |= {step.grad_outputs[name]: state(f"g_{name}") if carried else zero for name in step.before}
        grad_outputs = [*[gy] * self.options.gy, *[state("gn")] * self.options.counts]
        wanted = ["x", *carried, *number_grads(step)]
        absent = [name for name in ("x", *carried) if name not in step.grads]
        return [
            *self.read_saved("o + n"),
            f"g_y_n = {' + '.join(grad_outputs) or zero}",
            *self.lines(known, {f"new_{name}": node for name, node in step.grads.items() if name in wanted}),
            *(f"new_{name} = {zero}" for name in absent),
            *dx,
            *(f"{state(name)} = new_{name}" for name in carried),
            *(f"{state(name)} += new_{name}" for name in number_grads(step)),
        ]

    def recompute_output(self, recomputed: str) -> Lines:
        """Return the lines that recompute the output, `y_n`, from the saved values."""
        return [*self.read_saved("o + n"), *self.lines(self.known_values(recomputed), {"y_n": self.step.y})]

    def recompute_state(self, name: str) -> Lines:
        """Return the lines that recompute a state before a step from the saved values of the previous step."""
        return [
            *self.read_saved("o - step_stride + n"),
            *self.lines(self.saved, {f"{name}_before": self.step.after[name]}),
        ]

    def known_values(self, recomputed: str) -> dict[Node, str]:
        """Return the expressions of the saved values and of the recomputed states."""
        return self.saved | {self.step.before[name]: recomputed.format(name) for name in self.step.recomputed}

    def read_saved(self, index: str) -> Lines:
        """Return the lines that read the saved values."""
        return [f"saved{at}_n = {self.syntax.read.format(f'saved{at}', index)}" for at in range(len(self.saved))]

    def constants(self) -> Lines:
        """Return the first lines, which name the constants of the text."""
        return [f"{name} = {text}" for text, name in self._constants.items()]

    def lines(self, known: Mapping[Node, str], roots: Mapping[str, Node]) -> Lines:
        """Return lines that compute the named expressions from known values and numbers."""
        names = {**self.numbers, **known}
        uses: Counter[Node] = Counter(roots.values())
        seen: set[Node] = set()
        stack = list(roots.values())
        while stack:
            node = stack.pop()
            if node not in seen and node not in names:
                seen.add(node)
                uses.update(node.args)
                stack.extend(node.args)
        lines: Lines = []
        for node in sorted(seen, key=lambda node: node.at):
            names[node] = self._text(node, [names[arg] for arg in node.args])
            if node.op != "const" and uses[node] > 1:
                lines.append(f"t{node.at} = {names[node]}")
                names[node] = f"t{node.at}"
        return [*lines, *(f"{name} = {self.syntax.value.format(names[node])}" for name, node in roots.items())]

    def _text(self, node: Node, args: list[str]) -> str:
        if node.op == "const":
            text = self.syntax.const.format(repr(node.name))
            return self._constants.setdefault(text, f"c{len(self._constants)}")
        if node.op == "fill":
            return args[0]
        if node.op in _SIGNS:
            return f"({args[0]} {_SIGNS[node.op]} {args[1]})"
        if node.op == "not":
            return f"({args[0]} == False)"
        return getattr(self.syntax, node.op).format(*args)


def in_memory(step: StepGraph, options: LoopVariant) -> list[Node]:
    """Return the values that are in memory already, so that saving them needs no write."""
    return [*([] if options.events else [step.x]), *([] if options.pool else [step.y])]


def input_index(step: StepGraph, options: LoopVariant) -> str:
    """Return the memory index of the input, which may be in memory from step `skip` on only."""
    return "o + n" if options.inplace or step.x in step.saved else "o - skip + n"


def number_grads(step: StepGraph) -> list[str]:
    """Return the names of the gradients of numbers; the loops sum these over time."""
    return [name for name in step.grads if name.startswith("d_")]


def source(step: StepGraph, text: Lines, last: list[str]) -> LoopSource:
    """Return a module; `ARGUMENTS` in its text is replaced by the arguments that the function uses, before `last`."""
    states = [f"{prefix}_{name}" for prefix in ("s", "g") for name in step.before]
    names = ["x", "y", "dx", "d_bias", "gy", "gn", *(f"saved{at}" for at in range(len(step.saved)))]
    names += [*states, *number_grads(step), "counts", *step.numbers]
    used = identifiers(["\n".join(text).partition("ARGUMENTS")[2]])
    arguments = [*(name for name in names if name in used), *last]
    return LoopSource("\n".join(text).replace("ARGUMENTS", ", ".join(arguments)) + "\n", arguments)


def identifiers(lines: Iterable[str]) -> set[str]:
    """Return the identifiers in lines."""
    return set(re.findall(r"[A-Za-z_]\w*", " ".join(lines)))


def block(head: str, *body: str | Iterable[str]) -> Lines:
    """Return a statement with its indented body."""
    return [head, *("    " + line for line in flat(body))]


def flat(parts: Iterable[str | Iterable[str]]) -> Lines:
    """Return lines and nested lines as one list, without empty ones."""
    lines: Lines = []
    for part in parts:
        lines.extend([part] if isinstance(part, str) else part)
    return [line for line in lines if line]
