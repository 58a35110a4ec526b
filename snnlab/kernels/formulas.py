"""Formulas as text and LaTeX: expressions of a traced step, without what matters to a loop alone.

The nodes are those of `trace.OPERATIONS`, and these:

    now      a value of this step by its name, `u[t]`
    before   the same one step earlier, `s[t-1]`
    spike    1 where the first argument reaches the second, or exceeds it (name "strict"), else 0
    max, min, power, and the functions of `FUNCTIONS`
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Mapping
from functools import partial
from types import MappingProxyType

import torch

from snnlab.kernels.trace import ExpressionGraph, Node

FUNCTIONS = ("exp", "ln", "sqrt", "sin", "cos", "abs", "trunc", "floor", "max", "min", "sigmoid")
_SIGNS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<", "eq": "==", "ne": "!=", "and": "and", "or": "or"}
_OPERATORS = {ast.Add: "add", ast.Sub: "sub", ast.Mult: "mult", ast.Div: "div", ast.Pow: "power"}
_GREEK = {
    *("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "kappa", "lambda", "mu", "nu", "xi", "pi"),
    *("rho", "sigma", "tau", "phi", "chi", "psi", "omega"),
}
# The binding of operations: what binds less than its place allows is put in parentheses.
_CHOICE, _LOGIC, _COMPARISON, _SUM, _PRODUCT, _POWER, _ATOM = range(7)


class Formulas(ExpressionGraph):
    """A set of formulas, simplified as they are made: no term of 0, no factor of 1, and names for common patterns."""

    def __init__(self) -> None:
        super().__init__(torch.float64)

    def number(self, name: str) -> Node:
        """Return the node of a symbol."""
        return self.make("number", name=name)

    def build(self, op: str, *args: Node, name: object = None) -> Node:
        """Return the simplified node of an operation."""
        simplify = getattr(self, f"_{op}", None)
        return self.make(op, *args, name=name) if simplify is None else simplify(*args)

    def parse(self, text: str, values: Mapping[str, Node] = MappingProxyType({})) -> Node:
        """Return the formula that a text says in Python's words: `exp(-dt / tau_mem)`, `(1 - a) * v_leak`.

        Args:
            text: The text.
            values: Formulas in place of names.
        """
        return self._parsed(ast.parse(text, mode="eval").body, values)

    def _parsed(self, tree: ast.expr, values: Mapping[str, Node]) -> Node:
        parsed = partial(self._parsed, values=values)
        if isinstance(tree, ast.Constant) and isinstance(tree.value, int | float):
            return self.const(float(tree.value))
        if isinstance(tree, ast.Name):
            return values[tree.id] if tree.id in values else self.number(tree.id)
        if isinstance(tree, ast.UnaryOp) and isinstance(tree.op, ast.USub):
            return self.build("neg", parsed(tree.operand))
        if isinstance(tree, ast.BinOp) and type(tree.op) in _OPERATORS:
            op = _OPERATORS[type(tree.op)]
            return self.build("mul" if op == "mult" else op, parsed(tree.left), parsed(tree.right))
        if isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name) and tree.func.id in FUNCTIONS:
            return self.build(tree.func.id, *map(parsed, tree.args))
        raise ValueError(
            f"{ast.unparse(tree)}: a definition has numbers, names, + - * / **, and {', '.join(FUNCTIONS)}"
        )

    def _add(self, a: Node, b: Node) -> Node:
        if is_constant(a, 0.0) or is_constant(b, 0.0):
            return b if is_constant(a, 0.0) else a
        if b.op == "neg":
            return self._sub(a, b.args[0])
        if a.op == "neg":
            return self._sub(b, a.args[0])
        if a.op == "max" and a.args[0].op == "sub" and a.args[0].args[1] is b and is_constant(a.args[1], 0.0):
            return self.make("max", a.args[0].args[0], b)  # max(u - m, 0) + m
        return self._rejoined(a, b) or self.make("add", a, b)

    def _rejoined(self, a: Node, b: Node) -> Node | None:
        """Return trunc(k * y / n) where `whole_numbers.scaled` computes it from the two halves of y, else None."""
        if a.op != "mul" or b.op != "trunc":
            return None
        for high, k in (a.args, a.args[::-1]):
            if high.op == "trunc" and high.args[0].op == "div":
                y, n = high.args[0].args
                low = self._sub(y, self._mul(high, n))
                if b.args[0] is self._div(self._mul(low, k), n):
                    return self.make("trunc", self._div(self._mul(k, y), n))
        return None

    def _sub(self, a: Node, b: Node) -> Node:
        if is_constant(b, 0.0):
            return a
        if is_constant(a, 0.0):
            return self._neg(b)
        return self._add(a, b.args[0]) if b.op == "neg" else self.make("sub", a, b)

    def _neg(self, a: Node) -> Node:
        if a.op == "const":
            return self.const(-a.name or 0.0)
        return a.args[0] if a.op == "neg" else self.make("neg", a)

    def _mul(self, a: Node, b: Node) -> Node:
        if is_constant(a, 0.0) or is_constant(b, 0.0):
            return self.const(0.0)
        if is_constant(a, 1.0) or is_constant(b, 1.0):
            return b if is_constant(a, 1.0) else a
        if a.op == "neg" or b.op == "neg":
            product = self._mul(a.args[0] if a.op == "neg" else a, b.args[0] if b.op == "neg" else b)
            return product if a.op == b.op else self._neg(product)
        for one, other in ((a, b), (b, a)):
            if one.op == "div" and is_constant(one.args[0], 1.0):
                return self._div(other, one.args[1])  # k * (1 / z), which is how PyTorch divides a number
        return self.make("power", a, self.const(2.0)) if a is b else self.make("mul", a, b)

    def _div(self, a: Node, b: Node) -> Node:
        if a.op == "neg":
            return self._neg(self._div(a.args[0], b))
        return a if is_constant(b, 1.0) else self.const(0.0) if is_constant(a, 0.0) else self.make("div", a, b)

    def _fill(self, a: Node) -> Node:
        return a

    def _detach(self, a: Node) -> Node:
        return a

    def _comparison(self, op: str, a: Node, b: Node) -> Node:
        """Return a comparison, with a difference taken apart: u - threshold > 0 is u > threshold."""
        if a.op == "sub" and is_constant(b, 0.0):
            a, b = a.args
        return self.make(op, a, b)

    def _ge(self, a: Node, b: Node) -> Node:
        return self._comparison("ge", a, b)

    def _gt(self, a: Node, b: Node) -> Node:
        return self._comparison("gt", a, b)

    def _where(self, condition: Node, one: Node, other: Node) -> Node:
        if is_constant(one, 1.0) and is_constant(other, 0.0) and condition.op in ("ge", "gt"):
            return self.make("spike", *condition.args, name="strict" if condition.op == "gt" else None)
        if condition.op in ("lt", "le") and condition.args == (other, one):
            return self.make("max", other, one)
        if condition.op in ("gt", "ge") and condition.args == (other, one):
            return self.make("min", other, one)
        return one if one is other else self.make("where", condition, one, other)


def is_constant(node: Node, value: float) -> bool:
    """Return whether a node is a number of this value."""
    return node.op == "const" and node.name == value


# -- As text ----------------------------------------------------------------------------------------------------------


class TextWriter:
    """Writes formulas as text that Python reads, but for `^`: `a * v[t-1] + x[t]`.

    Args:
        strict: Whether H is 0 at 0; a spike of the other kind is written as a choice.
    """

    def __init__(self, strict: bool) -> None:
        self.strict = strict

    def write(self, node: Node, place: int = _CHOICE) -> str:
        """Return a formula; `place` is how strongly its surroundings bind."""
        text, binding = self._written(node)
        return self.parentheses(text) if binding < place else text

    def _written(self, node: Node) -> tuple[str, int]:
        """Return a formula and its binding."""
        op, args = node.op, node.args
        if op in ("number", "tensor"):
            return self.symbol(node.name), _ATOM
        if op == "const":
            return self.constant(node.name), _ATOM if node.name >= 0 else _SUM
        if op in ("x", "state", "now", "before"):
            return self.timed(node.name, -1 if op in ("state", "before") else 0), _ATOM
        if op in ("add", "sub"):
            one, other = self.write(args[0], _SUM), self.write(args[1], _SUM + (op == "sub"))
            return f"{one} {'+' if op == 'add' else '-'} {other}", _SUM
        if op == "neg":
            return f"-{self.write(args[0], _PRODUCT)}", _SUM
        if op == "mul":
            return self.product([self.write(factor, _PRODUCT) for factor in factors(node)]), _PRODUCT
        if op == "div":
            return self.quotient(*args)
        if op == "power":
            return self.power(self.write(args[0], _ATOM), self.write(args[1], _ATOM)), _POWER
        if op == "spike":
            return self.spike(node)
        if op == "where":
            return self.choice(*args), _CHOICE
        if op == "not":
            return f"not {self.write(args[0], _COMPARISON)}", _LOGIC
        if op in _SIGNS:
            binding = _LOGIC if op in ("and", "or") else _COMPARISON
            return f" {self.sign(op)} ".join(self.write(arg, binding + 1) for arg in args), binding
        return self.call(op, args), _ATOM

    def spike(self, node: Node) -> tuple[str, int]:
        """Return H(u - threshold)."""
        strict, (one, other) = node.name == "strict", node.args
        if strict != self.strict:
            return self.choice_of_spike(
                f"{self.write(one, _SUM)} {self.sign('gt' if strict else 'ge')} {self.write(other, _SUM)}"
            ), _CHOICE
        graph = Formulas()
        return self.call("H", (graph.build("sub", one, other),)), _ATOM

    def choice_of_spike(self, condition: str) -> str:
        """Return 1 where a condition holds, else 0."""
        return f"1 if {condition} else 0"

    def parentheses(self, text: str) -> str:
        """Return a formula in parentheses."""
        return f"({text})"

    def symbol(self, name: str) -> str:
        """Return the name of a coefficient or setting."""
        return name

    def constant(self, value: float) -> str:
        """Return a number."""
        return number_text(value)

    def timed(self, name: str, shift: int) -> str:
        """Return a variable at its step."""
        return f"{name}[t{shift if shift else ''}]"

    def product(self, parts: list[str]) -> str:
        """Return a product."""
        return " * ".join(parts)

    def quotient(self, one: Node, other: Node) -> tuple[str, int]:
        """Return a quotient and its binding."""
        return f"{self.write(one, _PRODUCT)} / {self.write(other, _POWER)}", _PRODUCT

    def power(self, base: str, exponent: str) -> str:
        """Return a power."""
        return f"{base}^{exponent}"

    def choice(self, condition: Node, one: Node, other: Node) -> str:
        """Return one of two values by a condition."""
        return f"{self.write(one, _LOGIC)} if {self.write(condition, _LOGIC)} else {self.write(other)}"

    def sign(self, op: str) -> str:
        """Return the sign of a comparison."""
        return _SIGNS[op]

    def call(self, name: str, args: tuple[Node, ...]) -> str:
        """Return a function of some arguments."""
        return f"{name}({', '.join(map(self.write, args))})"


_LATEX_SIGNS = {
    "ge": r"\ge",
    "gt": ">",
    "le": r"\le",
    "lt": "<",
    "eq": "=",
    "ne": r"\ne",
    "and": r"\land",
    "or": r"\lor",
}


class LatexWriter(TextWriter):
    r"""Writes formulas as LaTeX: `a\, v_{t-1} + x_t`."""

    def choice_of_spike(self, condition: str) -> str:
        return rf"\mathbf{{1}}[{condition}]"

    def parentheses(self, text: str) -> str:
        return rf"\left({text}\right)"

    def symbol(self, name: str) -> str:
        if name == "dt":
            return r"\Delta t"
        letter, index = _letter_and_index(name)
        return letter + (f"_{{{index}}}" if index else "")

    def timed(self, name: str, shift: int) -> str:
        letter, index = _letter_and_index(name)
        step = f"t{shift if shift else ''}"
        return f"{letter}_{{{index}, {step}}}" if index else f"{letter}_{{{step}}}"

    def product(self, parts: list[str]) -> str:
        return r"\, ".join(parts)

    def quotient(self, one: Node, other: Node) -> tuple[str, int]:
        return rf"\frac{{{self.write(one)}}}{{{self.write(other)}}}", _PRODUCT

    def power(self, base: str, exponent: str) -> str:
        return f"{base}^{{{exponent}}}"

    def choice(self, condition: Node, one: Node, other: Node) -> str:
        cases = rf"{self.write(one)} & \text{{if }} {self.write(condition)} \\ {self.write(other)} & \text{{else}}"
        return rf"\begin{{cases}} {cases} \end{{cases}}"

    def sign(self, op: str) -> str:
        return _LATEX_SIGNS[op]

    def call(self, name: str, args: tuple[Node, ...]) -> str:
        if name == "sqrt":
            return rf"\sqrt{{{self.write(args[0])}}}"
        known = name in ("exp", "ln", "sin", "cos", "max", "min")
        head = f"\\{name}" if known else name if len(name) == 1 else rf"\operatorname{{{name}}}"
        return rf"{head}\left({', '.join(map(self.write, args))}\right)"


def _letter_and_index(name: str) -> tuple[str, str]:
    r"""Return a name as a letter and its index, `\tau` and `\mathrm{mem}`, or a word without an index."""
    base, _, index = name.rstrip("_").partition("_")
    letter, digits = re.fullmatch(r"(.*?)(\d*)", base).groups()  # type: ignore[union-attr]
    prime = "'" if name.endswith("_") else ""
    if letter not in _GREEK and len(letter) != 1:
        return rf"\mathrm{{{name.rstrip('_').replace('_', chr(92) + '_')}}}{prime}", ""
    words = [digits, rf"\mathrm{{{index.replace('_', ' ')}}}" if index else ""]
    return (f"\\{letter}" if letter in _GREEK else letter) + prime, ", ".join(filter(None, words))


def factors(node: Node) -> list[Node]:
    """Return the factors of a product, numbers first, as a textbook writes coefficients."""
    found = [part for arg in node.args for part in (factors(arg) if arg.op == "mul" else [arg])]
    return sorted(found, key=lambda factor: (not factor.is_number, factor.op == "spike"))


def number_text(value: float) -> str:
    """Return a number in few digits; a whole number that single precision holds in all of its digits."""
    return str(int(value)) if value == math.floor(value) and abs(value) <= 2**24 else f"{value:.6g}"
