"""The layers of a network that an event-driven engine can run, each with its neurons and pooling.

A layer of the engine is a convolution or a linear layer, the neurons after it, and the pooling of their spikes. A
linear layer is a convolution whose kernel covers the whole input.
"""

from __future__ import annotations

from math import prod
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from snnlab.errors import ConfigError
from snnlab.nn.layers.dropout import Dropout
from snnlab.nn.layers.pool import SumPool
from snnlab.nn.network import Network
from snnlab.nn.neurons.base import Neuron
from snnlab.nn.neurons.iaf import IAF
from snnlab.nn.neurons.li import LI
from snnlab.nn.neurons.lif import LIF
from snnlab.nn.neurons.sinabs_lif import SinabsLIF

Shape = tuple[int, ...]
Pair = tuple[int, int]
PoolKind = Literal["none", "max", "avg", "sum"]


class StreamNeuron(NamedTuple):
    """Coefficients and rules of a layer's neurons; see `snnlab.nn.neurons.membrane.Coefficients`.

    Attributes:
        reset: `subtract`, `value`, `none`, or `integrate`: no spikes, the output is the membrane.
        start: Membrane before the first step.
        floor: Lower bound of the membrane; None: no bound.
        rounded_floor: Whether the bound is relu(v - floor) + floor, which rounds twice.
    """

    name: str
    a: float = 1.0
    g: float = 1.0
    c: float = 0.0
    v_threshold: float = 1.0
    r: float = 1.0
    v_reset: float = 0.0
    reset: Literal["subtract", "value", "none", "integrate"] = "subtract"
    delayed: bool = False
    strict: bool = False
    several: bool = False
    start: float = 0.0
    floor: float | None = None
    rounded_floor: bool = False

    @property
    def is_driven(self) -> bool:
        """Whether only input changes a neuron at rest or lets it spike, apart from its leak."""
        at_rest = self.v_threshold > max(self.start, 0.0) and (self.floor is None or self.floor <= self.start)
        # A membrane that leaks is rounded again in each step.
        rounds = self.rounded_floor and self.floor is not None and self.a != 1
        return at_rest and self.c == 0 and self.reset != "integrate" and not self.delayed and not rounds


# A linear layer or a convolution that no neurons follow, at the end of a network.
CURRENT = StreamNeuron("", a=0.0, reset="integrate")


class StreamLayer(NamedTuple):
    """A convolution, its neurons and their pooling.

    Attributes:
        name: Name of the convolution or the linear layer.
        weight: Kernel, float32; groups and the dilation of columns are filled with zeros.
        bias: One per output channel; None: none.
        in_shape: Shape of its input, (C, H, W).
        whole: Whether the kernel covers the whole input.
        stride, padding: Of rows and columns.
        row_dilation: Distance between the kernel's rows.
        conv_shape: Shape of its currents.
        current_pool: Window of a max pooling of the currents.
        pool, window: Pooling of the spikes.

    Shape:
        weight: `[C', C, rows, columns]`; bias: `[C']`.
    """

    name: str
    weight: np.ndarray
    bias: np.ndarray | None
    in_shape: Shape
    conv_shape: Shape
    whole: bool = False
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    row_dilation: int = 1
    current_pool: Pair = (1, 1)
    neuron: StreamNeuron = CURRENT
    pool: PoolKind = "none"
    window: Pair = (1, 1)

    @property
    def changes_alone(self) -> bool:
        """Whether a step without input can change the layer or its output."""
        is_plain = self.neuron.name == "" and self.bias is None
        return not is_plain and (not self.neuron.is_driven or self.neuron.a != 1 or self.bias is not None)

    @property
    def shape(self) -> Shape:
        """Shape of the neurons."""
        return _pooled(self.conv_shape, self.current_pool)

    @property
    def out_shape(self) -> Shape:
        """Shape of the pooled spikes."""
        return _pooled(self.shape, self.window)


def _pooled(shape: Shape, window: Pair) -> Shape:
    return shape[0], shape[1] // window[0], shape[2] // window[1]


def stream_layers(network: Network, in_shape: Shape, place: str = "model.layers") -> list[StreamLayer]:
    """Return the layers of a network for the event-driven engine.

    Args:
        network: The network; evaluation is assumed, so that dropout does nothing.
        in_shape: Shape of one sample at one step: (P, H, W), (P, W) or (W,).
        place: Path of the layers, for errors.

    Raises:
        ConfigError: naming the first layer that cannot run on events, and what to do.
    """
    reader = _Reader(in_shape, place)
    for name, module in network.layers():
        if other := next((p.dtype for p in module.parameters() if p.dtype != torch.float32), None):
            raise ConfigError(
                f"{place}.{name}",
                f"streaming needs float32, got {str(other).removeprefix('torch.')}",
                "call network.float()",
            )
        reader.read(name, module)
    return reader.finish()


