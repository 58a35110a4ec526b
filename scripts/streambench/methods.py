"""The methods: each runs a network one step at a time; see `Method`."""

# ruff: noqa: D102 - `Method` documents the methods of all classes

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import onnx
import torch
from streambench.work import Columns, Work
from torch import Tensor
from torch.nn import functional as F

from snnlab.interop.onnx_network import AFTER, onnx_network
from snnlab.interop.onnx_run import OnnxSteps
from snnlab.nn.layers.dropout import Dropout
from snnlab.nn.network import Network
from snnlab.nn.network_form import network_form
from snnlab.nn.neurons.iaf import IAF
from snnlab.streaming.event_stream import EventStream

Values = dict[str, np.ndarray]


class Method(Protocol):
    """A network in some library."""

    def take(self, columns: Columns) -> None:
        """Take the events of the next step; outside of the clock."""
        ...

    def step(self) -> np.ndarray:
        """Run the step and return the output; within the clock."""
        ...

    def reset(self) -> None:
        """Return to the state before the first step."""
        ...

    def membranes(self) -> Values:
        """Return the membranes, by the name of the neurons."""
        ...

    def spikes(self) -> dict[str, int]:
        """Return the numbers of spikes of the last step, by the name of the neurons; called once a step."""
        ...


def _membranes(states: dict[str, dict[str, np.ndarray]]) -> Values:
    return {name: of["v"] for name, of in states.items() if "v" in of}


class Engine:
    """The event-driven engine, called once a step."""

    def __init__(self, work: Work) -> None:
        self.stream = EventStream(work.network, work.in_shape)
        none = np.zeros(0, np.int64)
        self.columns: Columns = none, none, none
        self.reset = self.stream.reset
        self._before: dict[str, int] = {}

    def take(self, columns: Columns) -> None:
        self.columns = columns

    def step(self) -> np.ndarray:
        return self.stream.step(*self.columns)

    def membranes(self) -> Values:
        return _membranes(self.stream.states())

    def spikes(self) -> dict[str, int]:
        now = {name: layer["spikes"] for name, layer in self.stream.stats()["layers"].items()}
        found = {name: count - self._before.get(name, 0) for name, count in now.items()}
        self._before = now
        return found


class Framed:
    """A method that takes frames."""

    def __init__(self, frame: np.ndarray) -> None:
        self.frame = frame

    def take(self, columns: Columns) -> None:
        x, y, p = columns
        _, channels, height, width = self.frame.shape
        counts = np.bincount((p * height + y) * width + x, minlength=channels * height * width)
        self.frame[:] = counts.reshape(self.frame.shape)


class Onnx(Framed):
    """ONNX Runtime with bound memory and one thread."""

    def __init__(self, work: Work, *, with_spikes: bool = False) -> None:
        self.steps = OnnxSteps(onnx_network(network_form(work.network, work.in_shape), with_neurons=with_spikes))
        self.step, self.reset = self.steps.step, self.steps.reset
        super().__init__(self.steps.frame)

    def membranes(self) -> Values:
        return _membranes(self.steps.states())

    def spikes(self) -> dict[str, int]:
        return {name: int(array.sum()) for name, array in self.steps.spikes.items()}


