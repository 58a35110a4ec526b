"""Expressions as lines of Python, in the order and with the brackets of the step: bits depend on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from snnlab.kernels.trace import Node

Lines = list[str]

_SIGNS = {
    **{"add": "+", "sub": "-", "mul": "*", "and": "&", "or": "|"},
    **{"ge": ">=", "gt": ">", "le": "<=", "lt": "<", "eq": "==", "ne": "!="},
}


class Words(NamedTuple):
    """How operations are written for one compiler, by their arguments."""

    where: str
    abs: str
    exp: str
    sqrt: str
    trunc: str
    floor: str
    const: str
    neg: str = "-{0}"
    div: str = "({0} / {1})"


NUMBA = Words(
    where="({1} if {0} else {2})",
    abs="abs({0})",
    exp="exp_({0})",
    sqrt="np.sqrt({0})",
    trunc="np.trunc({0})",
    floor="np.floor({0})",
    const="real({0})",
)


class Writer:
    """Lines that compute expressions, each once.

    Args:
        names: What stands for those that are known.
        words: How operations are written.
        constants: Names of numbers, by what is written for them; added to.
    """

    def __init__(self, names: Mapping[Node, str], words: Words, constants: dict[str, str]) -> None:
        self.names, self.words, self.constants = dict(names), words, constants
        self.lines: Lines = []

    def write(self, roots: Iterable[Node]) -> list[str]:
        """Return what stands for some expressions, behind lines that compute them."""
        roots = list(roots)
        uses: Counter[Node] = Counter(roots)
        seen: set[Node] = set()
        stack = list(roots)
        while stack:
            node = stack.pop()
            if node not in seen and node not in self.names:
                seen.add(node)
                uses.update(node.args)
                stack.extend(node.args)
        for node in sorted(seen, key=lambda node: node.at):
            text = self._text(node)
            if node.op != "const" and uses[node] > 1:
                self.lines.append(f"t{node.at} = {text}")
                text = f"t{node.at}"
            self.names[node] = text
        return [self.names[root] for root in roots]

    def _text(self, node: Node) -> str:
        args = [self.names[arg] for arg in node.args]
        if node.op == "const":
            text = self.words.const.format(repr(node.name))
            return self.constants.setdefault(text, f"c{len(self.constants)}")
        if node.op in _SIGNS:
            return f"({args[0]} {_SIGNS[node.op]} {args[1]})"
        if node.op == "not":
            return f"({args[0]} == False)"
        return getattr(self.words, node.op).format(*args)


def block(head: str, *body: str | Iterable[str]) -> Lines:
    """Return a head with a body indented below it."""
    return [head, *("    " + line for line in flat(body))]


def flat(parts: Iterable[str | Iterable[str]]) -> Lines:
    """Return lines, and lines of lines, one after the other; empty ones are left out."""
    lines: Lines = []
    for part in parts:
        lines.extend([part] if isinstance(part, str) else part)
    return [line for line in lines if line]
