"""A neuron's step as expressions, its derivative in reverse mode, and what that needs of the forward pass.

`step(x, state, k)` is called with symbols in place of tensors. Python's own branches are decided during the call, so
one dialect remains, as arithmetic without branches. A float or tensor of k is a number; what a step computes of numbers
alone is computed once a forward, outside the loops, by the operations that the plain loop would use.
"""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

# Arrays up to which the fewest that suffice are searched for, and combinations up to which one number of them is.
_MOST_KEPT, _MOST_TRIED = 4, 20_000

COMPARISONS = ("ge", "gt", "le", "lt", "eq", "ne", "and", "or", "not")
_OF_NUMBERS: dict[str, Callable[..., Any]] = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "div": operator.truediv,
    "neg": operator.neg,
    "detach": lambda value: value.detach() if isinstance(value, Tensor) else value,
}
_NUMBERS = ("const", "number", "tensor")
_LEAVES = (*_NUMBERS, "x", "state", "arriving")
# Whose results are torch's, bit for bit: a test runs each of them. What a surrogate's derivative does is not asked.
EXACT = frozenset({*_OF_NUMBERS, *COMPARISONS, *_LEAVES, "abs", "trunc", "floor", "where", "given"})


class UntraceableError(Exception):
    """A step does something that no loop can be made of; says what."""


class Node:
    """A value of one neuron at one step, or a number of all steps; equal ones are one object."""

    __slots__ = ("args", "at", "name", "of_floats", "of_numbers", "op")

    def __init__(self, at: int, op: str, args: tuple[Node, ...], name: Any) -> None:
        self.at, self.op, self.args, self.name = at, op, args, name
        self.of_numbers = op in _NUMBERS or (op in _OF_NUMBERS and all(arg.of_numbers for arg in args))
        self.of_floats = op in _NUMBERS[:2] or (op in _OF_NUMBERS and all(arg.of_floats for arg in args))

    def __repr__(self) -> str:
        return f"{self.at}={self.op}({', '.join(str(arg.at) for arg in self.args)}){self.name or ''}"


class Graph:
    """Expressions, each there once."""

    def __init__(self) -> None:
        self.nodes: dict[tuple[Any, ...], Node] = {}

    def make(self, op: str, *args: Node, name: Any = None) -> Node:
        """Return the node of an operation."""
        key = (op, repr(name) if isinstance(name, float) else name, *(arg.at for arg in args))
        if key not in self.nodes:
            self.nodes[key] = Node(len(self.nodes), op, args, name)
        return self.nodes[key]

    def const(self, value: float) -> Node:
        """Return the node of a finite number."""
        if not math.isfinite(value):
            raise UntraceableError(f"the number {value}")
        return self.make("const", name=float(value))

    def times(self, one: Node, other: Node) -> Node:
        """Return a product, without factors of one."""
        for factor, rest in ((one, other), (other, one)):
            if factor.op == "const" and factor.name == 1.0:
                return rest
        return self.make("mul", one, other)

    def either(self, condition: Node, one: Node, other: Node) -> Node:
        """Return one of two values."""
        return self.make("where", condition, one, other)


def _operation(op: str, swapped: bool = False) -> Any:
    """Return a method that makes the node of an operation on itself, and on another one if there is one."""

    def method(self: Symbol, *others: Any) -> Symbol:
        nodes = [self.value, *map(self._number, others)]
        return self._made(op, *(reversed(nodes) if swapped else nodes))

    return method


def _logical(op: str) -> Any:
    def method(self: Symbol, *others: Any) -> Symbol:
        if not all(isinstance(each, Symbol) and each.is_condition for each in (self, *others)):
            raise UntraceableError("a logical operation on numbers")
        return self._made(op, self.node, *(each.node for each in others))

    return method


def _refused(what: str) -> Any:
    def method(self: Symbol, *_: Any, **__: Any) -> Any:
        raise UntraceableError(what)

    return method


