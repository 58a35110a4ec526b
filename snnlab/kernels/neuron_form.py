"""A neuron's form: its step as expressions, with the numbers and the first states of its neurons, and its plain run.

What runs without PyTorch, such as a stream or an export, is rendered from it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from snnlab.compiled import compiled
from snnlab.kernels.runtime import exp_
from snnlab.kernels.trace import Node, StepGraph, is_literal, number_name
from snnlab.kernels.trace_cache import TracedStep, UntraceableStep, trace_step
from snnlab.kernels.trace_check import check_step

Arrays = Mapping[str, np.ndarray]


class NeuronForm(NamedTuple):
    """A layer of neurons in evaluation, in single precision.

    Attributes:
        title: The neuron's name, an identifier.
        step: One step as expressions.
        numbers: The numbers of the expressions, by the name of the argument.
        start: The states before the first step.
        spiking: Whether its output are numbers of spikes.

    Shape:
        numbers: `[]` for all neurons, `[C, 1, 1]`, or `[C, H, W]`; start: `[C, H, W]`.
    """

    title: str
    step: StepGraph
    numbers: dict[str, np.ndarray]
    start: dict[str, np.ndarray]
    spiking: bool

    def text(self) -> str:
        """Return the step as lines, one for each expression that is read several times, each state and the output."""
        names = {node: name for name, node in self.step.numbers.items()} | {self.step.x: "x"}
        names |= {node: f"{name}[t-1]" for name, node in self.step.before.items()}
        roots = {f"{name}[t]": node for name, node in self.step.after.items()} | {"y[t]": self.step.y}
        return "\n".join(_text_lines(roots, names))

    @property
    def is_graded(self) -> bool:
        """Whether a neuron may have another output than 0 and 1."""
        return not self.step.binary

    @property
    def threshold(self) -> tuple[Node, Node] | None:
        """What a neuron compares for a spike, and with what; None if that is not all that decides."""
        y = self.step.y
        if y.op == "where" and y.args[0].op in ("ge", "gt") and y.args[0].args[0].op == "sub":
            return y.args[0].args[0].args[0], y.args[0].args[0].args[1]
        if y.op in ("trunc", "floor") and y.args[0].op == "div" and y.args[0].args[0].op == "where":
            return y.args[0].args[0].args[2], y.args[0].args[1]
        return None

    def value(self, node: Node, x: np.ndarray, before: Arrays) -> np.ndarray:
        """Return the value of an expression in a step, as in `run`."""
        return _evaluate(self.step, [node], x, before, self.numbers)[0]

    def run(self, x: np.ndarray, before: Arrays) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Return the output of one step and the states after it, expression by expression.

        Shape:
            x, before: `[C, H, W]`; returns the same.
        """
        return run_step(self.step, x, before, self.numbers)


def trace_form(step: Callable[..., Any], state: Any, k: Any) -> TracedStep | UntraceableStep:
    """Return a step as traced for evaluation in single precision; one of a user is compared with the plain loop first.

    Args:
        step: `step(x, state, k) -> (y, state)`.
        state: The state before the first step.
        k: Coefficients; tensors in single precision.
    """
    found = trace_step(step, state, k, frozenset(), dtype=torch.float32, grad=False)
    if isinstance(found, UntraceableStep) or not found.unchecked:
        return found

    def run(x: Tensor, state: Any, k: Any) -> tuple[Tensor, Any]:
        numbers = {name: np.asarray(value, np.float32) for name, value in _detached(found.numbers(k)).items()}
        values, outputs = _detached(state._asdict()), []
        for x_t in x.detach().numpy():
            y, values = run_step(found.step, x_t, values, numbers)
            outputs.append(torch.from_numpy(y))
        return torch.stack(outputs), type(state)(**{name: torch.from_numpy(part) for name, part in values.items()})

    return check_step(run, found, step, state, k)


def _detached(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: part.detach().numpy() if isinstance(part, Tensor) else part for name, part in values.items()}


def run_step(step: StepGraph, x: np.ndarray, before: Arrays, numbers: Arrays) -> tuple[np.ndarray, dict[str, Any]]:
    """Return the output of a step and the states after it, float32; each operation is rounded by itself."""
    y, *after = _evaluate(step, [step.y, *step.after.values()], x, before, numbers)
    return y, dict(zip(step.after, after, strict=True))


def _evaluate(
    step: StepGraph, roots: Sequence[Node], x: np.ndarray, before: Arrays, numbers: Arrays
) -> list[np.ndarray]:
    values: dict[Node, Any] = {step.x: x} | {node: before[name] for name, node in step.before.items()}

    def value(node: Node) -> Any:
        if node not in values:
            if is_literal(node):
                values[node] = np.float32(node.name)
            elif node.is_number:
                values[node] = numbers[number_name(node)]
            else:
                values[node] = _OPERATIONS[node.op](*map(value, node.args))
        return values[node]

    with np.errstate(all="ignore"):
        return [_like(value(root), x) for root in roots]


def _like(part: Any, x: np.ndarray) -> np.ndarray:
    return np.array(np.broadcast_to(part, x.shape), np.float32, order="C")


_SIGNS = {
    **{"add": "+", "sub": "-", "mul": "*", "div": "/", "and": "and", "or": "or"},
    **{"ge": ">=", "gt": ">", "le": "<=", "lt": "<", "eq": "==", "ne": "!="},
}


def _text_lines(roots: Mapping[str, Node], names: dict[Node, str]) -> Iterator[str]:
    uses = Counter(roots.values())
    seen, stack = set[Node](), list(roots.values())
    while stack:
        node = stack.pop()
        if node not in seen and node not in names:
            seen.add(node)
            uses.update(node.args)
            stack.extend(node.args)
    number = 0
    for node in sorted(seen, key=lambda node: node.at):
        args = [names[arg] for arg in node.args]
        if is_literal(node):
            names[node] = f"{node.name:g}"
        elif node.op in _SIGNS:
            names[node] = f"({args[0]} {_SIGNS[node.op]} {args[1]})"
        else:
            names[node] = args[0] if node.op == "fill" else f"{node.op}({', '.join(args)})"
        if uses[node] > 1 and node.args:
            number += 1
            yield f"e{number} = {names[node]}"
            names[node] = f"e{number}"
    yield from (f"{name} = {names[node]}" for name, node in roots.items())


@compiled(nogil=True, error_model="numpy")
def _exp_all(values: Any) -> None:
    for n in range(values.size):
        values[n] = exp_(values[n])


def _exp(x: np.ndarray) -> np.ndarray:
    """Return e^x as the rendered loops compute it."""
    found = np.array(x, np.float32, ndmin=1, order="C")
    _exp_all(found.reshape(-1))
    return found.reshape(np.shape(x))


_OPERATIONS: dict[str, Callable[..., Any]] = {
    **{"add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "neg": np.negative, "abs": np.abs},
    **{"exp": _exp, "sqrt": np.sqrt, "trunc": np.trunc, "floor": np.floor, "where": np.where, "fill": np.positive},
    **{"ge": np.greater_equal, "gt": np.greater, "le": np.less_equal, "lt": np.less, "eq": np.equal},
    **{"ne": np.not_equal, "and": np.logical_and, "or": np.logical_or, "not": np.logical_not},
}
