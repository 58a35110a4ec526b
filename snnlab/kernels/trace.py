"""The form of a neuron: its step as expressions, their derivative, and the values to save for the backward pass.

`step(x, state, k)` is called with symbols instead of tensors. Python's branches are taken during the call, so the
result is arithmetic without branches. A float or tensor of k is a number; an expression of numbers alone is computed
once per forward pass, outside the loops, with the operations of the plain loop.
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

# Limits of the search for the fewest values to save: their number, and the combinations of one number.
_MAX_SAVED, _MAX_COMBINATIONS = 4, 20_000

# What a node may be, by its operation; its arguments are other nodes.
OPERATIONS: dict[str, str] = {
    "x": "the input of the step",
    "state": "a state before the step, by its name",
    "const": "a number that stands in the step",
    "number": "a coefficient or setting that is a float, by its name",
    "tensor": "a coefficient that is a tensor, by its name: one value, or one per channel or neuron",
    "grad_output": "the incoming gradient of an output or of a state after the step, by its name",
    "add": "the sum of two",
    "sub": "the first minus the second",
    "mul": "the product of two",
    "div": "the first by the second",
    "neg": "the negative",
    "abs": "the magnitude",
    "exp": "the exponential function",
    "sqrt": "the square root",
    "trunc": "the whole number towards zero",
    "floor": "the next whole number below",
    **{"ge": ">=", "gt": ">", "le": "<=", "lt": "<", "eq": "==", "ne": "!="},
    **{"and": "both conditions", "or": "one of two conditions, or both", "not": "the opposite of a condition"},
    "where": "the second where the first, a condition, is true, else the third",
    "fill": "a number for each neuron",
    "with_slope": "the first, with the third as its derivative to the second; in traces only, not in a form",
    "detach": "the same without a gradient; in a form of numbers only",
}
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
_LEAVES = (*_NUMBERS, "x", "state", "grad_output")
# Operations with the same results as torch, bit for bit: a test runs each. The slope of a surrogate need not be exact.
EXACT = frozenset({*_OF_NUMBERS, *COMPARISONS, *_LEAVES, "abs", "trunc", "floor", "where", "fill", "with_slope"})


class UntraceableError(Exception):
    """A step has an operation that no loop can render; the message names it."""


class Node:
    """An expression: a value of one neuron at one step, or a number that is the same at all steps.

    Attributes:
        at: Its number in its graph; arguments have smaller ones.
        op: Its operation, one of `OPERATIONS`.
        args: Its arguments.
        name: Name of an input, value of a constant, else None.
        is_number: Whether it is the same at all steps.
        is_float: Whether it is a float and no tensor.
    """

    __slots__ = ("args", "at", "is_float", "is_number", "name", "op")

    def __init__(self, at: int, op: str, args: tuple[Node, ...], name: Any) -> None:
        self.at, self.op, self.args, self.name = at, op, args, name
        self.is_number = op in _NUMBERS or (op in _OF_NUMBERS and all(arg.is_number for arg in args))
        self.is_float = op in _NUMBERS[:2] or (op in _OF_NUMBERS and all(arg.is_float for arg in args))

    def __repr__(self) -> str:
        return f"{self.at}={self.op}({', '.join(str(arg.at) for arg in self.args)}){self.name or ''}"


class ExpressionGraph:
    """A set of expressions, in which equal ones are one node.

    Args:
        dtype: The dtype of input, state and coefficients, and so of all expressions but conditions.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self.nodes: dict[tuple[Any, ...], Node] = {}

    def make(self, op: str, *args: Node, name: Any = None) -> Node:
        """Return the node of an operation."""
        key = (op, repr(name) if isinstance(name, float) else name, *(arg.at for arg in args))
        if key not in self.nodes:
            self.nodes[key] = Node(len(self.nodes), op, args, name)
        return self.nodes[key]

    def const(self, value: float) -> Node:
        """Return the node of a finite constant."""
        if not math.isfinite(value):
            raise UntraceableError(f"the number {value}")
        return self.make("const", name=float(value))

    def multiply(self, one: Node, other: Node) -> Node:
        """Return the node of a product, without factors of 1."""
        for factor, rest in ((one, other), (other, one)):
            number = factor.args[0] if factor.op == "fill" else factor
            if number.op == "const" and number.name == 1.0:
                return rest
        return self.make("mul", one, other)

    def where(self, condition: Node, one: Node, other: Node) -> Node:
        """Return the node that selects one of two values by a condition."""
        return self.make("where", condition, one, other)