class Symbol:
    """What a step sees in place of a tensor."""

    __array_ufunc__ = None  # numpy's numbers leave their operations to it

    def __init__(self, graph: Graph, node: Node) -> None:
        self.graph, self.node = graph, node

    @property
    def value(self) -> Node:
        """The node as a number: of a condition 1 or 0."""
        graph = self.graph
        return graph.either(self.node, graph.const(1.0), graph.const(0.0)) if self.is_condition else self.node

    @property
    def is_condition(self) -> bool:
        """Whether it is true or false, and not a number."""
        return self.node.op in COMPARISONS

    @property
    def dtype(self) -> _SameDtype | torch.dtype:
        """The precision: that of the input, whatever that is."""
        return torch.bool if self.is_condition else _SAME_DTYPE

    def _made(self, op: str, *nodes: Node) -> Symbol:
        return Symbol(self.graph, self.graph.make(op, *nodes))

    def _number(self, other: Any) -> Node:
        if isinstance(other, Symbol):
            return other.value
        if isinstance(other, Tensor):
            raise UntraceableError("a tensor that is neither input, state nor coefficient")
        if isinstance(other, bool | int | float | np.number):
            return self.graph.const(float(other))
        raise UntraceableError(f"an operation with a {type(other).__name__}")

    __add__, __radd__ = _operation("add"), _operation("add", True)
    __sub__, __rsub__ = _operation("sub"), _operation("sub", True)
    __mul__, __rmul__ = _operation("mul"), _operation("mul", True)
    __ge__, __gt__, __le__, __lt__ = _operation("ge"), _operation("gt"), _operation("le"), _operation("lt")
    __eq__, __ne__, __neg__ = _operation("eq"), _operation("ne"), _operation("neg")
    __and__, __or__, __invert__ = _logical("and"), _logical("or"), _logical("not")
    abs, exp, sqrt = _operation("abs"), _operation("exp"), _operation("sqrt")
    trunc, floor, detach = _operation("trunc"), _operation("floor"), _operation("detach")
    __hash__ = None  # type: ignore[assignment]
    __bool__ = _refused("a branch on a value")
    __float__ = __int__ = __index__ = item = tolist = _refused("a look at a value, as .item() is")
    __len__ = __iter__ = __getitem__ = __setitem__ = _refused("a look at single neurons")
    __iadd__ = __isub__ = __imul__ = __itruediv__ = __iand__ = __ior__ = _refused("an operation in place")

    def __truediv__(self, other: Any) -> Symbol:
        one, other = self.value, self._number(other)
        if one.of_floats and not other.of_numbers:  # as torch divides what is no tensor
            return Symbol(self.graph, self.graph.times(self.graph.make("div", self.graph.const(1.0), other), one))
        return self._made("div", one, other)

    def __rtruediv__(self, other: Any) -> Symbol:
        return Symbol(self.graph, self._number(other)) / self

    def __pow__(self, power: Any) -> Symbol:
        if power != 2:
            raise UntraceableError(f"a power of {power}")
        return self.square()

    def square(self) -> Symbol:
        return self * self

    def reciprocal(self) -> Symbol:
        return 1.0 / self

    def rsqrt(self) -> Symbol:
        return 1.0 / self.sqrt()

    def sigmoid(self) -> Symbol:
        return 1.0 / (1.0 + (-self).exp())

    def sign(self) -> Symbol:
        return _where(self > 0.0, 1.0, _where(self < 0.0, -1.0, 0.0))

    def relu(self) -> Symbol:
        return _where(self <= 0.0, 0.0, self)

    def clamp(self, min: float | None = None, max: float | None = None) -> Symbol:
        low = self if min is None else _where(self < min, min, self)
        return low if max is None else _where(low > max, max, low)

    def clone(self) -> Symbol:
        return self

    def to(self, dtype: Any) -> Symbol:
        if dtype is not _SAME_DTYPE and not self.is_condition:
            raise UntraceableError("another precision")
        return Symbol(self.graph, self.value)

    def float(self) -> Symbol:
        return self.to(torch.float32)

    def double(self) -> Symbol:
        return self.to(torch.float64)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise UntraceableError("an operation in place" if name.endswith("_") else f".{name} of a value")

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", str(func))
        first = next((arg for arg in args if isinstance(arg, Symbol)), None)
        if any(isinstance(arg, Tensor) for arg in args):
            raise UntraceableError("a tensor that is neither input, state nor coefficient")
        if first is None or name not in _FUNCTIONS:
            raise UntraceableError(f"torch's {name}")
        return _FUNCTIONS[name](*args, **(kwargs or {}))


class _SameDtype:
    """The precision of the input, of which a step needs no more than that it stays."""


_SAME_DTYPE = _SameDtype()


