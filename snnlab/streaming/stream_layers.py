"""The layers of a network that an event-driven engine can run, each with its neurons and pooling.

A layer of the engine is a convolution or a linear layer, the neurons after it, and the pooling of their spikes. A
linear layer is a convolution whose kernel covers the whole input.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from snnlab.errors import ConfigError
from snnlab.nn.blocks.branches import SHORTCUT, Residual
from snnlab.nn.layers.dropout import Dropout
from snnlab.nn.layers.pool import SumPool
from snnlab.nn.network import Network
from snnlab.nn.neurons.alif import ALIF
from snnlab.nn.neurons.base import Neuron
from snnlab.nn.neurons.cuba_li import CubaLI
from snnlab.nn.neurons.cuba_lif import CubaLIF
from snnlab.nn.neurons.iaf import IAF
from snnlab.nn.neurons.li import LI
from snnlab.nn.neurons.lif import LIF
from snnlab.nn.neurons.recurrent import ConvFeedback, DenseFeedback, Feedback, Recurrent
from snnlab.nn.neurons.sinabs_lif import SinabsLIF

Shape = tuple[int, ...]
Pair = tuple[int, int]
_NEURONS = (LIF, IAF, LI, SinabsLIF, CubaLIF, CubaLI, ALIF)
PoolKind = Literal["none", "max", "avg", "sum"]


class StreamNeuron(NamedTuple):
    """Coefficients and rules of a layer's neurons; see `snnlab.nn.neurons.membrane.Coefficients`.

    Attributes:
        a, g, c, b, v_threshold, r, v_reset, start, rho, adaptation: One for all, or arrays `[C, 1, 1]` or `[C, H, W]`.
        reset: `subtract`, `value`, `none`; `integrate`: the output is the membrane; `relay`: it is the input.
        start: Membrane before the first step.
        synapse: When the input reaches the membrane; `none`: at once.
        adapts, adapted_reset: Whether spikes raise the threshold, and whether the raised one is subtracted.
        floor: Lower bound of the membrane; None: no bound.
        rounded_floor: Whether the bound is relu(v - floor) + floor, which rounds twice.
    """

    name: str
    a: float | np.ndarray = 1.0
    g: float | np.ndarray = 1.0
    c: float | np.ndarray = 0.0
    v_threshold: float | np.ndarray = 1.0
    r: float | np.ndarray = 1.0
    v_reset: float | np.ndarray = 0.0
    reset: Literal["subtract", "value", "none", "integrate", "relay"] = "subtract"
    delayed: bool = False
    strict: bool = False
    several: bool = False
    start: float | np.ndarray = 0.0
    floor: float | None = None
    rounded_floor: bool = False
    b: float | np.ndarray = 0.0
    synapse: Literal["none", "jump_first", "decay_first", "next_step"] = "none"
    rho: float | np.ndarray = 0.0
    adaptation: float | np.ndarray = 0.0
    adapts: bool = False
    adapted_reset: bool = False

    @property
    def leaks(self) -> bool:
        """Whether a membrane changes by itself."""
        return bool(np.any(np.asarray(self.a) != 1))

    @property
    def spikes_alone(self) -> bool:
        """Whether a neuron may spike without input: it starts where it leaks to, at its threshold or nearly so."""
        return self.reset not in ("integrate", "relay") and bool(
            np.any(self.start >= 0.99 * np.asarray(self.v_threshold))
        )

    @property
    def is_driven(self) -> bool:
        """Whether only input changes a neuron at rest or lets it spike, apart from its leak."""
        is_above = self.floor is None or bool(np.all(self.floor <= np.asarray(self.start)))
        at_rest = is_above and bool(np.all(self.v_threshold > np.maximum(self.start, 0.0)))
        # A membrane that leaks is rounded again in each step.
        rounds = self.rounded_floor and self.floor is not None and self.leaks
        if self.synapse != "none" or self.adapts:
            return False
        return at_rest and not np.any(self.c) and self.reset != "integrate" and not self.delayed and not rounds


# A linear layer or a convolution that no neurons follow, at the end of a network.
CURRENT = StreamNeuron("", a=0.0, reset="integrate")
# Passes spikes on, so that they can be pooled or added.
RELAY = StreamNeuron("", reset="relay")


class StreamLayer(NamedTuple):
    """A convolution, its neurons and their pooling.

    Attributes:
        name: Name of the convolution or the linear layer.
        weight: Kernel, float32; groups and dilated columns are filled with zeros, and dilated rows with a stride.
        bias: One per output channel; None: none.
        in_shape: Shape of its input, (C, H, W).
        whole: Whether the kernel covers the whole input.
        stride, padding: Of rows and columns.
        row_dilation: Distance between the kernel's rows.
        conv_shape: Shape of its currents.
        current_pool: Window of a max pooling of the currents.
        pool, window, pool_stride, pool_padding: Pooling of the spikes; without a stride, windows are side by side.
        adds_to_next: Whether its currents are added to those of the next layer, instead of neurons of its own.
        feeds_itself: Whether its input at a step is its own spikes of the step before.
        to: Index of the layer that its output is added to the input of; None: the next one.
        copy_to: Index of a layer that gets its input too; None: none.

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
    pool_stride: Pair | None = None
    pool_padding: Pair = (0, 0)
    adds_to_next: bool = False
    feeds_itself: bool = False
    to: int | None = None
    copy_to: int | None = None

    @property
    def has_membranes(self) -> bool:
        """Whether it has neurons, or is a readout of currents."""
        return not self.adds_to_next and self.neuron.reset != "relay"

    @property
    def changes_alone(self) -> bool:
        """Whether a step without input can change the layer or its output."""
        is_plain = self.neuron.name == "" and self.bias is None
        return not is_plain and (not self.neuron.is_driven or self.neuron.leaks or self.bias is not None)

    @property
    def shape(self) -> Shape:
        """Shape of the neurons."""
        return _pooled(self.conv_shape, self.current_pool)

    @property
    def out_shape(self) -> Shape:
        """Shape of the pooled spikes."""
        return _pooled(self.shape, self.window, self.pool_stride, self.pool_padding)

    @property
    def windows_overlap(self) -> bool:
        """Whether a spike may be in another number of windows than one."""
        return self.pool_stride is not None and (self.pool_stride != self.window or any(self.pool_padding))