def _pooling(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def pool(x: Tensor, *, kernel_shape: Any, strides: Any, pads: Any = (0, 0), **others: Any) -> Tensor:
        return function(x, tuple(kernel_shape), tuple(strides), tuple(pads[:2]))

    return pool


def _convolution(x: Tensor, w: Tensor, b: Tensor | None = None, *, strides: Any, pads: Any, **others: Any) -> Tensor:
    if pads[:2] != pads[2:]:
        x, pads = F.pad(x, (pads[1], pads[3], pads[0], pads[2])), (0, 0)
    return F.conv2d(x, w, b, tuple(strides), tuple(pads[:2]), tuple(others["dilations"]), others["group"])


_OPERATIONS: dict[str, Callable[..., Tensor]] = {
    **{"Add": torch.add, "Sub": torch.sub, "Mul": torch.mul, "Div": torch.div, "Max": torch.maximum},
    **{"Greater": torch.gt, "GreaterOrEqual": torch.ge, "Less": torch.lt, "LessOrEqual": torch.le, "Relu": torch.relu},
    **{"Where": torch.where, "Floor": torch.floor, "Ceil": torch.ceil, "Neg": torch.neg, "Not": torch.logical_not},
    **{"Identity": lambda x: x, "Flatten": lambda x: x.flatten(1), "Cast": lambda x, to: x.float()},
    **{"Gemm": lambda x, w, b=None, transB=1: F.linear(x, w, b), "Conv": _convolution},  # noqa: N803
    **{"MaxPool": _pooling(F.max_pool2d), "AveragePool": _pooling(F.avg_pool2d)},
}


class Torch(Framed):
    """The graph of ONNX Runtime in PyTorch, operation by operation."""

    def __init__(self, work: Work) -> None:
        written = onnx_network(network_form(work.network, work.in_shape), with_neurons=True)
        graph, self._form = written.model.graph, written.form
        super().__init__(np.zeros((1, *work.in_shape), np.float32))
        arrays = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
        constants = {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
        self._start = {name: torch.from_numpy(array[None]) for name, array in written.start.items()}
        self._values: dict[str, Tensor] = {**constants, "frame": torch.from_numpy(self.frame)}
        self._nodes = [
            (
                _OPERATIONS[node.op_type],
                list(node.input),
                node.output[0],
                {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute},
            )
            for node in graph.node
        ]
        self.reset()

    def reset(self) -> None:
        self._values |= self._start

    @torch.no_grad()
    def step(self) -> np.ndarray:
        values = self._values
        for operation, inputs, output, attributes in self._nodes:
            values[output] = operation(*(values[name] for name in inputs), **attributes)
        for name in self._start:
            values[name] = values[name + AFTER]
        return values["output"].numpy()

    def membranes(self) -> Values:
        return {name[:-2]: self._values[name].numpy() for name in self._start if name.endswith(".v")}

    def spikes(self) -> dict[str, int]:
        spiking = [name for name, one in self._form.neurons.items() if one.form.spiking]
        return {name: int(self._values[f"{name}.y"].sum()) for name in spiking}


class Own(Framed):
    """snnlab's Network, with one step a call."""

    def __init__(self, work: Work) -> None:
        super().__init__(np.zeros((1, *work.in_shape), np.float32))
        self._network, self._state, self._counts = work.network, None, {}
        self._x = torch.from_numpy(self.frame)[None]

    def reset(self) -> None:
        self._state = None

    @torch.no_grad()
    def step(self) -> np.ndarray:
        self._counts = {}
        y, self._state = self._network(self._x, self._state, counts=self._counts)
        return y[0].numpy()

    def membranes(self) -> Values:
        state = self._state or {}
        return {name: layer.v.numpy() for name, layer in state.items() if hasattr(layer, "v")}

    def spikes(self) -> dict[str, int]:
        return {name: int(count.sum()) for name, count in self._counts.items()}


class Sinabs(Framed):
    """Sinabs' own layers, with one step a call."""

    def __init__(self, work: Work) -> None:
        import sinabs.layers as sl  # late: it takes seconds

        super().__init__(np.zeros((1, *work.in_shape), np.float32))
        self._neurons: dict[str, Any] = {}
        self._spikes: dict[str, Tensor] = {}
        self._parts: list[tuple[str, Any]] = []
        for name, layer in work.network.layers():
            if isinstance(layer, Dropout):
                continue
            part: Any = layer
            if isinstance(layer, IAF):
                part = sl.IAFSqueeze(batch_size=1, spike_threshold=layer.v_threshold, min_v_mem=layer.floor)
                self._neurons[name] = part.eval()
            self._parts.append((name, part))
        self._x = torch.from_numpy(self.frame)

    def reset(self) -> None:
        for part in self._neurons.values():
            part.reset_states()

    @torch.no_grad()
    def step(self) -> np.ndarray:
        x = self._x
        for name, part in self._parts:
            x = part(x)
            if name in self._neurons:
                self._spikes[name] = x
        return x.numpy()

    def membranes(self) -> Values:
        return {name: part.v_mem.numpy() for name, part in self._neurons.items()}

    def spikes(self) -> dict[str, int]:
        return {name: int(x.sum()) for name, x in self._spikes.items()}


BY_NAME: dict[str, Callable[[Work], Method]] = {
    "engine": Engine,
    "onnx": Onnx,
    "torch": Torch,
    "sinabs": Sinabs,
    "network": Own,
}


def has_network(network: Network, name: str) -> bool:
    """Return whether a method has this network: Sinabs' layers are for its own neurons."""
    return name != "sinabs" or any(isinstance(layer, IAF) for _, layer in network.layers())
