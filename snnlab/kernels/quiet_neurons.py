"""What neurons do in a step without input, derived from their form: nothing, or each state shrinks, without a spike.

The step is followed with x = 0. A state may be multiplied by a factor from 0 to 1, and no more. A comparison of a state
with a threshold above 0 is taken as no spike: a neuron whose state has reached it is updated in the next step, with or
without input; one that has not, does not reach it by shrinking. A lower bound of at most 0 changes nothing either.
What does not follow these rules is updated in every step.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from snnlab.kernels.neuron_form import NeuronForm
from snnlab.kernels.trace import Node, StepGraph, is_literal, number_name


class Quiet(NamedTuple):
    """What a step without input does.

    Attributes:
        factors: The factor of each state; None: the state does not change.
        thresholds: States, and the numbers that they have to reach for a spike.
    """

    factors: dict[str, Node | None]
    thresholds: list[tuple[str, Node]]


def quiet_neurons(form: NeuronForm) -> Quiet | None:
    """Return what neurons do without input, or None if that does not follow."""
    try:
        return _Follower(form).quiet()
    except _UnknownError:
        return None


def expressions(step: StepGraph) -> set[Node]:
    """Return the expressions of a step that are no numbers."""
    found, stack = set[Node](), [step.y, *step.after.values()]
    while stack:
        node = stack.pop()
        if node not in found and not node.is_number:
            found.add(node)
            stack.extend(node.args)
    return found


def leaks_first(form: NeuronForm, quiet: Quiet) -> bool:
    """Return whether each state that shrinks is read in no other way, so that it can shrink before the step."""
    shrinking = {form.step.before[name]: factor for name, factor in quiet.factors.items() if factor is not None}
    roots = {form.step.y, *form.step.after.values()}
    users = [(node, arg) for node in expressions(form.step) for arg in node.args if arg in shrinking]
    return not roots & shrinking.keys() and all(
        node.op == "mul" and shrinking[arg] in node.args and node.args[0] is not node.args[1] for node, arg in users
    )


class _UnknownError(Exception):
    """A step without input may do more."""


class _Zero(NamedTuple):
    is_positive: bool = True


class _Number(NamedTuple):
    node: Node


class _Shrunk(NamedTuple):
    """A state times a factor; `is_clean`: 0 was added, so that it is no -0."""

    name: str
    factor: Node | None = None
    is_clean: bool = False


class _Above(NamedTuple):
    """A shrunk state minus a number; or, if `is_ratio`, its positive part divided by the number."""

    state: _Shrunk
    number: Node
    is_ratio: bool = False


class _Positive(NamedTuple):
    """The positive part of a shrunk state."""

    state: _Shrunk


class _Follower:
    def __init__(self, form: NeuronForm) -> None:
        self.form = form
        self.thresholds: list[tuple[str, Node]] = []
        self.values: dict[Node, Any] = {form.step.x: _Zero()}
        self.values |= {node: _Shrunk(name) for name, node in form.step.before.items()}

    def quiet(self) -> Quiet:
        step, factors = self.form.step, dict[str, Node | None]()
        if not isinstance(self.of(step.y), _Zero):
            raise _UnknownError
        for name, node in step.after.items():
            value = self.of(node) if (inner := self._bounded(name, node)) is None else self.of(inner)
            if not isinstance(value, _Shrunk) or value.name != name or not (value.is_clean or value.factor is None):
                raise _UnknownError
            factors[name] = value.factor
        for name, node in self.thresholds:
            if not np.all(self.form.start[name] < self.number(node)):
                raise _UnknownError
        return Quiet(factors, self.thresholds)

    def number(self, node: Node) -> np.ndarray:
        """Return the values of a number."""
        return np.asarray(np.float32(node.name) if is_literal(node) else self.form.numbers[number_name(node)])

    def _bounded(self, name: str, node: Node) -> Node | None:
        """Return what is bounded from below, if a state is, by a number of at most 0 that it starts above."""
        if node.op != "where" or node.args[0].op != "lt":
            return None
        (inner, bound), one, other = node.args[0].args, node.args[1], node.args[2]
        if not bound.is_number or one is not bound or other is not inner:
            return None
        least = self.number(bound)
        return inner if np.all(least <= 0) and np.all(self.form.start[name] >= least) else None

    def of(self, node: Node) -> Any:
        """Return the value of an expression, or of a condition, in a step without input."""
        if node not in self.values:
            self.values[node] = _Number(node) if node.is_number else self._follow(node)
        return self.values[node]

    def _follow(self, node: Node) -> Any:
        if node.op == "where":
            return self._where(node)
        args = [self.of(arg) for arg in node.args]
        match node.op, args:
            case "fill", [value]:
                return value
            case "add", [_Zero(True), value] | [value, _Zero(True)]:
                return value._replace(is_clean=True) if isinstance(value, _Shrunk) else value
            case "add", [_Shrunk(is_clean=True) as value, _Zero()] | [_Zero(), _Shrunk(is_clean=True) as value]:
                return value
            case "sub", [_Number() | _Shrunk(is_clean=True) as value, _Zero()]:
                return value
            case "sub", [_Shrunk() | _Zero() as value, _Zero(True)]:
                return value
            case "sub", [_Shrunk() as value, _Number(number)]:
                return _Above(value, number)
            case "mul", [_Zero(), _] | [_, _Zero()]:
                return self._product(args)
            case "mul", [_Number(number), value] | [value, _Number(number)] if np.all(self.number(number) == 1):
                return value
            case "mul", [_Number(number), _Shrunk(name, None)] | [_Shrunk(name, None), _Number(number)]:
                factor = self.number(number)
                if np.all((factor >= 0) & (factor <= 1)) and not is_literal(number):
                    return _Shrunk(name, number)
            case "div", [_Zero() as value, _Number(number)] if np.all(self.number(number) > 0):
                return value
            case "div", [_Positive(state), _Number(number)] if np.all(self.number(number) > 0):
                return _Above(state, number, is_ratio=True)
            case (("trunc" | "floor"), [_Zero() as value]):
                return value
            case (("trunc" | "floor"), [_Above(is_ratio=True) as value]):
                self._need_spike(value)
                return _Zero()
            case (("trunc" | "floor"), [_Positive(state)]):  # a ratio to 1
                self._need_spike(_Above(state, self._one()))
                return _Zero()
            case (("ge" | "gt"), [_Above(is_ratio=False) as value, right]) if self._is_zero(right):
                self._need_spike(value)
                return False
            case (("ge" | "gt"), [_Shrunk() as value, _Number(number)]):
                self._need_spike(_Above(value, number))
                return False
            case "not", [bool() as value]:
                return not value
            case "and", [False, _] | [_, False]:
                return False
            case "or", [False, False]:
                return False
        raise _UnknownError

    def _where(self, node: Node) -> Any:
        condition, one, other = node.args
        if condition.op in ("lt", "le") and self._is_zero(self.of(condition.args[1])):
            value = self.of(condition.args[0])
            if isinstance(value, _Shrunk) and condition.args[0] is other and self._is_zero(self.of(one)):
                return _Positive(value)
        value = self.of(one if self._truth(condition) else other)
        if isinstance(value, _Number) and self._is_zero(value):
            return _Zero()
        return value

    def _truth(self, node: Node) -> bool:
        if node.op in ("ge", "gt", "le", "lt") and isinstance(self.of(node.args[0]), _Zero):
            right = self.of(node.args[1])
            if isinstance(right, _Number):
                number = self.number(right.node)
                found = {"ge": number <= 0, "gt": number < 0, "le": number >= 0, "lt": number > 0}[node.op]
                if np.all(found) or not np.any(found):
                    return bool(np.all(found))
            raise _UnknownError
        value = self.of(node)
        if not isinstance(value, bool):
            raise _UnknownError
        return value

    def _is_zero(self, value: Any) -> bool:
        return isinstance(value, _Zero) or (isinstance(value, _Number) and bool(np.all(self.number(value.node) == 0)))

    def _product(self, args: list[Any]) -> _Zero:
        """Return a product with 0, whose sign is known where the other factor is a number of at least 0."""
        other = next((arg for arg in args if not isinstance(arg, _Zero)), _Zero())
        if isinstance(other, _Number):
            number = self.number(other.node)
            if not np.all(np.isfinite(number)):
                raise _UnknownError
            return _Zero(all(arg.is_positive for arg in args if isinstance(arg, _Zero)) and bool(np.all(number >= 0)))
        return _Zero(False)

    def _one(self) -> Node:
        return Node(-1, "const", (), 1.0)

    def _need_spike(self, value: _Above) -> None:
        if not np.all(self.number(value.number) > 0):
            raise _UnknownError
        self.thresholds.append((value.state.name, value.number))
