"""A neuron's step as lines of C99, with the order and brackets of the step, on which rounding depends."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping

import numpy as np

from snnlab.kernels.trace import COMPARISONS, Node, is_literal, number_name

_TEXTS = {
    **{"add": "({0} + {1})", "sub": "({0} - {1})", "mul": "({0} * {1})", "div": "({0} / {1})", "neg": "(-{0})"},
    **{"ge": "({0} >= {1})", "gt": "({0} > {1})", "le": "({0} <= {1})", "lt": "({0} < {1})", "eq": "({0} == {1})"},
    **{"ne": "({0} != {1})", "and": "({0} & {1})", "or": "({0} | {1})", "not": "(!{0})"},
    **{"where": "({0} ? {1} : {2})", "fill": "{0}", "abs": "fabsf({0})", "sqrt": "sqrtf({0})"},
    **{"trunc": "truncf({0})", "floor": "floorf({0})", "exp": "exp_({0})"},
}


def c_float(value: float | np.floating) -> str:
    """Return a number as a literal of its exact value, in single precision."""
    number = float(np.float32(value))
    if math.isnan(number):
        return "NAN"
    if math.isinf(number):
        return "INFINITY" if number > 0 else "(-INFINITY)"
    return f"{number.hex()}f"


def c_floats(values: np.ndarray) -> str:
    """Return numbers as the content of an array, eight a line."""
    texts = [c_float(value) for value in values.reshape(-1)]
    return ",\n".join(", ".join(texts[at : at + 8]) for at in range(0, len(texts), 8))


def step_lines(known: Mapping[Node, str], roots: Mapping[str, Node], number: Callable[[str], str]) -> list[str]:
    """Return the lines that compute expressions, each once.

    Args:
        known: The texts of values that are there already.
        roots: The expressions, by the names of the constants that hold them.
        number: Returns the text of a number of the neurons, by its name.
    """
    names = dict(known)
    lines: list[str] = []
    for node in sorted(_needed(roots.values(), known), key=lambda node: node.at):
        if is_literal(node):
            names[node] = c_float(node.name)
        elif node.is_number:
            names[node] = number(number_name(node))
        else:
            names[node] = f"t{node.at}"
            kind = "int" if node.op in COMPARISONS else "float"
            lines.append(f"const {kind} t{node.at} = {_TEXTS[node.op].format(*(names[arg] for arg in node.args))};")
    return [*lines, *(f"const float {name} = {names[node]};" for name, node in roots.items())]


def operations(roots: Iterable[Node]) -> set[str]:
    """Return the operations of expressions."""
    return {node.op for node in _needed(roots, ())}


def _needed(roots: Iterable[Node], known: Iterable[Node]) -> set[Node]:
    """Return the expressions that are to be computed; those of numbers alone are one number."""
    found, stack = set[Node](), [*roots]
    while stack:
        node = stack.pop()
        if node not in found and node not in known:
            found.add(node)
            if not node.is_number:
                stack.extend(node.args)
    return found
