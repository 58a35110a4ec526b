"""The derivatives of a neuron's step, of output and state by input, state and numbers, as loops for CPUs or in PyTorch.

They are the derivatives of the backward step for one incoming gradient of 1 and zeros elsewhere, simplified, so that a
neuron has one derivative in the whole house.

Axes: T steps, B samples, then the layer's own; n neurons in the order of memory.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from snnlab.kernels.cpu import NUMBA
from snnlab.kernels.emit import LoopSource, LoopVariant, Writer, block, source
from snnlab.kernels.function import GROUP, valid_lengths
from snnlab.kernels.reference import valid_steps
from snnlab.kernels.runtime import CompiledLoop
from snnlab.kernels.trace import ExpressionGraph, Node, StepGraph
from snnlab.kernels.trace_cache import TracedStep
from snnlab.threads import share

OUTPUT, INPUT = "y", "x"
# A derivative: of the output or a state after the step, by the input, a state before it, or a number ("k_a").
Key = tuple[str, str]


class ForwardGraph(NamedTuple):
    """A step with its derivatives.

    Attributes:
        step: The expressions of the step, without a backward step.
        derivatives: The derivatives that are not 0.
    """

    step: StepGraph
    derivatives: dict[Key, Node]


def differentiate(step: StepGraph, dtype: torch.dtype) -> ForwardGraph:
    """Return a step with its derivatives.

    Args:
        step: The step, traced with its backward step.
        dtype: The dtype of input and state.
    """
    graph = ExpressionGraph(dtype)
    numbers = {node: graph.make("tensor", name=name) for name, node in step.numbers.items()}
    outputs = {OUTPUT: step.y, **step.after}

    def rebuild(root: Node, incoming: str | None) -> Node:
        done: dict[Node, Node] = {}
        stack = [root]
        while stack:
            node = stack[-1]
            waiting = (
                [] if node in numbers or node.op == "grad_output" else [one for one in node.args if one not in done]
            )
            if waiting:
                stack.extend(waiting)
                continue
            stack.pop()
            if node in numbers:
                done[node] = numbers[node]
            elif node.op == "grad_output":
                done[node] = graph.const(1.0 if node.name == incoming else 0.0)
            else:
                done[node] = _simplified(graph, node, [done[one] for one in node.args])
        return done[root]

    names = {INPUT: INPUT} | {f"g_{name}": name for name in step.before}
    names |= {name: name.removeprefix("d_") for name in step.grads if name.startswith("d_")}
    found = {
        (output, by): rebuild(step.grads[name], output)
        for name, by in names.items()
        if name in step.grads
        for output in outputs
    }
    before = {name: graph.make("state", name=name) for name in step.before}
    plain = StepGraph(
        x=graph.make("x", name="x"),
        y=rebuild(step.y, None),
        before=before,
        after={name: rebuild(node, None) for name, node in step.after.items()},
        numbers={name: numbers[node] for name, node in step.numbers.items()},
        grads={},
        grad_outputs={},
        saved=[],
        recomputed=[],
        exact=step.exact,
        binary=step.binary,
    )
    return ForwardGraph(plain, {key: node for key, node in found.items() if not _is(node, 0.0)})


def _is(node: Node, value: float) -> bool:
    return node.op == "const" and node.name == value


def _simplified(graph: ExpressionGraph, node: Node, args: list[Node]) -> Node:
    """Return the node of an operation, without terms of 0 and factors of 1."""
    op, zero = node.op, graph.const(0.0)
    zeros = [_is(arg, 0.0) for arg in args]
    if op == "mul" and any(zeros):
        return zero
    if op == "mul":
        return graph.multiply(*args)
    if op in ("add", "sub") and zeros[1]:
        return args[0]
    if op == "add" and zeros[0]:
        return args[1]
    if op == "sub" and zeros[0]:
        return graph.make("neg", args[1])
    if op in ("neg", "div") and zeros[0]:
        return zero
    if op == "neg" and args[0].op == "const":
        return graph.const(-args[0].name)
    if op == "where" and args[1] is args[2]:
        return args[1]
    return graph.make(op, *args, name=node.name)


def constant_derivative(graph: ForwardGraph, key: Key, numbers: Mapping[str, float | Tensor]) -> float | Tensor | None:
    """Return a derivative that is the same at all steps, a number or one for each neuron; None for any other.

    Args:
        graph: The step.
        key: The derivative.
        numbers: The numbers of the step, by name.
    """
    node = graph.derivatives.get(key)
    if node is None:
        return 0.0
    if not node.is_number:
        return None
    return evaluate([node], {}, numbers)[0]


_IN_TORCH: dict[str, Callable[..., Any]] = {
    **{"add": operator.add, "sub": operator.sub, "mul": operator.mul, "div": operator.truediv, "neg": operator.neg},
    **{"ge": operator.ge, "gt": operator.gt, "le": operator.le, "lt": operator.lt, "eq": operator.eq},
    **{"ne": operator.ne, "and": operator.and_, "or": operator.or_, "not": operator.invert},
    **{"abs": torch.abs, "exp": torch.exp, "sqrt": torch.sqrt, "trunc": torch.trunc, "floor": torch.floor},
    "where": torch.where,
    "fill": lambda value: value,
}


def evaluate(
    roots: list[Node],
    inputs: Mapping[str, Tensor],
    numbers: Mapping[str, float | Tensor],
    dtype: torch.dtype | None = None,
) -> list[Any]:
    """Return the values of expressions of one step, with the operations of PyTorch.

    Args:
        roots: The expressions.
        inputs: Input and state, by name.
        numbers: The numbers, by name.
        dtype: The dtype of floats; None leaves them floats, for expressions of numbers alone.
    """

    def number(value: float | Tensor) -> float | Tensor:
        return value if dtype is None or isinstance(value, Tensor) else torch.tensor(value, dtype=dtype)

    done: dict[Node, Any] = {}
    stack = list(roots)
    while stack:
        node = stack[-1]
        if waiting := [one for one in node.args if one not in done]:
            stack.extend(waiting)
            continue
        stack.pop()
        if node.op in ("x", "state"):
            done[node] = inputs[node.name]
        elif node.op == "tensor":
            done[node] = number(numbers[node.name])
        elif node.op == "const":
            done[node] = number(node.name)
        else:
            done[node] = _IN_TORCH[node.op](*(done[one] for one in node.args))
    return [done[root] for root in roots]


class Derivatives(NamedTuple):
    """Outputs, state and derivatives of some steps.

    Attributes:
        y: Output; zeros past a sample's length.
        state: The state after the last valid step.
        of: The derivatives that are not 0; any number past a sample's length.

    Shape:
        y, of: `[T, B, ...]`; state: of `[B, ...]`.
    """

    y: Tensor
    state: Any
    of: dict[Key, Tensor]


class ForwardDerivatives:
    """The derivatives of a traced step.

    Args:
        traced: The step, traced with its backward step.
        dtype: The dtype of input and state.
    """

    def __init__(self, traced: TracedStep, dtype: torch.dtype) -> None:
        self.traced, self.graph = traced, differentiate(traced.step, dtype)

    def __call__(self, x: Tensor, state: Any, k: Any, lengths: Tensor | None, *, compiled: bool = True) -> Derivatives:
        """Run all steps.

        Args:
            x: Input.
            state: State before the first step.
            k: Coefficients.
            lengths: Valid steps of each sample; None if all are.
            compiled: Whether a loop for CPUs runs; else PyTorch's operations, step by step, with the same values.

        Shape:
            x: `[T, B, ...]`; state: of `[B, ...]`; lengths: `[B]`.
        """
        numbers = {name: _without_gradient(value) for name, value in self.traced.numbers(k).items()}
        run = self._run_compiled if compiled and x.device.type == "cpu" else self._run_in_torch
        with torch.no_grad():
            return run(x.detach(), type(state)(*(part.detach() for part in state)), numbers, lengths)

    def _run_in_torch(
        self, x: Tensor, state: Any, numbers: Mapping[str, float | Tensor], lengths: Tensor | None
    ) -> Derivatives:
        step, of = self.graph.step, self.graph.derivatives
        valid, zeros = valid_steps(lengths, len(x), x), torch.zeros_like(x[0])
        outputs: list[Tensor] = []
        found: dict[Key, list[Tensor]] = {key: [] for key in of}
        for t, x_t in enumerate(x.unbind()):
            inputs = {INPUT: x_t, **state._asdict()}
            roots = [step.y, *step.after.values(), *of.values()]
            y, *rest = (zeros + value for value in evaluate(roots, inputs, numbers, x.dtype))
            after = rest[: len(step.after)]
            for values, value in zip(found.values(), rest[len(step.after) :], strict=True):
                values.append(value)
            if valid is not None:
                y = torch.where(valid[t], y, 0)
                after = [torch.where(valid[t], new, old) for new, old in zip(after, state, strict=True)]
            state = type(state)(*after)
            outputs.append(y)
        return Derivatives(torch.stack(outputs), state, {key: torch.stack(values) for key, values in found.items()})

    def _run_compiled(
        self, x: Tensor, state: Any, numbers: Mapping[str, float | Tensor], lengths: Tensor | None
    ) -> Derivatives:
        x, state = x.contiguous(), type(state)(*(part.clone().contiguous() for part in state))
        (num_steps, batch), neurons = x.shape[:2], max(1, x.shape[2:].numel())
        y, of = torch.empty_like(x), {key: torch.empty_like(x) for key in self.graph.derivatives}
        flat = {
            name: value.expand(x.shape[2:]).contiguous() if isinstance(value, Tensor) and value.numel() > 1 else value
            for name, value in numbers.items()
        }
        per_neuron = frozenset(name for name, value in flat.items() if isinstance(value, Tensor) and value.numel() > 1)
        rendered = render(self.graph, per_neuron, self.traced.title)
        loop = _loop(rendered.text, tuple(rendered.arguments), self.traced.title)
        lengths = valid_lengths(lengths, num_steps, batch)
        ends = torch.full((batch,), num_steps) if lengths is None else lengths
        group = min(GROUP, neurons)
        sizes = {"batch": np.uintp(batch), "neurons": np.uintp(neurons), "steps": np.uintp(num_steps), "group": group}
        named: dict[str, Any] = {"x": x, "y": y, "lengths": ends, **flat, **sizes}
        named |= {f"s_{name}": part for name, part in zip(state._fields, state, strict=True)}
        named |= {derivative_name(key): values for key, values in of.items()}
        real = np.float32 if x.dtype == torch.float32 else np.float64
        arguments = [_argument(named[name], real) for name in loop.arguments]
        share(partial(loop.prepare(arguments), *arguments), batch * -(-neurons // group), x.numel())
        return Derivatives(y, state, of)


def _without_gradient(value: float | Tensor) -> float | Tensor:
    return value.detach() if isinstance(value, Tensor) else value


def _argument(value: Any, real: Any) -> Any:
    if isinstance(value, Tensor):
        return value.numpy().reshape(-1) if value.numel() > 1 or value.dim() else real(value.item())
    return real(value) if isinstance(value, float) else value


def derivative_name(key: Key) -> str:
    """Return the name of a derivative in a loop: `d_v_x` is that of the state v by the input x."""
    return f"d_{key[0]}_{key[1]}"


def render(graph: ForwardGraph, per_neuron: frozenset[str], title: str) -> LoopSource:
    """Return the loop that runs all steps and writes their derivatives.

    Args:
        graph: The step.
        per_neuron: Names of the numbers with one value per neuron.
        title: Name of the neuron.
    """
    step = graph.step
    writer = Writer(step, LoopVariant(per_neuron), NUMBA, "{0}[n]")
    names = {derivative_name(key): node for key, node in graph.derivatives.items()}
    known = {step.x: "x_n"} | {node: f"s_{name}[s + n]" for name, node in step.before.items()}
    values = {"y_n": step.y} | {f"new_{name}": node for name, node in step.after.items()}
    body = [
        "x_n = x[o + n]",
        *writer.lines(known, values | {f"{name}_n": node for name, node in names.items()}),
        *(f"s_{name}[s + n] = new_{name}" for name in step.after),
        "y[o + n] = y_n",
        *(f"{name}[o + n] = {name}_n" for name in names),
    ]
    offset = "o = (t * batch + sample) * neurons"
    rest = block("for n in range(low, high):", "y[o + n] = 0", *(f"{name}[o + n] = 0" for name in names))
    text = [
        f'"""{title}, rendered by snnlab; not to be edited."""',
        "import numpy as np",
        "from snnlab.kernels.runtime import exp_",
        "",
        "",
        *block(
            "def derivatives(ARGUMENTS, first, last):",
            "real = y.dtype.type",
            "groups = (np.intp(neurons) + group - 1) // group",
            writer.constants(),
            block(
                "for task in range(first, last):",
                "sample = np.uintp(task // groups)",
                "low = np.uintp(task % groups * group)",
                "high = min(low + np.uintp(group), neurons)",
                "s = sample * neurons",
                block(
                    "for t in range(np.uintp(0), np.uintp(lengths[sample])):",
                    offset,
                    block("for n in range(low, high):", body),
                ),
                block("for t in range(np.uintp(lengths[sample]), steps):", offset, rest),
            ),
        ),
    ]
    return source(step, text, [*names, "lengths", "batch", "neurons", "steps", "group"])


@cache
def _loop(text: str, arguments: tuple[str, ...], title: str) -> CompiledLoop:
    return CompiledLoop(text, f"{title}_derivatives", "derivatives", arguments)
