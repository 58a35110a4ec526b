"""A step as lines of Python, for CPUs and GPUs alike, with the order and brackets of the step: bits depend on them.

`o` is where a sample's neurons begin at a step in memory, `s` where its state does, `n` is a neuron.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from snnlab.kernels.layout import Pool
from snnlab.kernels.trace import Node, Step

Lines = list[str]

_SIGNS = {
    **{"add": "+", "sub": "-", "mul": "*", "and": "&", "or": "|"},
    **{"ge": ">=", "gt": ">", "le": "<=", "lt": "<", "eq": "==", "ne": "!="},
}


class Words(NamedTuple):
    """How operations are written for one compiler, by their arguments.

    Attributes:
        read: What is in memory at a place.
        write: That it is there from now on.
        state: What a sample's neurons have as their own through all steps.
        value: What is computed, as the value of each neuron.
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


class Form(NamedTuple):
    """What loops are rendered for, besides a step.

    Attributes:
        own: The numbers, by the name of their argument, of which neurons have their own.
        pool: The pooling that is done on the way.
        inplace: Whether what is kept first lies in x's memory, and the gradient of x in that.
        counts: Whether spikes are counted, or counts have a gradient.
        gy: Whether the output has a gradient.
        events: Whether the input is a convolution of events, summed on the way.
    """

    own: frozenset[str] = frozenset()
    pool: Pool | None = None
    inplace: bool = False
    counts: bool = False
    gy: bool = True
    events: bool = False

    @property
    def in_pieces(self) -> bool:
        """Whether neurons are taken in pieces of whole rows of the image."""
        return self.pool is not None or self.events


class Source(NamedTuple):
    """A rendered function.

    Attributes:
        text: Its module.
        arguments: Names of what it takes first.
    """

    text: str
    arguments: list[str]


class Writer:
    """Lines that compute a step, each expression once.

    Args:
        step: The step.
        form: What it is rendered for.
        words: How it is written.
        own: What stands for a number of which neurons have their own, with its name in place of `{0}`.
    """

    def __init__(self, step: Step, form: Form, words: Words, own: str = "{0}") -> None:
        self.step, self.form, self.words = step, form, words
        self.numbers = {node: own.format(name) if name in form.own else name for name, node in step.numbers.items()}
        self.keeps = {node: f"keep{at}_n" for at, node in enumerate(step.keep)}
        self._constants: dict[str, str] = {}

    def forward(self, x: str, y: str) -> Lines:
        """Return the lines of a step forward, which keep what `step.keep` says.

        Args:
            x: What the input is.
            y: The line that puts the output, `y_n`, where it belongs.
        """
        step, write, state = self.step, self.words.write.format, self.words.state.format
        there = in_memory(step, self.form)
        kept = {"x" if self.form.inplace and at == 0 else f"keep{at}": node for at, node in enumerate(step.keep)}
        kept = {place: node for place, node in kept.items() if node not in there}
        values = {"y_n": step.y} | {f"new_{name}": node for name, node in step.after.items()}
        values |= {f"{place}_kept": node for place, node in kept.items()}
        known = {step.x: "x_n"} | {node: state(f"s_{name}") for name, node in step.before.items()}
        return [
            f"x_n = {x}",
            *self.lines(known, values),
            *(write(place, "o + n", f"{place}_kept") for place in kept),
            *(f"{state(f's_{name}')} = new_{name}" for name in step.after),
            y,
            *[f"{state('counts')} += y_n"] * self.form.counts,
        ]

    def backward(self, gy: str, dx: Lines, carried: str) -> Lines:
        """Return the lines of a step back.

        Args:
            gy: The gradient of the output.
            dx: The lines that put the gradient of the input, `new_x`, where it belongs.
            carried: What stands for a state before the step, with its name in place of `{0}`.
        """
        step, state, nothing = self.step, self.words.state.format, self.words.const.format("0.0")
        known = self.carried_to(carried) | {step.arriving["y"]: "g_y_n"}
        known |= {step.arriving[name]: state(f"g_{name}") for name in step.before}
        arriving = [*[gy] * self.form.gy, *[state("gn")] * self.form.counts]
        absent = [name for name in ("x", *(f"g_{name}" for name in step.before)) if name not in step.to]
        return [
            *self.read_kept("o + n"),
            f"g_y_n = {' + '.join(arriving) or nothing}",
            *self.lines(known, {f"new_{name}": node for name, node in step.to.items()}),
            *(f"new_{name} = {nothing}" for name in absent),
            *dx,
            *(f"{state(f'g_{name}')} = new_g_{name}" for name in step.before),
            *(f"{state(name)} += new_{name}" for name in sums(step)),
        ]

    def output(self, carried: str) -> Lines:
        """Return the lines that compute the output once more, as `y_n`, from what was kept."""
        return [*self.read_kept("o + n"), *self.lines(self.carried_to(carried), {"y_n": self.step.y})]

    def before(self, name: str) -> Lines:
        """Return the lines that compute a state before a step from what was kept of the step before that."""
        return [
            *self.read_kept("o - row_stride + n"),
            *self.lines(self.keeps, {f"{name}_before": self.step.after[name]}),
        ]

    def carried_to(self, carried: str) -> dict[Node, str]:
        """Return what stands for the states before a step that follow from what was kept of the step before it."""
        return self.keeps | {self.step.before[name]: carried.format(name) for name in self.step.carried}

    def read_kept(self, place: str) -> Lines:
        """Return the lines that read what was kept."""
        return [f"keep{at}_n = {self.words.read.format(f'keep{at}', place)}" for at in range(len(self.keeps))]

    def constants(self) -> Lines:
        """Return the lines that come first: those that give numbers of the text their names."""
        return [f"{name} = {text}" for text, name in self._constants.items()]

    def lines(self, known: Mapping[Node, str], roots: Mapping[str, Node]) -> Lines:
        """Return lines that compute expressions of what is known and of numbers, and give them these names."""
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
        return [*lines, *(f"{name} = {self.words.value.format(names[node])}" for name, node in roots.items())]

    def _text(self, node: Node, args: list[str]) -> str:
        if node.op == "const":
            text = self.words.const.format(repr(node.name))
            return self._constants.setdefault(text, f"c{len(self._constants)}")
        if node.op in _SIGNS:
            return f"({args[0]} {_SIGNS[node.op]} {args[1]})"
        if node.op == "not":
            return f"({args[0]} == False)"
        return getattr(self.words, node.op).format(*args)