def _operation(op: str, swapped: bool = False) -> Any:
    """Return a method that makes the node of an operation on the symbol and its arguments."""

    def method(self: Symbol, *others: Any) -> Symbol:
        self.require_dtype(op, *others)
        nodes = [self.value, *map(self._to_node, others)]
        return self._apply(op, *(reversed(nodes) if swapped else nodes))

    return method


def _logical(op: str) -> Any:
    """Return a method of `Symbol` that traces a logical operation."""

    def method(self: Symbol, *others: Any) -> Symbol:
        if not all(isinstance(each, Symbol) and each.is_condition for each in (self, *others)):
            raise UntraceableError("a logical operation on numbers")
        return self._apply(op, self.node, *(each.node for each in others))

    return method


def _untraceable(operation: str) -> Any:
    """Return a method of `Symbol` that refuses an operation."""

    def method(self: Symbol, *_: Any, **__: Any) -> Any:
        raise UntraceableError(operation)

    return method


class Symbol:
    """A stand-in for a tensor, or for a number of the coefficients, during tracing: operations on it make nodes."""

    __slots__ = ("graph", "node")
    __array_ufunc__ = None  # so that operations of NumPy scalars call the methods of Symbol

    def __init__(self, graph: ExpressionGraph, node: Node) -> None:
        self.graph, self.node = graph, node

    @property
    def value(self) -> Node:
        """The node as a number: 1 or 0 for a condition."""
        graph = self.graph
        return graph.where(self.node, graph.const(1.0), graph.const(0.0)) if self.is_condition else self.node

    @property
    def is_condition(self) -> bool:
        """Whether the value is a boolean."""
        return self.node.op in COMPARISONS

    @property
    def is_float(self) -> bool:
        """Whether it stands for a float, not for a tensor."""
        return self.node.is_number and self.node.is_float

    @property
    def dtype(self) -> torch.dtype:
        """The dtype: that of the input, or bool."""
        return torch.bool if self.is_condition else self.graph.dtype

    def require_dtype(self, op: str, *others: Any) -> None:
        """Refuse an operation whose result torch gives in another dtype than that of the input."""
        parts = [self, *others]
        if op in COMPARISONS and all(
            isinstance(part, (int, float)) or getattr(part, "is_float", False) for part in parts
        ):
            raise UntraceableError("a comparison of numbers")  # of Python's floats, in double precision
        of_conditions = [isinstance(part, Symbol) and part.is_condition for part in parts]
        if not any(of_conditions):
            return
        if op not in ("add", "mul") or all(of_conditions):
            raise UntraceableError("an operation on conditions; write c.to(x.dtype)")
        if not all(
            map(self._has_dtype, (part for part, is_one in zip(parts, of_conditions, strict=True) if not is_one))
        ):
            raise UntraceableError("a condition and a number, which have torch's default dtype; write c.to(x.dtype)")

    def _has_dtype(self, part: Any) -> bool:
        """Return whether torch computes a part and a condition in the dtype of the input."""
        if isinstance(part, Symbol) and not part.is_float:
            return not part.is_condition
        is_float = isinstance(part, (float, Symbol))
        return is_float and self.graph.dtype == torch.get_default_dtype()

    def _apply(self, op: str, *nodes: Node) -> Symbol:
        return Symbol(self.graph, self.graph.make(op, *nodes))

    def _to_node(self, other: Any) -> Node:
        if isinstance(other, Symbol):
            return other.value
        if isinstance(other, Tensor):
            raise UntraceableError("a tensor that is neither input, state nor coefficient")
        if isinstance(other, np.generic):
            if self.is_float or other.dtype.kind not in "bif" or other.dtype.itemsize > 8:
                raise UntraceableError("arithmetic of NumPy's numbers")  # in a precision of its own
            other = other.item()
        if isinstance(other, (int, float)):
            if isinstance(other, int) and abs(other) > 2**53:
                raise UntraceableError("a whole number above 2^53")
            return self.graph.const(float(other))
        raise UntraceableError(f"an operation with {other}")  # a stand-in names its place

    __add__, __radd__ = _operation("add"), _operation("add", True)
    __sub__, __rsub__ = _operation("sub"), _operation("sub", True)
    __mul__, __rmul__ = _operation("mul"), _operation("mul", True)
    __ge__, __gt__, __le__, __lt__ = _operation("ge"), _operation("gt"), _operation("le"), _operation("lt")
    __eq__, __ne__, __neg__ = _operation("eq"), _operation("ne"), _operation("neg")
    __and__, __or__, __invert__ = _logical("and"), _logical("or"), _logical("not")
    abs, exp, sqrt = _operation("abs"), _operation("exp"), _operation("sqrt")
    trunc, floor = _operation("trunc"), _operation("floor")
    __hash__ = None  # type: ignore[assignment]
    __bool__ = _untraceable("a branch on a value")
    __float__ = __int__ = __index__ = item = tolist = _untraceable("a read of a value, such as .item()")
    __len__ = __iter__ = __getitem__ = __setitem__ = __contains__ = _untraceable("indexing of neurons")
    __str__ = __format__ = _untraceable("a value as text")
    __iadd__ = __isub__ = __imul__ = __itruediv__ = __iand__ = __ior__ = _untraceable("an operation in place")

    def __truediv__(self, other: Any) -> Symbol:
        self.require_dtype("div", other)
        one, other = self.value, self._to_node(other)
        if one.is_float and not other.is_number:  # torch divides a Python float by a tensor in this way
            return Symbol(self.graph, self.graph.multiply(self.graph.make("div", self.graph.const(1.0), other), one))
        return self._apply("div", one, other)

    def __rtruediv__(self, other: Any) -> Symbol:
        return Symbol(self.graph, self._to_node(other)) / self

    def __pow__(self, power: Any) -> Symbol:
        if self.is_float or power != 2:
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
        return _select(self > 0.0, 1.0, _select(self < 0.0, -1.0, 0.0))

    def relu(self) -> Symbol:
        return _select(self <= 0.0, 0.0, self)

    def clamp(self, min: float | None = None, max: float | None = None) -> Symbol:
        low = self if min is None else _select(self < min, min, self)
        return low if max is None else _select(low > max, max, low)

    def detach(self) -> Symbol:
        return self if self.is_condition else self._apply("detach", self.node)

    def clone(self) -> Symbol:
        return self

    def to(self, dtype: Any) -> Symbol:
        if dtype is not self.graph.dtype:
            raise UntraceableError(f"another precision than that of the input, {self.graph.dtype}")
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
        if first is None or name not in TORCH_FUNCTIONS:
            raise UntraceableError(f"torch's {name}")
        return TORCH_FUNCTIONS[name](*args, **(kwargs or {}))