class _Reader:
    """Reads the layers of a network in order."""

    def __init__(self, in_shape: Shape, place: str) -> None:
        if not 1 <= len(in_shape) <= 3:
            raise ConfigError(place, f"streaming needs frames of 1 to 3 axes, got {list(in_shape)}")
        self.place = place
        self.done: list[StreamLayer] = []
        self.current: StreamLayer | None = None
        self.has_neurons = False
        # Features of one axis are channels of one pixel.
        self.shape: Shape = {1: (*in_shape, 1, 1), 2: (*in_shape[:1], 1, *in_shape[1:])}.get(len(in_shape), in_shape)
        self.is_flat, self.has_one_axis = len(in_shape) == 1, len(in_shape) == 2

    def read(self, name: str, module: nn.Module) -> None:
        """Read the next layer."""
        if isinstance(module, nn.Conv1d | nn.Conv2d):
            self._begin(name, self._convolution(name, module))
        elif isinstance(module, nn.Linear):
            self._begin(name, self._linear(name, module))
        elif isinstance(module, Neuron):
            self._add_neurons(name, module)
        elif isinstance(module, nn.MaxPool1d | nn.MaxPool2d | nn.AvgPool1d | nn.AvgPool2d | SumPool):
            self._add_pool(name, module)
        elif isinstance(module, nn.Flatten):
            self._flatten(name, module)
        elif not isinstance(module, Dropout | nn.Identity):
            self._refuse(name, f"{type(module).__name__} cannot run on events", _advice(module))

    def finish(self) -> list[StreamLayer]:
        """Return the layers."""
        self._close()
        if not self.done:
            raise ConfigError(self.place, "streaming needs a convolution or a linear layer")
        return self.done

    def _sizes(self, size: Any, alone: int = 1) -> Pair:
        """Return a size of rows and columns; a network of one axis has one row, and `alone` is the row's size."""
        columns = size if isinstance(size, int) else size[-1]
        if self.has_one_axis:
            return alone, columns
        return (size, size) if isinstance(size, int) else (size[0], columns)

    def _padding(self, module: nn.Conv1d | nn.Conv2d, reach: Pair) -> Pair:
        if module.padding == "same":
            return (reach[0] - 1) // 2, (reach[1] - 1) // 2
        return (0, 0) if isinstance(module.padding, str) else self._sizes(module.padding, 0)

    def _refuse(self, name: str, problem: str, advice: str = "") -> None:
        raise ConfigError(f"{self.place}.{name}", problem, advice)

    def _begin(self, name: str, layer: StreamLayer) -> None:
        if self.current is not None and self.current.neuron.reset == "integrate":
            self._refuse(name, "its input are no spikes", f"put spiking neurons before {name}")
        self._close()
        self.current, self.has_neurons, self.shape = layer, False, layer.conv_shape

    def _close(self) -> None:
        if self.current is not None:
            self.done.append(self.current)
        self.current = None

    def _convolution(self, name: str, module: nn.Conv1d | nn.Conv2d) -> StreamLayer:
        if self.is_flat:
            self._refuse(name, "a convolution after flatten cannot run on events")
        if module.padding_mode != "zeros":
            self._refuse(name, f"padding_mode {module.padding_mode} cannot run on events", "set padding_mode: zeros")
        if module.in_channels != self.shape[0]:
            self._refuse(name, f"needs {module.in_channels} channels, and its input is {list(self.shape)}")
        kernel, stride, dilation = (self._sizes(size) for size in (module.kernel_size, module.stride, module.dilation))
        reach = dilation[0] * (kernel[0] - 1) + 1, dilation[1] * (kernel[1] - 1) + 1
        padding = self._padding(module, reach)
        size = tuple(
            (n + 2 * p - k) // s + 1 for n, p, k, s in zip(self.shape[1:], padding, reach, stride, strict=True)
        )
        size = self.shape[1:] if module.padding == "same" else size
        return StreamLayer(
            name,
            _full_weight(module, kernel, dilation[1]),
            _bias(module),
            self.shape,
            (module.out_channels, *size),
            stride=stride,
            padding=padding,
            row_dilation=dilation[0],
        )

    def _linear(self, name: str, module: nn.Linear) -> StreamLayer:
        if not self.is_flat:
            self._refuse(name, f"linear on {list(self.shape)} cannot run on events", "put a flatten layer before it")
        if module.in_features != prod(self.shape):
            self._refuse(name, f"needs {module.in_features} features, and its input is {list(self.shape)}")
        weight = _array(module.weight).reshape(-1, *self.shape)
        return StreamLayer(name, weight, _bias(module), self.shape, (module.out_features, 1, 1), whole=True)

    def _add_neurons(self, name: str, module: Neuron) -> None:
        if self.current is None or self.has_neurons:
            self._refuse(name, "neurons need a convolution or a linear layer right before them")
        neuron = self._neuron(name, module)
        if neuron.reset != "integrate" and self.current is not None and self.current.pool != "none":
            self._refuse(name, f"{self.current.pool} pooling of currents cannot run on events", "set type: max_pool")
        assert self.current is not None
        self.current, self.has_neurons = self.current._replace(neuron=neuron), True

    def _neuron(self, name: str, module: Neuron) -> StreamNeuron:
        if type(module) not in (LIF, IAF, LI, SinabsLIF):
            self._refuse(name, f"{type(module).__name__} cannot run on events yet", "use lif, iaf, sinabs_lif or li")
        assert isinstance(module, LIF | IAF | LI | SinabsLIF)
        if isinstance(module, SinabsLIF) and module.synapse_decay is not None:
            self._refuse(name, "a synapse cannot run on events yet", "leave out tau_syn and alpha")
        own: dict[str, Any] = {}
        for key, value in module.coefficients()._asdict().items():
            number = value.detach() if isinstance(value, Tensor) else torch.tensor(value)
            if number.numel() > 1:
                self._refuse(name, "values per channel or neuron cannot run on events yet")
            own[key] = float(number.item())
        own.pop("b")
        start = module.initial_state(torch.zeros(1, 1)).v.item()
        if isinstance(module, LI):
            return StreamNeuron(name, own["a"], own["g"], own["c"], reset="integrate", start=start)
        if isinstance(module, SinabsLIF):
            own["r"] = own["v_threshold"]
            return StreamNeuron(name, **own, several=True, floor=module.min_v_mem, rounded_floor=True)
        return StreamNeuron(
            name,
            **own,
            reset=module.reset,
            delayed=module.reset_delay,
            strict=module.strict,
            several=module.graded,
            start=start,
            floor=module.floor,
        )

    def _add_pool(self, name: str, module: nn.Module) -> None:
        window = self._window(name, module)
        kind: PoolKind = "sum" if isinstance(module, SumPool) else "avg"
        kind = "max" if isinstance(module, nn.MaxPool1d | nn.MaxPool2d) else kind
        layer = self.current
        if layer is None:
            self._refuse(name, "pooling of the input cannot run on events yet", "set data.downsample")
        assert layer is not None
        if self.has_neurons and layer.neuron.reset == "integrate":
            self._refuse(name, "pooling of membranes cannot run on events")
        if layer.pool != "none" or (layer.current_pool != (1, 1) and not self.has_neurons):
            self._refuse(name, "two poolings in a row cannot run on events", "use one with a larger window")
        if not self.has_neurons and kind != "max":
            self._refuse(name, f"{kind} pooling of currents cannot run on events", "pool the spikes, or use max_pool")
        if self.has_neurons:
            self.current = layer._replace(pool=kind, window=window)
        else:
            self.current = layer._replace(current_pool=window)
        self.shape = _pooled(self.shape, window)

    def _window(self, name: str, module: Any) -> Pair:
        kernel, stride = self._sizes(module.kernel_size), self._sizes(module.stride)
        others = (self._sizes(module.padding, 0), self._sizes(getattr(module, "dilation", 1)))
        if (
            kernel != stride
            or any(others[0])
            or max(others[1]) > 1
            or getattr(module, "divisor_override", 1) not in (1, None)
        ):
            self._refuse(name, "windows that overlap, are padded or dilated cannot run on events yet")
        if getattr(module, "ceil_mode", False) and any(n % k for n, k in zip(self.shape[1:], kernel, strict=True)):
            self._refuse(name, "windows that are not full cannot run on events yet", "set ceil_mode: false")
        return kernel

    def _flatten(self, name: str, module: nn.Flatten) -> None:
        if module.start_dim != 1 or module.end_dim not in (-1, 3):
            self._refuse(name, "a flatten of some axes cannot run on events", "flatten all axes")
        self.is_flat = True


def _advice(module: nn.Module) -> str:
    kind = type(module).__name__
    return "set fold_norm=True, or --fold-norm" if "BatchNorm" in kind else ""


def _array(values: Tensor) -> np.ndarray:
    return values.detach().cpu().numpy()


def _bias(module: nn.Conv1d | nn.Conv2d | nn.Linear) -> np.ndarray | None:
    return None if module.bias is None else _array(module.bias)


def _full_weight(module: nn.Conv1d | nn.Conv2d, kernel: Pair, column_dilation: int) -> np.ndarray:
    """Return a kernel `[C', C, rows, columns]`, with zeros between dilated columns and for other groups' channels."""
    own = _array(module.weight).reshape(module.out_channels, -1, *kernel)
    columns = column_dilation * (kernel[1] - 1) + 1
    full = np.zeros((module.out_channels, module.in_channels, kernel[0], columns), np.float32)
    outputs, inputs = module.out_channels // module.groups, module.in_channels // module.groups
    for group in range(module.groups):
        rows = slice(group * outputs, (group + 1) * outputs)
        full[rows, group * inputs : (group + 1) * inputs, :, ::column_dilation] = own[rows]
    return full