def in_memory(step: Step, form: Form) -> list[Node]:
    """Return what is in memory anyhow, and need not be written to be kept."""
    return [*([] if form.events else [step.x]), *([] if form.pool else [step.y])]


def input_at(step: Step, form: Form) -> str:
    """Return where the input of a step lies, which may be in memory for the later steps alone."""
    return "o + n" if form.inplace or step.x in step.keep else "o - skip + n"


def sums(step: Step) -> list[str]:
    """Return the names of the gradients of numbers, which are summed over time."""
    return [name for name in step.to if name.startswith("d_")]


def source(step: Step, text: Lines, last: list[str]) -> Source:
    """Return a module, in whose text `ARGUMENTS` stands for those that the function uses, before the last ones."""
    states = [f"{what}_{name}" for what in ("s", "g") for name in step.before]
    names = ["x", "y", "dx", "d_bias", "gy", "gn", *(f"keep{at}" for at in range(len(step.keep)))]
    names += [*states, *sums(step), "counts", *step.numbers]
    used = words_of(["\n".join(text).partition("ARGUMENTS")[2]])
    arguments = [*(name for name in names if name in used), *last]
    return Source("\n".join(text).replace("ARGUMENTS", ", ".join(arguments)) + "\n", arguments)


def words_of(lines: Iterable[str]) -> set[str]:
    """Return the names in lines."""
    return set(re.findall(r"[A-Za-z_]\w*", " ".join(lines)))


def block(head: str, *body: str | Iterable[str]) -> Lines:
    """Return a head with a body indented below it."""
    return [head, *("    " + line for line in flat(body))]


def flat(parts: Iterable[str | Iterable[str]]) -> Lines:
    """Return lines, and lines of lines, one after the other; empty ones are left out."""
    lines: Lines = []
    for part in parts:
        lines.extend([part] if isinstance(part, str) else part)
    return [line for line in lines if line]