def _where(condition: Any, one: Any, other: Any) -> Symbol:
    if not (isinstance(condition, Symbol) and condition.is_condition):
        raise UntraceableError("torch's where without a comparison")
    has_tensor = any(isinstance(part, Symbol) and not part.is_condition and not part.is_float for part in (one, other))
    if not has_tensor and not all(map(condition._has_dtype, (one, other))):
        raise UntraceableError("a choice of two numbers, which have torch's default dtype; write c.to(x.dtype)")
    return _select(condition, one, other)


def _select(condition: Symbol, one: Any, other: Any) -> Symbol:
    """Return one of two values by a condition, in the dtype of the input."""
    return condition._apply("where", condition.node, condition._to_node(one), condition._to_node(other))


def _full_like(like: Symbol, value: Any) -> Symbol:
    if like.is_condition:
        raise UntraceableError("a condition; write c.to(x.dtype)")
    return like._apply("fill", like._to_node(value))


_METHODS = ["abs", "exp", "sqrt", "trunc", "floor", "square", "reciprocal", "rsqrt", "sigmoid", "sign", "relu", "clamp"]
TORCH_FUNCTIONS: dict[str, Callable[..., Any]] = {
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

    # Separate from `forward`, as the transforms of torch.func require.
    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        at, _, ctx.slope = inputs
        ctx.save_for_backward(at)
        ctx.save_for_forward(at)

    # In differentiable operations, so that the second derivative is that of the slope.
    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (at,) = ctx.saved_tensors
        return grads[0] * ctx.slope(at), None, None


# A separate class, because torch.compile supports no function with a `jvp`.
class _WithSlopeForward(_WithSlope):
    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Tensor:
        (at,) = ctx.saved_tensors
        return tangents[0] * ctx.slope(at)


def with_slope(value: Callable[[Any], Any], at: Any, slope: Callable[[Any], Any]) -> Any:
    """Return `value(at)` with the derivative `slope(at)`: a spike and its surrogate gradient.

    Both functions get a tensor, or a symbol while a step is traced; gradients flow through `at` only.
    """
    if not isinstance(at, Symbol):
        return (_WithSlope if torch.compiler.is_compiling() else _WithSlopeForward).apply(at, value, slope)
    y, gradient = value(at), slope(at)
    if not isinstance(y, Symbol) or y.is_condition:
        raise UntraceableError("a value with a slope that is not in the dtype of the input")
    gradient = gradient.value if isinstance(gradient, Symbol) else at.graph.const(gradient)
    return at._apply("with_slope", y.value, at.value, gradient)


def equals_constant(value: Any, number: float) -> bool:
    """Return whether a coefficient is a fixed `number`, 0 or 1, so that the step can skip an operation.

    These two are no symbols while a step is traced.
    """
    assert number in (0.0, 1.0)
    return isinstance(value, float) and value == number


class StepGraph(NamedTuple):
    """The form of a neuron: the expressions of one step, and of its backward step; `print` shows them line by line.

    Attributes:
        x: The input.
        y: The output.
        before: State before the step, by name.
        after: State after the step, by name.
        numbers: Numbers that the loops take as arguments, by the name of the argument.
        grads: Gradients of x, of the state before ("g_v") and of learned numbers ("d_a"); empty without a backward
            pass.
        grad_outputs: Incoming gradients of y and of the state after, by name.
        saved: Values of each step that are saved for the backward pass.
        recomputed: States before a step that are recomputed from the saved values of the previous step.
        exact: Whether outputs and states equal those of torch's operations, bit for bit.
        binary: Whether outputs are only 0 and 1.
    """

    x: Node
    y: Node
    before: dict[str, Node]
    after: dict[str, Node]
    numbers: dict[str, Node]
    grads: dict[str, Node]
    grad_outputs: dict[str, Node]
    saved: list[Node]
    recomputed: list[str]
    exact: bool
    binary: bool

    def __str__(self) -> str:
        roots = {"y": self.y, **{f"{name} after": node for name, node in self.after.items()}}
        roots |= {f"gradient of {name if name == 'x' else name[2:]}": node for name, node in self.grads.items()}
        computed, waiting = dict[int, Node](), list(roots.values())
        while waiting:
            node = waiting.pop()
            if node.args and node.at not in computed:
                computed[node.at] = node
                waiting += node.args
        lines = [
            f"{_node_text(node)} = {node.op}({', '.join(map(_node_text, node.args))})"
            for _, node in sorted(computed.items())
        ]
        lines += [f"{name} = {_node_text(node)}" for name, node in roots.items()]
        return "\n".join([*lines, f"saved: {', '.join(map(_node_text, self.saved))}"] if self.grads else lines)


def _node_text(node: Node) -> str:
    """Return a node as it stands in the text of a form: an input by its name, a constant, `t4` for the fourth node."""
    if node.op == "const":
        return f"{node.name:g}"
    if node.args:
        return f"t{node.at}"
    return f"gradient of {node.name}" if node.op == "grad_output" else node.name


def trace(
    step: Callable[..., Any],
    make_state: Any,
    k: Callable[[Callable[[str, bool], Symbol]], Any],
    learned: Collection[str],
    *,
    dtype: torch.dtype,
    grad: bool,
    save_y: bool = False,
) -> StepGraph:
    """Return the expressions of a step and of its backward step.

    Args:
        step: `step(x, state, k) -> (y, state)`.
        make_state: The type of the state, a NamedTuple.
        k: Builds the coefficients with a function that returns the symbol of a number, by its name and whether it is a
            tensor.
        learned: Names of the numbers of k that need gradients.
        dtype: The dtype of input, state and tensors of k.
        grad: Whether there is a backward pass.
        save_y: Whether the backward pass needs the output.

    Raises:
        UntraceableError: if the step has an operation that no loop can render.
    """
    graph, names = ExpressionGraph(dtype), make_state._fields
    x = graph.make("x", name="x")
    before = {name: graph.make("state", name=name) for name in names}
    y, after = step(
        Symbol(graph, x),
        make_state(*(Symbol(graph, node) for node in before.values())),
        k(lambda name, is_tensor: Symbol(graph, graph.make("tensor" if is_tensor else "number", name=name))),
    )
    if not isinstance(after, make_state) or len(after) != len(names):
        raise UntraceableError(f"a new state that is no {make_state.__name__}")
    outputs = dict(zip(("y", *names), (_output_node(part) for part in (y, *after)), strict=True))
    values = plain_values(graph)
    plain = {name: values[node] for name, node in outputs.items()}
    y, after = plain["y"], {name: plain[name] for name in names}
    forward = _ancestors(plain.values())
    exact = all(node.op in EXACT for node in forward)
    binary = y.op == "where" and all(arg.op == "const" and arg.name in (0.0, 1.0) for arg in y.args[1:])
    if not grad:
        return StepGraph(x, y, before, after, _numbers_of(plain.values()), {}, {}, [], [], exact, binary)
    last = len(graph.nodes)
    grad_outputs = {name: graph.make("grad_output", name=name) for name in outputs}
    incoming: dict[Node, Node] = {}
    for name, node in outputs.items():
        gradient = grad_outputs[name]
        incoming[node] = gradient if node not in incoming else graph.make("add", incoming[node], gradient)
    inputs = {"x": x} | {f"g_{name}": node for name, node in before.items()}
    inputs |= {f"d_{name}": node for name, node in _learned_numbers(graph, learned, outputs.values()).items()}
    found = _gradients(graph, incoming, list(inputs.values()), values)
    grads = {name: found[node] for name, node in inputs.items() if node in found}
    saved, recomputed = _choose_saved(grads | ({"y": y} if save_y else {}), last, before, after, x)
    numbers = _numbers_of([*plain.values(), *grads.values()])
    return StepGraph(x, y, before, after, numbers, grads, grad_outputs, saved, recomputed, exact, binary)


def value_of(node: Node, values: Mapping[str, Any]) -> Any:
    """Return the value of a node of numbers, computed with the operations of the plain loop."""
    if node.op in _NUMBERS:
        return node.name if node.op == "const" else values[node.name]
    return _OF_NUMBERS[node.op](*(value_of(arg, values) for arg in node.args))


def _output_node(part: Any) -> Node:
    if not isinstance(part, Symbol) or part.is_condition:
        raise UntraceableError("an output or state that is not one number per neuron")
    return part.node


def plain_values(graph: ExpressionGraph) -> dict[Node, Node]:
    """Return each node's value: without `with_slope` and `detach`, which affect derivatives only, except on numbers."""
    values: dict[Node, Node] = {}
    for node in list(graph.nodes.values()):  # arguments come before the nodes that use them
        if node.is_number:
            values[node] = node
        elif node.op in ("with_slope", "detach"):
            values[node] = values[node.args[0]]
        else:
            args = [values[arg] for arg in node.args]
            values[node] = graph.make(node.op, *args, name=node.name)
            values[values[node]] = values[node]
    return values


def _ancestors(roots: Iterable[Node], known: Collection[Node] = ()) -> set[Node]:
    """Return the nodes that some depend on; the search stops at known nodes and at numbers."""
    seen: set[Node] = set()
    stack = list(roots)
    while stack:
        node = stack.pop()
        if node not in seen and node not in known:
            seen.add(node)
            stack.extend(() if node.is_number else node.args)
    return seen


def number_name(node: Node) -> str:
    """Return the argument name of a number: that of its coefficient, or a new one."""
    return f"k_{node.name}" if node.op in _NUMBERS[1:] else f"n_{node.at}"


def is_literal(node: Node) -> bool:
    """Return whether a number is a literal in the text: only 0 and 1 are, so that neurons share texts."""
    return node.op == "const" and node.name in (0.0, 1.0)


def _numbers_of(roots: Iterable[Node]) -> dict[str, Node]:
    nodes = sorted(_ancestors(roots), key=lambda node: node.at)
    return {number_name(node): node for node in nodes if node.is_number and not is_literal(node)}


def _learned_numbers(graph: ExpressionGraph, learned: Collection[str], roots: Iterable[Node]) -> dict[str, Node]:
    """Return the scalars of the loops, by name, whose value depends on a learned coefficient."""

    def is_learned(node: Node) -> bool:
        if node.op == "detach":
            return False
        return (node.op == "tensor" and node.name in learned) or any(map(is_learned, node.args))

    return {name: node for name, node in _numbers_of(roots).items() if is_learned(node)}


# -- The derivative in reverse mode -----------------------------------------------------------------------------------


def _gradients(
    graph: ExpressionGraph, incoming: Mapping[Node, Node], inputs: Sequence[Node], values: Mapping[Node, Node]
) -> dict[Node, Node]:
    """Return the gradients of some inputs that have one, from the gradients `incoming` of the outputs."""
    nodes = sorted(_ancestors(incoming), key=lambda node: node.at)
    depending = set(inputs)
    for node in nodes:
        through = node.args[1:2] if node.op == "with_slope" else () if node.op == "detach" else node.args
        if not node.is_number and any(arg in depending for arg in through):
            depending.add(node)
    found = dict(incoming)
    for node in reversed(nodes):
        if node not in depending or node not in found or node in inputs:
            continue
        for arg, part in _vjp(graph, node, found[node], values):
            if arg in depending:
                found[arg] = graph.make("add", found[arg], part) if arg in found else part
    return {node: found[node] for node in inputs if node in found}


def _vjp(graph: ExpressionGraph, node: Node, grad: Node, values: Mapping[Node, Node]) -> Iterable[tuple[Node, Node]]:
    """Yield each argument of an operation with its part of the gradient (the vector-Jacobian product)."""
    make, where, zero = graph.make, graph.where, graph.const(0.0)
    if not node.args:
        return
    a, b = node.args[0], node.args[min(1, len(node.args) - 1)]
    of_a, of_b, itself = values[a], values[b], values[node]
    if node.op in ("add", "sub"):
        yield from ((a, grad), (b, grad if node.op == "add" else make("neg", grad)))
    elif node.op == "mul":
        yield from ((a, graph.multiply(grad, of_b)), (b, graph.multiply(grad, of_a)))
    elif node.op == "div":
        yield from ((a, make("div", grad, of_b)), (b, make("neg", make("div", make("mul", grad, itself), of_b))))
    elif node.op == "neg":
        yield a, make("neg", grad)
    elif node.op == "abs":
        below = where(make("lt", of_a, zero), make("neg", grad), zero)
        yield a, where(make("gt", of_a, zero), grad, below)
    elif node.op == "exp":
        yield a, make("mul", grad, itself)
    elif node.op == "sqrt":
        yield a, make("div", grad, make("add", itself, itself))
    elif node.op == "where":
        yield from ((b, where(of_a, grad, zero)), (node.args[2], where(of_a, zero, grad)))
    elif node.op == "with_slope":
        yield b, graph.multiply(grad, values[node.args[2]])


# -- The saved values -------------------------------------------------------------------------------------------------


def _choose_saved(
    grads: Mapping[str, Node], last: int, before: Mapping[str, Node], after: Mapping[str, Node], x: Node
) -> tuple[list[Node], list[str]]:
    """Return the fewest values that determine the backward step, and the states recomputed from them one step later."""
    needed = _ancestors(grads.values())
    candidates = [node for node in needed if node.at < last and not node.is_number and node.op not in COMPARISONS]
    candidates.sort(key=lambda node: -node.at)
    for count in range(min(len(candidates), _MAX_SAVED) + 1):
        if math.comb(len(candidates), count) > _MAX_COMBINATIONS:
            break
        fits = []
        for chosen in itertools.combinations(candidates, count):
            recomputed = [
                name
                for name, node in before.items()
                if node in needed and node not in chosen and _is_computable([after[name]], chosen)
            ]
            known = [*chosen, *(before[name] for name in recomputed)]
            if _is_computable(grads.values(), known):
                cost = len(_ancestors(grads.values(), chosen)) + 3 * len(recomputed) + (x in chosen)
                fits.append((cost, [-node.at for node in chosen], list(chosen), recomputed))
        if fits:
            _, _, saved, recomputed = min(fits, key=lambda fit: fit[:2])
            read = _ancestors(grads.values(), saved)
            return saved, [name for name in recomputed if before[name] in read]
    inputs = [x, *before.values()]
    return [node for node in inputs if node in needed], []


def _is_computable(roots: Iterable[Node], known: Sequence[Node]) -> bool:
    """Return whether values can be computed from known ones, numbers and incoming gradients."""
    return not any(node.op in ("x", "state") for node in _ancestors(roots, known))
