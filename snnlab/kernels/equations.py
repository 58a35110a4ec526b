"""The equations of a traced step, as a textbook writes them: `u[t] = a * v[t-1] + x[t]`, `s[t] = H(u[t] - 1)`.

The step runs once with symbols for its input, state, coefficients, and for the settings that it reads from its object.
A value has its own equation where it is a state, an output, a spike, what a spike compares, used twice, or long; its
name is that of the local variable that holds it in the step. A value that is the spike of the step before is `s[t-1]`.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import torch

from snnlab.kernels.formulas import Formulas
from snnlab.kernels.readings import OWNER, ValuePlace
from snnlab.kernels.stand_ins import StepReader
from snnlab.kernels.trace import ExpressionGraph, Node, StepGraph, Symbol, UntraceableError, plain_values, trace
from snnlab.kernels.trace_cache import replace_numbers

# A value that is used once has an equation of its own from this number of operations on.
_LONG = 4
# Folders whose functions are no part of a neuron's description: the surrogate's, and those of the tracer.
_HIDDEN = (Path(__file__).parent, Path(__file__).parent.parent / "nn" / "surrogate.py")


class Equation(NamedTuple):
    """One equation.

    Attributes:
        name: Name of the value.
        value: The formula.
        timed: Whether it has a value in each step; else it is a coefficient.
    """

    name: str
    value: Node
    timed: bool = True


class Equations(NamedTuple):
    """The equations of a step.

    Attributes:
        graph: Their formulas.
        lines: Equations, in an order in which they can be computed; states last.
        strict: Whether H is 0 at 0; None if nothing spikes.
    """

    graph: Formulas
    lines: list[Equation]
    strict: bool | None

    def symbols(self) -> list[str]:
        """Return the names of the numbers, in the order in which they appear."""
        return list(dict.fromkeys(name for line in self.lines for name in symbols_of(line.value)))


def symbols_of(node: Node) -> list[str]:
    """Return the names of the numbers in a formula, in order."""
    if node.op in ("number", "tensor"):
        return [node.name]
    return list(dict.fromkeys(name for arg in node.args for name in symbols_of(arg)))


def equations_of(
    step: Callable[..., Any],
    state: Any,
    k: Any,
    *,
    settings: Collection[str],
    definitions: Mapping[str, str],
    output: str = "s",
) -> Equations:
    """Return the equations of a step.

    Args:
        step: `step(x, state, k) -> (y, state)`, a method.
        state: A state, or its type.
        k: The coefficients; only their structure matters.
        settings: Attributes of the step's object that are symbols in the equations.
        definitions: What stands for a coefficient, by its name in k: another name, or a formula of settings.
        output: Name of the output where it is no state.

    Raises:
        UntraceableError: if the step cannot be traced.
    """
    kind = state if isinstance(state, type) else type(state)
    with ThreadPoolExecutor(1) as thread:  # which has a profile function of its own
        try:
            form, names = thread.submit(_traced, step, kind, k, settings).result()
        except UntraceableError:  # it branches on a setting
            form, names = thread.submit(_traced, step, kind, k, ()).result()
        except Exception as error:  # any error that a symbol causes in the step; a bug appears in the plain loop too
            raise UntraceableError(f"{type(error).__name__}: {error}") from error
    return _Composer(form, names, definitions, output).compose()


class _SettingsReader(StepReader):
    """Reads a step with a symbol for each setting of its object that is a number."""

    def __init__(self, step: Callable[..., Any], settings: Collection[str]) -> None:
        super().__init__(step)
        self.settings = settings
        self.make: Callable[[str, bool], Symbol] | None = None

    def see(self, value: Any, place: ValuePlace) -> Any:
        if place.root is OWNER and type(value) in (float, int) and self.make is not None:
            (name,) = place.path[0] if len(place.path) == 1 and len(place.path[0]) == 1 else ("",)
            if name in self.settings:
                return self.make(name, False)
        return super().see(value, place)


def _traced(
    step: Callable[..., Any], kind: type, k: Any, settings: Collection[str]
) -> tuple[StepGraph, dict[Node, list[str]]]:
    """Return a step's form, with a symbol for each number of k, and the names of its local variables."""
    reader, names = _SettingsReader(step, settings), list[tuple[Node, str]]()
    graph: list[ExpressionGraph] = []

    def coefficients(make: Callable[[str, bool], Symbol]) -> Any:
        reader.make = make
        return replace_numbers(k, reader.visible_class, make, every=True)

    run = reader.step()

    def named(x: Symbol, *rest: Any) -> Any:
        graph.append(x.graph)
        sys.setprofile(partial(_add_local_names, names))
        try:
            return run(x, *rest)
        finally:
            sys.setprofile(None)

    form = trace(named, reader.visible_class(kind), coefficients, (), dtype=torch.float64, grad=False)
    plain, found = plain_values(graph[0]), dict[Node, list[str]]()
    for node, name in names:
        found.setdefault(plain[node], []).append(name)
    return form, found