def _where(condition: Any, one: Any, other: Any) -> Symbol:
    if not (isinstance(condition, Symbol) and condition.is_condition):
        raise UntraceableError("torch's where without a comparison")
    return condition._made("where", condition.node, condition._number(one), condition._number(other))


def _full_like(like: Symbol, value: Any) -> Symbol:
    return Symbol(like.graph, like._number(value))


_METHODS = ["abs", "exp", "sqrt", "trunc", "floor", "square", "reciprocal", "rsqrt", "sigmoid", "sign", "relu", "clamp"]
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{name: getattr(Symbol, name) for name in (*_METHODS, "detach", "clone")},
    **{"add": operator.add, "sub": operator.sub, "mul": operator.mul, "div": operator.truediv, "neg": operator.neg},
    **{"ge": operator.ge, "gt": operator.gt, "le": operator.le, "lt": operator.lt},
    "where": _where,
    "full_like": _full_like,
    "zeros_like": partial(_full_like, value=0.0),
    "ones_like": partial(_full_like, value=1.0),
}


class _WithSlope(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(at: Tensor, value: Callable[[Tensor], Tensor], slope: Callable[[Tensor], Tensor]) -> Tensor:
        return value(at)

    # Apart from `forward`, as the transforms of torch.func want it.
    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        at, _, ctx.slope = inputs
        ctx.save_for_backward(at)
        ctx.save_for_forward(at)

    # Written in differentiable operations, so that a second derivative is that of the slope.
    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (at,) = ctx.saved_tensors
        return grads[0] * ctx.slope(at), None, None


# A class of its own, since torch.compile takes no function with a derivative forward.
class _WithSlopeForward(_WithSlope):
    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Tensor:
        (at,) = ctx.saved_tensors
        return tangents[0] * ctx.slope(at)


def with_slope(value: Callable[[Any], Any], at: Any, slope: Callable[[Any], Any]) -> Any:
    """Return `value(at)`, whose derivative is taken to be `slope(at)`: a spike and its surrogate gradient.

    Both are called with a tensor, or with a symbol where a step is traced; gradients flow through `at` alone.
    """
    if not isinstance(at, Symbol):
        return (_WithSlope if torch.compiler.is_compiling() else _WithSlopeForward).apply(at, value, slope)
    of, along = value(at), slope(at)
    along = along.value if isinstance(along, Symbol) else at.graph.const(along)
    return at._made("given", of.value, at.value, along)


class Step(NamedTuple):
    """One step of a neuron and its adjoint.

    Attributes:
        x: The input.
        y: The output.
        before: State before the step, by name.
        after: State after it, by name.
        numbers: What the loops are given of numbers, by the name of its argument.
        to: Gradients of x, of the state before ("g_v") and of wanted numbers ("d_a"); empty without a backward pass.
        arriving: Gradients that arrive at y and at the state after, by name.
        keep: What is kept of each step for the way back.
        carried: States before a step that follow from what is kept of the step before it.
        exact: Whether outputs and states are those of torch's operations, bit for bit.
        binary: Whether outputs are 0 and 1 only.
    """

    x: Node
    y: Node
    before: dict[str, Node]
    after: dict[str, Node]
    numbers: dict[str, Node]
    to: dict[str, Node]
    arriving: dict[str, Node]
    keep: list[Node]
    carried: list[str]
    exact: bool
    binary: bool


def trace(
    step: Callable[..., Any],
    make_state: Any,
    k: Callable[[Callable[[str, bool], Symbol]], Any],
    wanted: Collection[str],
    *,
    grad: bool,
    keep_y: bool = False,
) -> Step:
    """Return a step as expressions, with its adjoint.

    Args:
        step: `step(x, state, k) -> (y, state)`.
        make_state: The type of the state, a NamedTuple.
        k: Makes the coefficients, of what it is given for a number's name and whether it is a tensor.
        wanted: Numbers of k of which gradients are asked.
        grad: Whether there is a backward pass.
        keep_y: Whether that needs the output too.

    Raises:
        UntraceableError: if the step does something of which no loop can be made.
    """
    graph, names = Graph(), make_state._fields
    x = graph.make("x", name="x")
    before = {name: graph.make("state", name=name) for name in names}
    y, after = step(
        Symbol(graph, x),
        make_state(*(Symbol(graph, node) for node in before.values())),
        k(lambda name, is_tensor: Symbol(graph, graph.make("tensor" if is_tensor else "number", name=name))),
    )
    if not isinstance(after, make_state) or len(after) != len(names):
        raise UntraceableError(f"a state after the step that is no {make_state.__name__}")
    outputs = dict(zip(("y", *names), (_result(part) for part in (y, *after)), strict=True))
    values = _values(graph)
    plain = {name: values[node] for name, node in outputs.items()}
    y, after = plain["y"], {name: plain[name] for name in names}
    forward = _reached(plain.values())
    exact = all(node.op in EXACT for node in forward)
    binary = y.op == "where" and all(arg.op == "const" and arg.name in (0.0, 1.0) for arg in y.args[1:])
    if not grad:
        return Step(x, y, before, after, _numbers(plain.values()), {}, {}, [], [], exact, binary)
    last = len(graph.nodes)
    arriving = {name: graph.make("arriving", name=name) for name in outputs}
    bars: dict[Node, Node] = {}
    for name, node in outputs.items():
        bars[node] = arriving[name] if node not in bars else graph.make("add", bars[node], arriving[name])
    asked = {"x": x} | {f"g_{name}": node for name, node in before.items()}
    asked |= {f"d_{name}": node for name, node in _wanted(graph, wanted, outputs.values()).items()}
    found = _gradients(graph, bars, list(asked.values()), values)
    to = {name: found[node] for name, node in asked.items() if node in found}
    keep, carried = _kept(to | ({"y": y} if keep_y else {}), last, before, after, x)
    numbers = _numbers([*plain.values(), *to.values()])
    return Step(x, y, before, after, numbers, to, arriving, keep, carried, exact, binary)


def describe(step: Step) -> str:
    """Return a step as text, which is the same for the same arithmetic."""
    roots = {"y": step.y, **step.after, **step.to}
    nodes = sorted(_reached(roots.values()), key=lambda node: node.at)
    return f"{nodes} {[(name, node.at) for name, node in roots.items()]} {[node.at for node in step.keep]}"


def value_of(node: Node, given: Mapping[str, Any]) -> Any:
    """Return what a node of numbers is, computed as the plain loop would."""
    if node.op in _NUMBERS:
        return node.name if node.op == "const" else given[node.name]
    return _OF_NUMBERS[node.op](*(value_of(arg, given) for arg in node.args))


def _result(part: Any) -> Node:
    if not isinstance(part, Symbol) or part.is_condition:
        raise UntraceableError("an output or state that is no number for each neuron")
    return part.node


def _values(graph: Graph) -> dict[Node, Node]:
    """Return for each node the same without what says of derivatives alone; of numbers, what is detached stays so."""
    values: dict[Node, Node] = {}
    for node in list(graph.nodes.values()):  # arguments come before what is made of them
        if node.of_numbers:
            values[node] = node
        elif node.op in ("given", "detach"):
            values[node] = values[node.args[0]]
        else:
            args = [values[arg] for arg in node.args]
            values[node] = graph.make(node.op, *args, name=node.name)
            values[values[node]] = values[node]
    return values


def _reached(roots: Iterable[Node], known: Collection[Node] = ()) -> set[Node]:
    """Return the nodes from which some are made, without those behind what is known, nor behind numbers."""
    seen: set[Node] = set()
    stack = list(roots)
    while stack:
        node = stack.pop()
        if node not in seen and node not in known:
            seen.add(node)
            stack.extend(() if node.of_numbers else node.args)
    return seen


def number_name(node: Node) -> str:
    """Return the name of what the loops are given of numbers: that of the coefficient, or one of its own."""
    return f"k_{node.name}" if node.op in _NUMBERS[1:] else f"n_{node.at}"


def is_literal(node: Node) -> bool:
    """Return whether a number stands in the text: all but 0 and 1 are given, so that the text is that of others too."""
    return node.op == "const" and node.name in (0.0, 1.0)


def _numbers(roots: Iterable[Node]) -> dict[str, Node]:
    nodes = sorted(_reached(roots), key=lambda node: node.at)
    return {number_name(node): node for node in nodes if node.of_numbers and not is_literal(node)}


def _wanted(graph: Graph, wanted: Collection[str], roots: Iterable[Node]) -> dict[str, Node]:
    """Return the numbers that the loops are given and that depend on coefficients whose gradients are asked."""

    def depends(node: Node) -> bool:
        if node.op == "detach":
            return False
        return (node.op == "tensor" and node.name in wanted) or any(map(depends, node.args))

    return {name: node for name, node in _numbers(roots).items() if depends(node)}


# -- The derivative in reverse mode -----------------------------------------------------------------------------------


def _gradients(
    graph: Graph, bars: Mapping[Node, Node], asked: Sequence[Node], values: Mapping[Node, Node]
) -> dict[Node, Node]:
    """Return what arrives at the nodes asked for, if anything does, where `bars` arrive at the outputs."""
    nodes = sorted(_reached(bars), key=lambda node: node.at)
    depending = set(asked)
    for node in nodes:
        through = node.args[1:2] if node.op == "given" else () if node.op == "detach" else node.args
        if not node.of_numbers and any(arg in depending for arg in through):
            depending.add(node)
    found = dict(bars)
    for node in reversed(nodes):
        if node not in depending or node not in found or node in asked:
            continue
        for arg, part in _rule(graph, node, found[node], values):
            if arg in depending:
                found[arg] = graph.make("add", found[arg], part) if arg in found else part
    return {node: found[node] for node in asked if node in found}


def _rule(graph: Graph, node: Node, bar: Node, values: Mapping[Node, Node]) -> Iterable[tuple[Node, Node]]:
    """Yield an operation's arguments with what of the gradient goes to each."""
    make, either, zero = graph.make, graph.either, graph.const(0.0)
    if not node.args:
        return
    a, b = node.args[0], node.args[min(1, len(node.args) - 1)]
    of_a, of_b, itself = values[a], values[b], values[node]
    if node.op in ("add", "sub"):
        yield from ((a, bar), (b, bar if node.op == "add" else make("neg", bar)))
    elif node.op == "mul":
        yield from ((a, graph.times(bar, of_b)), (b, graph.times(bar, of_a)))
    elif node.op == "div":
        yield from ((a, make("div", bar, of_b)), (b, make("neg", make("div", make("mul", bar, itself), of_b))))
    elif node.op == "neg":
        yield a, make("neg", bar)
    elif node.op == "abs":
        below = either(make("lt", of_a, zero), make("neg", bar), zero)
        yield a, either(make("gt", of_a, zero), bar, below)
    elif node.op == "exp":
        yield a, make("mul", bar, itself)
    elif node.op == "sqrt":
        yield a, make("div", bar, make("add", itself, itself))
    elif node.op == "where":
        yield from ((b, either(of_a, bar, zero)), (node.args[2], either(of_a, zero, bar)))
    elif node.op == "given":
        yield b, graph.times(bar, values[node.args[2]])


# -- What is kept -----------------------------------------------------------------------------------------------------


def _kept(
    to: Mapping[str, Node], last: int, before: Mapping[str, Node], after: Mapping[str, Node], x: Node
) -> tuple[list[Node], list[str]]:
    """Return the fewest values from which the adjoint follows, and which states before the step they carry."""
    needed = _reached(to.values())
    candidates = [node for node in needed if node.at < last and not node.of_numbers and node.op not in COMPARISONS]
    candidates.sort(key=lambda node: -node.at)
    for many in range(min(len(candidates), _MOST_KEPT) + 1):
        if math.comb(len(candidates), many) > _MOST_TRIED:
            break
        fits = []
        for chosen in itertools.combinations(candidates, many):
            carried = [
                name
                for name, node in before.items()
                if node in needed and node not in chosen and _follows([after[name]], chosen)
            ]
            known = [*chosen, *(before[name] for name in carried)]
            if _follows(to.values(), known):
                work = len(_reached(to.values(), chosen)) + 3 * len(carried) + (x in chosen)
                fits.append((work, [-node.at for node in chosen], list(chosen), carried))
        if fits:
            _, _, keep, carried = min(fits, key=lambda fit: fit[:2])
            read = _reached(to.values(), keep)
            return keep, [name for name in carried if before[name] in read]
    inputs = [x, *before.values()]
    return [node for node in inputs if node in needed], []


def _follows(roots: Iterable[Node], known: Sequence[Node]) -> bool:
    """Return whether values can be computed from what is known, from numbers and from what arrives."""
    return not any(node.op in ("x", "state") for node in _reached(roots, known))
