"""One step of a streamed network as an ONNX graph, and its runs by ONNX Runtime, to compare the engine with.

Axes: B = 1 sample, then C, H, W; B, C after a linear layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from snnlab.kernels.neuron_form import NeuronForm
from snnlab.kernels.trace import Node, is_literal, number_name
from snnlab.nn.network_form import Pair
from snnlab.streaming.stream_layers import StreamLayer

HAS_ONNX = find_spec("onnx") is not None and find_spec("onnxruntime") is not None
if TYPE_CHECKING or HAS_ONNX:
    import onnx
    import onnxruntime as ort

Shape = tuple[int, ...]
_OPSET = 17
_FLOAT = 1  # onnx.TensorProto.FLOAT


class OnnxSteps:
    """A streamed network in ONNX Runtime: one thread, and memory that is bound once.

    Args:
        layers: The layers of `stream_layers`.

    Attributes:
        model: The graph of one step, states in and out.
        frame: What the next step takes, one sample at one step; it is written in place.
        output: What the last step gave.
        spikes: The last step's numbers of spikes by the name of their neurons, before pooling.

    Shape:
        frame: `[1, C, H, W]`; output: `[1, K]` or `[1, C, H, W]`; spikes: as the neurons' outputs.
    """

    def __init__(self, layers: Sequence[StreamLayer], *, with_spikes: bool = False) -> None:
        self.model, self._start = step_graph(layers, with_spikes=with_spikes)
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors
        self.session = ort.InferenceSession(self.model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        self._names = [given.name for given in self.session.get_inputs()[1:]]
        shapes = {given.name: tuple(given.shape) for given in self.session.get_outputs()}
        self.frame = np.zeros(self.session.get_inputs()[0].shape, np.float32)
        self._states = [{name: self._start[name].copy() for name in self._names} for _ in range(2)]
        outputs = {name: np.zeros(shape, np.float32) for name, shape in shapes.items() if not name.endswith(_AFTER)}
        self.output = outputs["output"]
        self.spikes = {name.removesuffix(_SPIKES): array for name, array in outputs.items() if name.endswith(_SPIKES)}
        self._bindings = [self._binding(outputs, *self._states[::way]) for way in (1, -1)]
        self._turn = 0

    def _binding(self, outputs: dict[str, np.ndarray], before: dict[str, Any], after: dict[str, Any]) -> Any:
        bound = self.session.io_binding()
        for name, array in {"frame": self.frame, **before}.items():
            bound.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(array))
        for name, array in {**outputs, **{name + _AFTER: array for name, array in after.items()}}.items():
            bound.bind_ortvalue_output(name, ort.OrtValue.ortvalue_from_numpy(array))
        return bound

    def step(self) -> np.ndarray:
        """Run one step on `frame`; return the output, an array that the next step overwrites."""
        self.session.run_with_iobinding(self._bindings[self._turn])
        self._turn = 1 - self._turn
        return self.output

    def reset(self) -> None:
        """Return to the state before the first step."""
        for states in self._states:
            for name, array in states.items():
                array[:] = self._start[name]

    def states(self) -> dict[str, dict[str, np.ndarray]]:
        """Return the states by the name of their neurons, and their own; not to be changed."""
        found: dict[str, dict[str, np.ndarray]] = {}
        for name, values in self._states[self._turn].items():
            neurons, _, state = name.rpartition("/")
            if state != _FEEDBACK.removeprefix("/"):
                found.setdefault(neurons, {})[state] = values
        return found


_FEEDBACK, _SPIKES, _AFTER = "/fed back", "/spikes", "/after"


def step_graph(layers: Sequence[StreamLayer], *, with_spikes: bool = False) -> tuple[Any, dict[str, np.ndarray]]:
    """Return the ONNX model of one step, `frame` and states in, `output` and states out, and the states at its start.

    Args:
        layers: The layers of `stream_layers`.
        with_spikes: Whether the numbers of spikes of each layer are outputs too.
    """
    graph = _StepGraph(layers, with_spikes=with_spikes)
    return graph.model(), graph.states


class _StepGraph:
    """Writes the nodes of a step, layer by layer, with the operations of the neurons' own `step`."""

    def __init__(self, layers: Sequence[StreamLayer], *, with_spikes: bool) -> None:
        self._layers, self._with_spikes = layers, with_spikes
        self._nodes: list[Any] = []
        self._constants: dict[str, Any] = {}
        self.states: dict[str, np.ndarray] = {}
        self._outputs: list[tuple[str, Shape]] = []
        self._renamed: dict[str, str] = {}
        self._number = 0

    def model(self) -> Any:
        """Return the model."""
        inputs: dict[int, list[str]] = {0: ["frame"]}
        is_flat = {0: self._layers[0].in_shape[1:] == (1, 1) and self._layers[0].whole}
        added = ""  # currents that wait for those of the next layer
        end = len(self._layers)
        for k, layer in enumerate(self._layers):
            if layer.feeds_itself:
                x = self._state(layer.neurons + _FEEDBACK, self._shape(layer, layer.whole))
            else:
                x = self._sum(inputs[k])
            flat = layer.whole or is_flat.get(k, False)
            if layer.copy_to is not None:
                inputs.setdefault(layer.copy_to, []).append(x)
                is_flat[layer.copy_to] = is_flat.get(k, False)
            current = self._current(layer, x, flat=is_flat.get(k, False) or layer.feeds_itself)
            current = self._op("Add", added, current) if added else current
            added = current if layer.adds_to_next else ""
            if added:
                continue
            if layer.current_pool != (1, 1):
                current = self._op("MaxPool", current, kernel_shape=layer.current_pool, strides=layer.current_pool)
            y = self._neurons(layer, current, self._shape(layer, flat))
            to = k + 1 if layer.to is None else layer.to
            inputs.setdefault(to, []).append(self._pooled(layer, y))
            is_flat[to] = flat
        last = self._layers[-1]
        self._output("output", self._sum(inputs[end]), last.out_shape[:1] if is_flat[end] else last.out_shape)
        return self._written(self._layers[0].in_shape[:1] if is_flat[0] else self._layers[0].in_shape)

    def _written(self, in_shape: Shape) -> Any:
        def info(name: str, shape: Shape) -> Any:
            return onnx.helper.make_tensor_value_info(name, _FLOAT, [1, *shape])

        states = {name: array.shape[1:] for name, array in self.states.items()}
        for node in self._nodes:
            for names in (node.input, node.output):
                names[:] = [self._renamed.get(name, name) for name in names]
        graph = onnx.helper.make_graph(
            self._nodes,
            "step",
            [info("frame", in_shape), *(info(name, shape) for name, shape in states.items())],
            [info(name, shape) for name, shape in self._outputs],
            list(self._constants.values()),
        )
        return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", _OPSET)], ir_version=8)

    def _output(self, name: str, value: str, shape: Shape) -> None:
        """Make a value an output: under this name, or as a copy if it has another one."""
        if value in self._renamed or value in self.states or value == "frame":
            self._nodes.append(onnx.helper.make_node("Identity", [value], [name]))
        else:
            self._renamed[value] = name
        self._outputs.append((name, shape))

    def _shape(self, layer: StreamLayer, flat: bool) -> Shape:
        return layer.shape[:1] if flat else layer.shape

    def _op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        self._number += 1
        name = f"{kind}_{self._number}"
        self._nodes.append(onnx.helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def _constant(self, values: Any, dtype: Any = np.float32) -> str:
        array = np.ascontiguousarray(values, dtype)
        name = f"constant_{len(self._constants)}"
        self._constants[name] = onnx.numpy_helper.from_array(array, name)
        return name

    def _state(self, name: str, shape: Shape, start: Any = 0.0) -> str:
        first = np.asarray(start, np.float32)
        if first.ndim and len(shape) == 1:
            first = first.reshape(-1)
        self.states[name] = np.ascontiguousarray(np.broadcast_to(first, (1, *shape)))
        return name

    def _keep(self, state: str, value: str) -> None:
        self._output(state + _AFTER, value, self.states[state].shape[1:])

    def _sum(self, names: Sequence[str]) -> str:
        first, *others = names
        for name in others:
            first = self._op("Add", first, name)
        return first

    def _current(self, layer: StreamLayer, x: str, *, flat: bool) -> str:
        """Return the convolution, or the matrix product, of a layer's input; that of a relay is the input."""
        if layer.relays:
            return x
        weight = layer.weight
        if layer.whole:
            x = x if flat else self._op("Flatten", x)
            named = [x, self._constant(weight.reshape(len(weight), -1))]
            named += [] if layer.bias is None else [self._constant(layer.bias)]
            return self._op("Gemm", *named, transB=1)
        reach = (layer.row_dilation * (weight.shape[2] - 1) + 1, weight.shape[3])
        after = [
            max(pad, (out - 1) * stride + size - n - pad)
            for pad, out, stride, size, n in zip(
                layer.padding, layer.conv_shape[1:], layer.stride, reach, layer.in_shape[1:], strict=True
            )
        ]
        named = [x, self._constant(weight)] + ([] if layer.bias is None else [self._constant(layer.bias)])
        return self._op(
            "Conv",
            *named,
            kernel_shape=weight.shape[2:],
            strides=layer.stride,
            pads=[*layer.padding, *after],
            dilations=[layer.row_dilation, 1],
        )

    def _pooled(self, layer: StreamLayer, y: str) -> str:
        if layer.pool == "none" or (layer.window == (1, 1) and not layer.windows_overlap):
            return y
        stride: Pair = layer.pool_stride or layer.window
        how = {"kernel_shape": layer.window, "strides": stride, "pads": layer.pool_padding * 2}
        if layer.pool == "max":
            return self._op("MaxPool", y, **how)
        if layer.pool == "avg":
            return self._op("AveragePool", y, count_include_pad=1, **how)
        return self._op("LpPool", y, p=1, **how)  # spikes are not negative

    def _neurons(self, layer: StreamLayer, current: str, shape: Shape) -> str:
        """Write the operations of the neurons' step, and return their output."""
        form = layer.form
        if form is None:
            return current
        names: dict[Node, str] = {form.step.x: current}
        for name, node in form.step.before.items():
            names[node] = self._state(f"{layer.neurons}/{name}", shape, form.start[name])
        number = self._expression(form, form.step.y, names, len(shape) == 1)
        for name, node in form.step.after.items():
            self._keep(f"{layer.neurons}/{name}", self._expression(form, node, names, len(shape) == 1))
        if layer.feeds_itself:
            self._keep(layer.neurons + _FEEDBACK, number)
        if self._with_spikes and form.spiking:
            self._output(layer.neurons + _SPIKES, number, shape)
        return number

    def _expression(self, form: NeuronForm, node: Node, names: dict[Node, str], flat: bool) -> str:
        """Return the name of an expression, whose operations are written once."""
        if node in names:
            return names[node]
        if node.is_number:
            values = np.float32(node.name) if is_literal(node) else form.numbers[number_name(node)]
            names[node] = self._constant(values.reshape(-1) if values.ndim and flat else values)
            return names[node]
        ones = [arg for arg in node.args if is_literal(arg) and arg.name == 1.0]
        if node.op == "fill" or (node.op in ("mul", "div") and node.args[-1] in ones):
            names[node] = self._expression(form, node.args[0], names, flat)
            return names[node]
        if node.op == "where" and [arg.name for arg in node.args[1:] if is_literal(arg)] == [1.0, 0.0]:
            names[node] = self._op("Cast", self._expression(form, node.args[0], names, flat), to=_FLOAT)
            return names[node]
        args = [self._expression(form, arg, names, flat) for arg in node.args]
        if node.op == "trunc":  # ONNX has none
            away = self._op("Less", args[0], self._constant(0.0))
            names[node] = self._op("Where", away, self._op("Ceil", args[0]), self._op("Floor", args[0]))
        elif node.op == "ne":
            names[node] = self._op("Not", self._op("Equal", *args))
        else:
            names[node] = self._op(_OPERATIONS[node.op], *args)
        return names[node]


_OPERATIONS = {
    **{"add": "Add", "sub": "Sub", "mul": "Mul", "div": "Div", "neg": "Neg", "abs": "Abs", "exp": "Exp"},
    **{"sqrt": "Sqrt", "floor": "Floor", "where": "Where", "ge": "GreaterOrEqual", "gt": "Greater"},
    **{"le": "LessOrEqual", "lt": "Less", "eq": "Equal", "and": "And", "or": "Or", "not": "Not"},
}