def _add_local_names(names: list[tuple[Node, str]], frame: FrameType, event: str, _: Any) -> None:
    """Add the local variables that hold values as a function returns; those of the step come last."""
    if event != "return" or _is_hidden(frame.f_code.co_filename):
        return
    for name, value in frame.f_locals.items():
        if type(value) is Symbol and not value.is_condition:
            names.append((value.node, name))


@cache
def _is_hidden(file: str) -> bool:
    return any(Path(file).is_relative_to(each) for each in _HIDDEN)


class _Composer:
    """Composes the equations of a form."""

    def __init__(
        self, form: StepGraph, names: Mapping[Node, list[str]], definitions: Mapping[str, str], output: str
    ) -> None:
        self.form, self.definitions = form, definitions
        self.graph = Formulas()
        self.formulas: dict[Node, Node] = {}
        self.y = self._formula(form.y)
        self.after = {name: self._formula(node) for name, node in form.after.items()}
        self.locals = {self.formulas[node]: local for node, local in names.items() if node in self.formulas}
        self.output = output if self.after.get(output, self.y) is self.y else "y"  # a state may have its name

    def compose(self) -> Equations:
        unchanged = {name: (self._before(name), self.graph.make("x", name=name)) for name in self.after}
        states = [name for name, node in self.after.items() if node not in unchanged[name]]
        names = self._names(states)
        shifted = self._spike_before(names)
        lines: dict[str, Node] = {}

        def reference(node: Node, *, itself: bool = False) -> Node:
            """Return a formula in which named values stand by their names, whose equations are added first."""
            if node is shifted:
                return self.graph.make("before", name=names[self.y])
            if not itself and node in names:
                if names[node] not in lines:
                    lines[names[node]] = node  # holds the place against a circle; the value follows
                    value = reference(node, itself=True)
                    del lines[names[node]]
                    lines[names[node]] = value
                return self.graph.make("now", name=names[node])
            if not node.args:
                return node
            # A condition on the state, such as a rest, is no spike.
            if node.op == "spike" and node is not self.y and not _is_driven(node):
                one, zero = self.graph.const(1.0), self.graph.const(0.0)
                condition = self.graph.make("gt" if node.name == "strict" else "ge", *map(reference, node.args))
                return self.graph.make("where", condition, one, zero)
            return self.graph.build(node.op, *map(reference, node.args), name=node.name)

        outputs = [self.y, *(self.after[name] for name in states)]
        for node in outputs:
            reference(node)
        for name in states:  # two names of one value, as a membrane without a reset
            if names.get(self.after[name]) != name:
                lines[name] = reference(self.after[name])
        if names.get(self.y) != self.output and self.output not in lines:
            lines[self.output] = reference(self.y)
        spikes = [node for node in _all_nodes([self.y, *self.after.values()]) if node.op == "spike"]
        first = next((node for node in spikes if node is self.y or _is_driven(node)), None)
        order = [*(name for name in lines if name not in states), *(name for name in lines if name in states)]
        ordered = _in_order(lines, order)
        return Equations(
            self.graph,
            [Equation(name, lines[name]) for name in ordered],
            None if first is None else first.name == "strict",
        )

    def _formula(self, node: Node) -> Node:
        """Return the simplified formula of a node."""
        if node not in self.formulas:
            if node.op in ("number", "tensor"):
                found = self.graph.parse(self.definitions.get(node.name, node.name))
            elif node.op == "x" and "x" in self.definitions:
                found = self.graph.parse(self.definitions["x"], {"x": self.graph.make("x", name="x")})
            elif node.op == "const":
                found = self.graph.const(node.name)
            elif not node.args:
                found = self.graph.make(node.op, name=node.name)
            else:
                found = self.graph.build(node.op, *map(self._formula, node.args), name=node.name)
            self.formulas[node] = found
        return self.formulas[node]

    def _before(self, name: str) -> Node:
        return self.graph.make("state", name=name)

    def _names(self, states: Collection[str]) -> dict[Node, str]:
        """Return the values with an equation of their own, each with its name."""
        found: dict[Node, str] = {}
        used = Counter[Node]()
        nodes = _all_nodes([self.y, *self.after.values()])
        for node in nodes:
            used.update(node.args)
        compared = [node.args for node in nodes if node.op == "spike"]
        membranes, thresholds = ({args[at] for args in compared if args[at].args} for at in (0, 1))
        of_membranes = {self._local_name(node, first=True) for node in membranes}
        for node in nodes:
            own = self._local_name(node, first=node in membranes)
            if node.is_number or not node.args or (node not in membranes and self._is_state_alone(node, used)):
                continue
            size = _size(node, {*found, *self.after.values()})
            several = used[node] > 1 and size > (1 if own else 2)
            long = size >= _LONG and used[node] and own and own not in of_membranes
            wanted = several or long or (node in thresholds and own)
            if node is self.y or node.op == "spike" or wanted or (node in membranes and (own or size > 1)):
                found[node] = own
        symbols = (node.name for node in nodes if node.op in ("number", "tensor"))
        taken = {"x", "t", self.output, *self.form.before, *symbols}
        named = {node: self._own_name(node, name, taken) for node, name in found.items()}
        for name in states:
            named.setdefault(self.after[name], name)
        return named

    def _is_state_alone(self, node: Node, used: Counter[Node]) -> bool:
        """Return whether a value needs no name but that of the state that it is."""
        names = [name for name, after in self.after.items() if after is node]
        local = self.locals.get(node, names)
        return node is not self.y and bool(names) and (not used[node] or any(n.startswith(names[0]) for n in local))

    def _local_name(self, node: Node, *, first: bool) -> str:
        """Return the first or last local variable of a value, not one named after a state if there is another."""
        local = self.locals.get(node, []) if first else self.locals.get(node, [])[::-1]
        return next((name for name in local if name.partition("_")[0] not in self.after), local[0] if local else "")

    def _own_name(self, node: Node, name: str, taken: set[str]) -> str:
        """Return the name of a value: that of a state that it is, of the local variable, or a free one."""
        same = [state for state, after in self.after.items() if after is node]
        if node is self.y and node.op != "where" and (node.op == "spike" or not same):
            return self.output
        if same and (not name or name.startswith(same[0])):
            return same[0]
        free = name or "u"
        while free in taken:
            free = f"{free}_"
        taken.add(free)
        return free

    def _spike_before(self, names: Mapping[Node, str]) -> Node | None:
        """Return the formula of the last step's spike, in terms of the state before; None if it is none."""
        states = {after: self._before(name) for name, after in self.after.items()}

        def shift(node: Node) -> Node | None:
            if node in states:
                return states[node]
            if node.is_number:
                return node
            args = [shift(arg) for arg in node.args]
            if not args or None in args:
                return None
            return self.graph.make(node.op, *(arg for arg in args if arg is not None), name=node.name)

        return shift(self.y) if self.y.op == "spike" else None


def _in_order(lines: Mapping[str, Node], names: Collection[str]) -> list[str]:
    """Return names in an order in which each stands behind those it needs."""
    found: list[str] = []

    def add(name: str) -> None:
        if name in found:
            return
        for node in _all_nodes([lines[name]]):
            if node.op == "now" and node.name in lines and node.name != name:
                add(node.name)
        found.append(name)

    for name in names:
        add(name)
    return found


def _all_nodes(roots: Any) -> list[Node]:
    """Return all nodes of formulas, arguments before what uses them."""
    found: dict[Node, None] = {}

    def add(node: Node) -> None:
        if node not in found:
            for arg in node.args:
                add(arg)
            found[node] = None

    for root in roots:
        add(root)
    return list(found)


def _is_driven(node: Node) -> bool:
    """Return whether a value depends on the input of its step."""
    return any(each.op == "x" for each in _all_nodes([node]))


def _size(node: Node, named: Collection[Node]) -> int:
    """Return the number of operations of a formula with a value per neuron, as it is written."""
    inner = sum(0 if arg in named else _size(arg, named) for arg in node.args)
    return 0 if not node.args or node.is_number else 1 + inner
