"""One step of a streamed network as an ONNX graph, and its runs by ONNX Runtime, to compare the engine with.

Axes: B = 1 sample, then C, H, W; B, C after a linear layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from math import frexp
from typing import TYPE_CHECKING, Any

import numpy as np

from snnlab.streaming.stream_layers import Pair, StreamLayer, StreamNeuron

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

    def membranes(self) -> dict[str, np.ndarray]:
        """Return the membranes by the name of their neurons, or of a layer without neurons; not to be changed."""
        states = self._states[self._turn]
        return {name.removesuffix(_MEMBRANE): v for name, v in states.items() if name.endswith(_MEMBRANE)}


_MEMBRANE, _SYNAPSE, _ADAPTATION, _FEEDBACK, _SPIKES, _AFTER = "/v", "/i", "/w", "/s", "/spikes", "/after"


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
                x = self._state(layer.neuron.name + _FEEDBACK, self._shape(layer, layer.whole))
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
        if layer.neuron.reset == "relay":
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

    def _times(self, coefficient: Any, x: str, flat: bool) -> str:
        return x if np.all(np.asarray(coefficient) == 1) else self._op("Mul", self._array(coefficient, flat), x)

    def _plus(self, x: str, coefficient: Any, flat: bool) -> str:
        return x if not np.any(coefficient) else self._op("Add", x, self._array(coefficient, flat))

    def _array(self, coefficient: Any, flat: bool) -> str:
        values = np.asarray(coefficient, np.float32)
        return self._constant(values.reshape(-1) if values.ndim and flat else values)

    def _neurons(self, layer: StreamLayer, current: str, shape: Shape) -> str:
        """Write the operations of `neuron_loops.fire`, and return the numbers of spikes, or the membranes."""
        neuron, flat = layer.neuron, len(shape) == 1
        if neuron.reset == "relay":
            return current
        name = neuron.name or layer.name
        v = self._state(name + _MEMBRANE, shape, neuron.start)
        if neuron.synapse != "none":
            current = self._synapse(neuron, name, current, shape)
        if neuron.reset == "integrate":
            u = self._integrated(neuron, v, current, flat)
            self._keep(v, u)
            return u
        threshold = self._array(neuron.v_threshold, flat)
        if neuron.adapts:
            w = self._state(name + _ADAPTATION, shape)
            threshold = self._op("Add", self._times(neuron.adaptation, w, flat), threshold)
        if neuron.delayed:
            u = self._delayed(neuron, v, current, threshold, flat)
            number = self._numbers(neuron, u, threshold)[1]
        else:
            u = self._integrated(neuron, v, current, flat)
            spiked, number = self._numbers(neuron, u, threshold)
            u = self._after_reset(neuron, u, spiked, number, threshold, flat)
            if neuron.adapts:
                w = name + _ADAPTATION
                self._keep(w, self._op("Add", self._times(neuron.rho, w, flat), number))
            u = self._bounded(neuron, u)
        self._keep(v, u)
        if layer.feeds_itself:
            self._keep(name + _FEEDBACK, number)
        if self._with_spikes:
            self._output(name + _SPIKES, number, shape)
        return number

    def _synapse(self, neuron: StreamNeuron, name: str, current: str, shape: Shape) -> str:
        before, flat = self._state(name + _SYNAPSE, shape), len(shape) == 1
        if neuron.synapse == "decay_first":
            after = self._times(neuron.b, self._op("Add", before, current), flat)
        else:
            after = self._op("Add", self._times(neuron.b, before, flat), current)
        self._keep(before, after)
        return before if neuron.synapse == "next_step" else after

    def _integrated(self, neuron: StreamNeuron, v: str, current: str, flat: bool) -> str:
        current = self._plus(self._times(neuron.g, current, flat), neuron.c, flat)
        if not np.any(neuron.a):
            return current
        return self._op("Add", self._times(neuron.a, v, flat), current)

    def _numbers(self, neuron: StreamNeuron, u: str, threshold: str) -> tuple[str, str]:
        """Return where neurons spike, and how often."""
        spiked = self._op("Greater" if neuron.strict else "GreaterOrEqual", u, threshold)
        if not neuron.several:
            return spiked, self._op("Cast", spiked, to=_FLOAT)
        values = np.asarray(neuron.v_threshold)
        if not neuron.strict and not neuron.adapts and values.size == 1 and frexp(float(values))[0] == 0.5:
            # A division by a power of two does not round, so that what is below the threshold stays below 1.
            divided = u if values == 1 else self._op("Div", u, threshold)
            return spiked, self._op("Floor", self._op("Relu", divided))
        whole = self._op("Floor", self._op("Div", u, threshold))
        return spiked, self._op("Where", spiked, whole, self._constant(0.0))

    def _after_reset(self, neuron: StreamNeuron, u: str, spiked: str, number: str, threshold: str, flat: bool) -> str:
        if neuron.reset == "subtract":
            by = self._op("Mul", number, threshold) if neuron.adapted_reset else self._times(neuron.r, number, flat)
            return self._op("Sub", u, by)
        if neuron.reset == "value":
            return self._op("Where", spiked, self._array(neuron.v_reset, flat), u)
        return u

    def _delayed(self, neuron: StreamNeuron, v: str, current: str, threshold: str, flat: bool) -> str:
        """Return the membranes, after a reset by the spikes of the step before."""
        spiked, number = self._numbers(neuron, v, threshold)
        if neuron.reset == "value":
            return self._integrated(
                neuron, self._after_reset(neuron, v, spiked, number, threshold, flat), current, flat
            )
        u = self._integrated(neuron, v, current, flat)
        return self._after_reset(neuron, u, spiked, number, threshold, flat)

    def _bounded(self, neuron: StreamNeuron, u: str) -> str:
        if neuron.floor is None:
            return u
        floor = self._constant(neuron.floor)
        if not neuron.rounded_floor:
            return self._op("Max", u, floor)
        return self._op("Add", self._op("Relu", self._op("Sub", u, floor)), floor)