def _pooled(shape: Shape, window: Pair, stride: Pair | None = None, padding: Pair = (0, 0)) -> Shape:
    height, width = (
        (n + 2 * p - k) // s + 1 for n, k, s, p in zip(shape[1:], window, stride or window, padding, strict=True)
    )
    return shape[0], height, width


def stream_layers(network: Network, in_shape: Shape, place: str = "model.layers") -> list[StreamLayer]:
    """Return the layers of a network for the event-driven engine.

    Args:
        network: The network; evaluation is assumed, so that dropout does nothing.
        in_shape: Shape of one sample at one step: (P, H, W), (P, W) or (W,).
        place: Path of the layers, for errors.
    """
    reader = _LayerReader(in_shape, place)
    for name, module in network.layers():
        if other := next((p.dtype for p in module.parameters() if p.dtype != torch.float32), None):
            kind = str(other).removeprefix("torch.")
            raise ConfigError(f"{place}.{name}", f"streaming needs float32, got {kind}", "call network.float()")
        reader.read(name, module)
    return reader.finish()


class _LayerReader:
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
        elif isinstance(module, Recurrent):
            self._add_recurrent(name, module)
        elif isinstance(module, Neuron):
            self._add_neurons(name, module)
        elif isinstance(module, nn.MaxPool1d | nn.MaxPool2d | nn.AvgPool1d | nn.AvgPool2d | SumPool):
            self._add_pool(name, module)
        elif isinstance(module, nn.Flatten):
            self._flatten(name, module)
        elif isinstance(module, Residual):
            self._read_residual(name, module)
        elif type(module) is Network:
            self._read_branch(name, module)
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

    def _relay(self, name: str) -> None:
        """Begin a layer that passes its input on."""
        identity = np.eye(self.shape[0], dtype=np.float32)[:, :, None, None]
        self._begin(name, StreamLayer(name, identity, None, self.shape, self.shape, neuron=RELAY))
        self.has_neurons = True

    def _read_branch(self, name: str, network: Network) -> None:
        for inner, module in network.layers():
            self.read(f"{name}.{inner}", module)

    def _read_residual(self, name: str, module: Residual) -> None:
        """Read the layers of a block; its input goes to them, and to the shortcut or to the sum."""
        if module.connect != "add":
            self._refuse(name, f"connect: {module.connect} cannot run on events", "set connect: add")
        self._close()
        shape, is_flat, first = self.shape, self.is_flat, len(self.done)
        self._read_addend(name, [(f"{name}.{inner}", layer) for inner, layer in module.layers()])
        last, end = len(self.done) - 1, self.shape
        if (shortcut := getattr(module, SHORTCUT, None)) is not None:
            self.shape, self.is_flat, copy = shape, is_flat, len(self.done)
            self._read_addend(name, [(f"{name}.{SHORTCUT}", shortcut)])
        else:
            copy = len(self.done)
        self.done[last] = self.done[last]._replace(to=len(self.done))
        self.done[first] = self.done[first]._replace(copy_to=copy)
        self.shape = end

    def _read_addend(self, name: str, layers: Sequence[tuple[str, nn.Module]]) -> None:
        """Read layers that begin with the input of a block, and end with spikes for its sum."""
        before = len(self.done)
        if layers and isinstance(_first_layer(layers[0][1]), Residual):
            self._relay(name)  # a layer copies its input to one other layer only
        for inner, module in layers:
            self.read(inner, module)
        if self.current is not None and self.current.neuron.reset == "integrate":
            self._refuse(name, "its sum are no spikes", "end its layers with spiking neurons")
        is_empty = self.current is None and len(self.done) == before
        if is_empty or (self.current is not None and self.current.pool == "avg"):
            self._relay(name)  # which divides sums
        self._close()

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
        fills = stride[0] > 1  # the engine has rows with a stride or with a dilation
        return StreamLayer(
            name,
            _full_weight(module, kernel, (dilation[0] if fills else 1, dilation[1])),
            _bias(module),
            self.shape,
            (module.out_channels, *size),
            stride=stride,
            padding=padding,
            row_dilation=1 if fills else dilation[0],
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

    def _add_recurrent(self, name: str, module: Recurrent) -> None:
        """Add neurons whose spikes feed back: a layer of its own, to which the currents of the one before are added."""
        self._add_neurons(name, module.neuron)
        layer, feedback = self.current, module.feedback
        assert layer is not None
        if layer.neuron.reset == "integrate" or layer.current_pool != (1, 1):
            self._refuse(name, "a feedback of currents cannot run on events", "use spiking neurons, without pooling")
        if feedback.delays is not None:
            self._refuse(name, "a feedback with delays cannot run on events")
        if feedback.bias is not None and layer.bias is not None:
            self._refuse(name, "two biases are added in an order of their own", f"set bias: false at {layer.name}")
        is_dense = isinstance(feedback, DenseFeedback)
        if not is_dense and not isinstance(feedback, ConvFeedback):
            self._refuse(name, f"the feedback {type(feedback).__name__} cannot run on events", "use dense or conv")
        if is_dense and self.shape[1:] != (1, 1):
            self._refuse(name, "a dense feedback of a convolution cannot run on events", "set feedback: conv")
        weight = _array(feedback.weights().weight).reshape(self.shape[0], self.shape[0], *_kernel(feedback))
        self.done.append(layer._replace(bias=None, adds_to_next=True, neuron=CURRENT))
        self.current = layer._replace(
            name=f"{name}.feedback",
            weight=weight,
            bias=_bias(feedback) if layer.bias is None else layer.bias,
            in_shape=self.shape,
            conv_shape=self.shape,
            whole=is_dense,
            stride=(1, 1),
            padding=(weight.shape[2] // 2, weight.shape[3] // 2),
            row_dilation=1,
            feeds_itself=True,
        )

    def _neuron(self, name: str, module: Neuron) -> StreamNeuron:
        if type(module) not in _NEURONS:
            allowed = "use lif, iaf, cuba_lif, alif, sinabs_lif, li or cuba_li"
            self._refuse(name, f"{type(module).__name__} cannot run on events yet", allowed)
        assert isinstance(module, LIF | IAF | LI | SinabsLIF | CubaLIF | CubaLI | ALIF)
        given: dict[str, Any] = module.coefficients()._asdict()
        given |= given.pop("membrane")._asdict() if isinstance(module, ALIF) else {}
        own: dict[str, Any] = {
            key: self._coefficient(name, value) for key, value in given.items() if key in StreamNeuron._fields
        }
        own["start"] = self._start(module)
        own["synapse"] = getattr(module, "synapse", "none")
        if isinstance(module, LI | CubaLI):
            return StreamNeuron(name, **own | {"v_threshold": 1.0, "r": 1.0, "reset": "integrate"})
        if isinstance(module, SinabsLIF):
            own["r"], own["synapse"] = own["v_threshold"], "none" if module.synapse_decay is None else "decay_first"
            return StreamNeuron(name, **own, several=True, floor=module.min_v_mem, rounded_floor=True)
        if isinstance(module, ALIF) and module.adapted_reset and module.input_gain == "average":
            self._refuse(name, "adapted_reset with input_gain: average cannot run on events", "set input_gain: 1-a")
        return StreamNeuron(
            name,
            **own,
            reset=module.reset,
            delayed=module.reset_delay,
            strict=module.strict,
            several=module.graded,
            floor=module.floor,
            adapts=isinstance(module, ALIF),
            adapted_reset=isinstance(module, ALIF) and module.adapted_reset,
        )

    def _start(self, module: Neuron) -> float | np.ndarray:
        """Return the membranes before the first step: a number, or an array `[C, H, W]`."""
        channels, height, width = self.shape
        shape = (channels,) if self.is_flat else (channels, width) if self.has_one_axis else (channels, height, width)
        v = module.initial_state(torch.zeros(1, *shape)).v.detach().numpy().reshape(self.shape)
        return float(v.flat[0]) if (v == v.flat[0]).all() else v

    def _coefficient(self, name: str, value: Any) -> float | np.ndarray:
        """Return a coefficient: a number, or an array `[C, 1, 1]` or `[C, H, W]`."""
        number = value.detach().float().cpu() if isinstance(value, Tensor) else torch.tensor(value)
        if number.numel() == 1:
            return float(number.item())
        shape = {1: (*number.shape, 1, 1), 2: (number.shape[0], 1, *number.shape[1:])}.get(number.dim(), number.shape)
        if self.is_flat or len(shape) != 3 or shape[0] != self.shape[0] or shape[1:] not in ((1, 1), self.shape[1:]):
            shape = (number.numel(), 1, 1)
        if shape[0] != self.shape[0]:
            self._refuse(name, f"values of shape {list(number.shape)} cannot run on events")
        return number.numpy().reshape(shape)

    def _add_pool(self, name: str, module: nn.Module) -> None:
        window, stride, padding = self._window(name, module)
        kind: PoolKind = "sum" if isinstance(module, SumPool) else "avg"
        kind = "max" if isinstance(module, nn.MaxPool1d | nn.MaxPool2d) else kind
        is_pooled = self.current is not None and self.current.pool != "none"
        if self.current is None or (is_pooled and self.has_neurons):
            self._relay(name)
        layer = self.current
        assert layer is not None
        if self.has_neurons and layer.neuron.reset == "integrate":
            self._refuse(name, "pooling of membranes cannot run on events")
        if layer.current_pool != (1, 1) and not self.has_neurons:
            self._refuse(name, "two poolings of currents cannot run on events", "use one with a larger window")
        if not self.has_neurons and kind != "max":
            self._refuse(name, f"{kind} pooling of currents cannot run on events", "pool the spikes, or use max_pool")
        if not self.has_neurons and (stride != window or any(padding)):
            self._refuse(name, "windows of currents that overlap or are padded cannot run on events", "pool the spikes")
        if self.has_neurons:
            self.current = layer._replace(pool=kind, window=window, pool_stride=stride, pool_padding=padding)
            self.shape = self.current.out_shape
        else:
            self.current = layer._replace(current_pool=window)
            self.shape = self.current.shape

    def _window(self, name: str, module: Any) -> tuple[Pair, Pair, Pair]:
        """Return the window of a pooling, its stride and its padding."""
        kernel, stride = self._sizes(module.kernel_size), self._sizes(module.stride)
        padding, dilation = self._sizes(module.padding, 0), self._sizes(getattr(module, "dilation", 1))
        if max(dilation) > 1 or getattr(module, "divisor_override", 1) not in (1, None):
            self._refuse(name, "windows that are dilated cannot run on events yet")
        if any(padding) and not getattr(module, "count_include_pad", True):
            self._refuse(name, "means of windows that are not full cannot run on events", "set count_include_pad: true")
        sizes = zip(self.shape[1:], kernel, stride, padding, strict=True)
        if getattr(module, "ceil_mode", False) and any((n + 2 * p - k) % s for n, k, s, p in sizes):
            self._refuse(name, "windows that are not full cannot run on events yet", "set ceil_mode: false")
        return kernel, stride, padding

    def _flatten(self, name: str, module: nn.Flatten) -> None:
        if module.start_dim != 1 or module.end_dim not in (-1, 3):
            self._refuse(name, "a flatten of some axes cannot run on events", "flatten all axes")
        self.is_flat = True


def _advice(module: nn.Module) -> str:
    kind = type(module).__name__
    return "set fold_norm=True, or --fold-norm" if "BatchNorm" in kind else ""


def _array(values: Tensor) -> np.ndarray:
    return values.detach().cpu().numpy()


def _first_layer(module: nn.Module) -> nn.Module:
    """Return the first layer of nested networks."""
    while type(module) is Network:
        module = next(layer for _, layer in module.layers())
    return module


def _kernel(feedback: Feedback) -> Pair:
    """Return the rows and columns of a feedback's kernel."""
    sizes = (1, 1, *feedback.weight.shape[2:])
    return sizes[-2], sizes[-1]


def _bias(module: nn.Conv1d | nn.Conv2d | nn.Linear | Feedback) -> np.ndarray | None:
    return None if module.bias is None else _array(module.bias)


def _full_weight(module: nn.Conv1d | nn.Conv2d, kernel: Pair, dilation: Pair) -> np.ndarray:
    """Return a kernel `[C', C, rows, columns]`, with zeros between what is dilated and for other groups' channels."""
    own = _array(module.weight).reshape(module.out_channels, -1, *kernel)
    rows, columns = (step * (size - 1) + 1 for step, size in zip(dilation, kernel, strict=True))
    full = np.zeros((module.out_channels, module.in_channels, rows, columns), np.float32)
    outputs, inputs = module.out_channels // module.groups, module.in_channels // module.groups
    for group in range(module.groups):
        part = slice(group * outputs, (group + 1) * outputs)
        full[part, group * inputs : (group + 1) * inputs, :: dilation[0], :: dilation[1]] = own[part]
    return full
