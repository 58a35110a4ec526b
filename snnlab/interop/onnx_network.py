"""A network's form as an ONNX model: one step with states as inputs and outputs, or a loop over all steps.

    frame   `[batch, C, H, W]` -> output `[batch, K]` of one step; frames `[steps, batch, ...]` -> `[steps, batch, K]`
    lif.v   a state before the step, lif.v.after after it; lif.y[t-2]: an output two steps ago, for feedback and delays

A value with H = W = 1 is `[batch, C]`. States begin at 0 but for those of the metadata `start`, a JSON object.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from snnlab.errors import ConfigError, MissingPackageError
from snnlab.kernels.neuron_form import NeuronForm
from snnlab.kernels.trace import Node, is_literal, number_name
from snnlab.nn.network_form import (
    INPUT,
    Addition,
    Currents,
    NetworkForm,
    Neurons,
    Operation,
    Pooling,
    Shape,
    Value,
    WeightMap,
)

HAS_ONNX = find_spec("onnx") is not None and find_spec("onnxruntime") is not None
if TYPE_CHECKING or HAS_ONNX:
    import onnx

OPSET = 17
AFTER = ".after"
# The version of ONNX's files that came with the opset.
_IR_VERSION = 8
# Less than the 2 GiB of a message of protobuf, since there are other numbers and names.
_MOST_BYTES = 2**31 - 2**26
_FLOAT, _INT64, _BOOL = 1, 7, 9  # onnx.TensorProto
_OPERATIONS = {
    **{"add": "Add", "sub": "Sub", "mul": "Mul", "div": "Div", "neg": "Neg", "abs": "Abs", "exp": "Exp"},
    **{"sqrt": "Sqrt", "floor": "Floor", "where": "Where", "ge": "GreaterOrEqual", "gt": "Greater"},
    **{"le": "LessOrEqual", "lt": "Less", "eq": "Equal", "and": "And", "or": "Or", "not": "Not"},
}


class OnnxNetwork(NamedTuple):
    """A network as an ONNX model.

    Attributes:
        model: The model, an `onnx.ModelProto`.
        form: The network's form.
        start: The states before the first step, by the name of their input.

    Shape:
        start: `[C, H, W]`, or `[C]` where H and W are 1.
    """

    model: Any
    form: NetworkForm
    start: dict[str, np.ndarray]


def require_onnx() -> None:
    """Refuse where ONNX or ONNX Runtime is not installed."""
    if not HAS_ONNX:
        raise MissingPackageError("--onnx", "onnx and onnxruntime are missing", "pip install 'snnlab-train[onnx]'")


def onnx_network(
    form: NetworkForm, *, all_steps: bool = False, with_neurons: bool = False, step_ms: float | None = None
) -> OnnxNetwork:
    """Return a network as an ONNX model.

    Args:
        form: The network's form.
        all_steps: Whether the model takes all steps at once, in a Loop.
        with_neurons: Whether the output of each layer of neurons is an output of a step, `NAME.y`.
        step_ms: Length of a step, for the metadata.
    """
    _require_size(form)
    graph = _StepGraph(form)
    graph.add_operations(with_neurons=with_neurons)
    content = graph.in_loop() if all_steps else graph.of_step()
    opsets = [onnx.helper.make_opsetid("", OPSET)]
    model = onnx.helper.make_model(content, opset_imports=opsets, ir_version=_IR_VERSION, producer_name="snnlab")
    start = {name: _fewest(values) for name, values in graph.start.items() if values.any()}
    about = {"start": json.dumps(start)} | ({} if step_ms is None else {"step_ms": f"{step_ms:g}"})
    onnx.helper.set_model_props(model, about)
    return OnnxNetwork(model, form, graph.start)


def _require_size(form: NetworkForm) -> None:
    """Refuse a network whose weights are too many for a file of ONNX."""
    maps = [one for each in form.operations if isinstance(each, Currents) for one in each.maps]
    if (size := sum(one.weight.nbytes for one in maps)) > _MOST_BYTES:
        problem = f"the weights have {size / 1e9:.1f} GB, and a file of ONNX has at most 2"
        raise ConfigError("--onnx", problem, "snnlab export --c has no limit")


def as_onnx(values: np.ndarray) -> np.ndarray:
    """Return values `[C, H, W]` as the model has them, without the axis of the batch."""
    return values.reshape(_shape(values.shape))


def past_name(form: NetworkForm, value: Value) -> str:
    """Return the name of a value of an earlier step."""
    return f"frame[t-{value.delay}]" if value.of == INPUT else f"{form.operations[value.of].name}.y[t-{value.delay}]"


def _fewest(values: np.ndarray) -> Any:
    first = values.reshape(-1)[0]
    return float(first) if (values == first).all() else values.tolist()


def _shape(shape: Shape) -> Shape:
    return shape[:1] if shape[1:] == (1, 1) else shape


def _info(name: str, *shape: str | int, dtype: int = _FLOAT) -> Any:
    return onnx.helper.make_tensor_value_info(name, dtype, shape)


class _StepGraph:
    """Writes the nodes of a step, operation by operation."""

    def __init__(self, form: NetworkForm) -> None:
        self._form = form
        self._nodes: list[Any] = []
        self._constants: dict[str, Any] = {}
        self._values = {INPUT: "frame"}
        # Its outputs that are no states, and other names of what the nodes write.
        self._outputs: dict[str, Shape] = {}
        self._renamed: dict[str, str] = {}
        self._number = 0
        self.start: dict[str, np.ndarray] = {}
        self._after: dict[str, str] = {}

    def add_operations(self, *, with_neurons: bool) -> None:
        """Write all operations of the form."""
        form = self._form
        sources = [one.source for each in form.operations if isinstance(each, Currents) for one in each.maps]
        longest = {of: max(source.delay for source in sources if source.of == of) for of in {s.of for s in sources}}
        past = [Value(of, delay) for of in sorted(longest) for delay in range(1, longest[of] + 1)]
        for value in past:
            self._add_state(past_name(form, value), np.zeros(form.shape_of(value), np.float32))
        for number, one in enumerate(form.operations):
            self._values[number] = self._operation(one)
            if with_neurons and isinstance(one, Neurons):
                self._name_output(f"{one.name}.y", self._values[number])
                self._outputs[f"{one.name}.y"] = _shape(one.shape)
        for value in past:
            self._after[past_name(form, value)] = self._value(Value(value.of, value.delay - 1))
        for name, value in self._after.items():
            self._name_output(name + AFTER, value)
        self._name_output("output", self._value(form.output))
        self._outputs["output"] = _shape(form.out_shape)

    def of_step(self) -> Any:
        """Return the graph of one step."""
        frame = _info("frame", "batch", *_shape(self._form.in_shape))
        return onnx.helper.make_graph(
            self._named_nodes({}),
            "step",
            [frame, *self._infos("")],
            [*(_info(name, "batch", *shape) for name, shape in self._outputs.items()), *self._infos(AFTER)],
            list(self._constants.values()),
        )

    def in_loop(self) -> Any:
        """Return the graph of all steps."""
        # Names in the loop are others than those around it.
        inner = {name: f"{name}.before" for name in self.start}
        inner |= {name + AFTER: f"{name}.next" for name in self.start}
        inner |= {name: f"{name}.now" for name in self._outputs}
        body = onnx.helper.make_graph(
            [
                onnx.helper.make_node("Gather", ["frames", "step"], ["frame"], axis=0),
                *self._named_nodes(inner),
                onnx.helper.make_node("Identity", ["goes_on"], ["still_goes_on"]),
            ],
            "step",
            [_info("step", dtype=_INT64), _info("goes_on", dtype=_BOOL), *self._infos(".before")],
            [
                _info("still_goes_on", dtype=_BOOL),
                *self._infos(".next"),
                *(_info(f"{name}.now", "batch", *shape) for name, shape in self._outputs.items()),
            ],
            list(self._constants.values()),
        )
        outputs = [*(name + AFTER for name in self.start), *self._outputs]
        first, all_true = np.zeros((), np.int64), np.ones((), np.bool_)
        nodes = [
            onnx.helper.make_node("Shape", ["frames"], ["sizes"]),
            onnx.helper.make_node("Gather", ["sizes", "first"], ["steps"], axis=0),
            onnx.helper.make_node("Loop", ["steps", "true", *self.start], outputs, body=body),
        ]
        return onnx.helper.make_graph(
            nodes,
            "steps",
            [_info("frames", "steps", "batch", *_shape(self._form.in_shape)), *self._infos("")],
            [*(_info(name, "steps", "batch", *shape) for name, shape in self._outputs.items()), *self._infos(AFTER)],
            [onnx.numpy_helper.from_array(first, "first"), onnx.numpy_helper.from_array(all_true, "true")],
        )

    def _infos(self, end: str) -> list[Any]:
        return [_info(name + end, "batch", *values.shape) for name, values in self.start.items()]

    def _named_nodes(self, others: dict[str, str]) -> list[Any]:
        for node in self._nodes:
            for names in (node.input, node.output):
                named = [self._renamed.get(name, name) for name in names]
                names[:] = [others.get(str(name), name) for name in named]
        return self._nodes

    def _name_output(self, name: str, value: str) -> None:
        """Make a value an output: under this name, or as a copy if it has another one."""
        if value in self._renamed or value in self.start or value == "frame":
            self._nodes.append(onnx.helper.make_node("Identity", [value], [name]))
        else:
            self._renamed[value] = name

    def _op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        self._number += 1
        name = f"{kind}_{self._number}"
        self._nodes.append(onnx.helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def _constant(self, values: Any, dtype: Any = np.float32) -> str:
        name = f"constant_{len(self._constants)}"
        self._constants[name] = onnx.numpy_helper.from_array(np.array(values, dtype, order="C"), name)
        return name

    def _add_state(self, name: str, start: np.ndarray) -> str:
        self.start[name] = np.ascontiguousarray(as_onnx(start), np.float32)
        return name

    def _value(self, value: Value) -> str:
        return past_name(self._form, value) if value.delay else self._values[value.of]

    def _operation(self, one: Operation) -> str:
        if isinstance(one, Currents):
            return self._currents(one)
        if isinstance(one, Neurons):
            return self._neurons(one)
        if isinstance(one, Pooling):
            return self._pooled(one)
        assert isinstance(one, Addition)
        return self._sum([self._value(source) for source in one.sources])

    def _sum(self, names: Sequence[str]) -> str:
        first, *others = names
        for name in others:
            first = self._op("Add", first, name)
        return first

    def _currents(self, one: Currents) -> str:
        first, *others = one.maps
        bias = [] if one.bias is None else [self._constant(one.bias)]
        return self._sum([self._map(first, one.shape, bias), *(self._map(part, one.shape, []) for part in others)])

    def _map(self, one: WeightMap, shape: Shape, bias: list[str]) -> str:
        """Write a matrix product, where the kernel covers the whole input, or a convolution."""
        x = self._value(one.source)
        if one.is_whole and shape[1:] == (1, 1):
            x = x if one.in_shape[1:] == (1, 1) else self._op("Flatten", x)
            return self._op("Gemm", x, self._constant(one.weight.reshape(len(one.weight), -1)), *bias, transB=1)
        kernel = one.weight.shape[2:]
        sizes = zip(one.padding, shape[1:], one.stride, one.dilation, kernel, one.in_shape[1:], strict=True)
        after = [max(0, (out - 1) * stride + d * (k - 1) + 1 - n - pad) for pad, out, stride, d, k, n in sizes]
        how = {"kernel_shape": kernel, "strides": one.stride, "pads": [*one.padding, *after]}
        how |= {"dilations": one.dilation, "group": one.groups}
        return self._flat(
            self._op("Conv", self._map_of(x, one.in_shape), self._constant(one.weight), *bias, **how), shape
        )

    def _map_of(self, x: str, shape: Shape) -> str:
        """Return a value `[batch, C, H, W]`, though H and W are 1."""
        return self._op("Reshape", x, self._constant([0, -1, 1, 1], np.int64)) if shape[1:] == (1, 1) else x

    def _flat(self, x: str, shape: Shape) -> str:
        return self._op("Flatten", x) if shape[1:] == (1, 1) else x

    def _pooled(self, one: Pooling) -> str:
        x = self._map_of(self._value(one.source), in_shape := self._form.shape_of(one.source))
        how = {"kernel_shape": one.window, "strides": one.stride, "pads": [*one.padding, *one.padding]}
        if one.kind == "max":
            y = self._op("MaxPool", x, **how)
        elif one.kind == "avg":
            y = self._op("AveragePool", x, count_include_pad=1, **how)
        elif self._is_binary(one.source):
            y = self._op("LpPool", x, p=1, **how)  # a sum of magnitudes
        else:
            ones = np.ones((in_shape[0], 1, *one.window), np.float32)
            y = self._op("Conv", x, self._constant(ones), group=in_shape[0], **how)
        return self._flat(y, one.shape)

    def _is_binary(self, source: Value) -> bool:
        one = None if source.of == INPUT else self._form.operations[source.of]
        return isinstance(one, Neurons) and not one.form.is_graded

    def _neurons(self, one: Neurons) -> str:
        """Write the operations of a neuron's step, and return the output."""
        form, x = one.form, self._value(one.source)
        names: dict[Node, str] = {form.step.x: x}
        for name, node in form.step.before.items():
            names[node] = self._add_state(f"{one.name}.{name}", form.start[name])
        is_flat = one.shape[1:] == (1, 1)

        def root(node: Node) -> str:
            found = self._expression(form, node, names, is_flat)
            while node.op == "fill":
                node = node.args[0]
            return self._op("Expand", found, self._op("Shape", x)) if node.is_number else found

        y = root(form.step.y)
        for name, node in form.step.after.items():
            self._after[f"{one.name}.{name}"] = root(node)
        return y

    def _expression(self, form: NeuronForm, node: Node, names: dict[Node, str], is_flat: bool) -> str:
        """Return the name of an expression, whose operations are written once."""
        if node in names:
            return names[node]
        ones = [arg for arg in node.args if is_literal(arg) and arg.name == 1.0]
        if is_literal(node):
            names[node] = self._constant(node.name)
        elif node.is_number:
            values = form.numbers[number_name(node)]
            own = values.reshape(-1) if values.ndim and is_flat else values
            names[node] = self._constant(own)
        elif node.op == "fill" or (node.op in ("mul", "div") and node.args[-1] in ones):
            names[node] = self._expression(form, node.args[0], names, is_flat)
        elif node.op == "where" and [arg.name for arg in node.args[1:] if is_literal(arg)] == [1.0, 0.0]:
            names[node] = self._op("Cast", self._expression(form, node.args[0], names, is_flat), to=_FLOAT)
        else:
            args = [self._expression(form, arg, names, is_flat) for arg in node.args]
            if node.op == "trunc":  # ONNX has none
                away = self._op("Less", args[0], self._constant(0.0))
                names[node] = self._op("Where", away, self._op("Ceil", args[0]), self._op("Floor", args[0]))
            elif node.op == "ne":
                names[node] = self._op("Not", self._op("Equal", *args))
            else:
                names[node] = self._op(_OPERATIONS[node.op], *args)
        return names[node]
