"""A network's form: an ordered program of linear maps and neurons, with their numbers, without PyTorch.

    maps      currents = sum of convolutions of earlier values, one after another, + bias
    neurons   (y, states) = step(x, states), see `snnlab.kernels.neuron_form`
    pools     the maximum, the mean or the sum of windows
    sums      the sum of earlier values

A linear layer is a convolution whose kernel covers its whole input. A value may be one of an earlier step: that is how
feedback and delays are written. Axes: C, H, W; a layer of one axis has H = 1, and features have H = W = 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from snnlab.errors import ConfigError
from snnlab.kernels.neuron_form import NeuronForm, trace_form
from snnlab.kernels.trace_cache import UntraceableStep
from snnlab.nn.blocks.branches import SHORTCUT, Residual
from snnlab.nn.delays import Delays
from snnlab.nn.layers.delayed import DelayedConnections, DelayedConv, DelayedLinear
from snnlab.nn.layers.dropout import Dropout
from snnlab.nn.layers.elementwise import Delay
from snnlab.nn.layers.pool import SumPool
from snnlab.nn.network import Network
from snnlab.nn.neurons.base import Neuron, cast_coefficients
from snnlab.nn.neurons.recurrent import ConvFeedback, DenseFeedback, Feedback, Recurrent

Shape = tuple[int, ...]
Pair = tuple[int, int]
PoolKind = Literal["max", "avg", "sum"]
# The place of the network's input among the values.
INPUT = -1


class Value(NamedTuple):
    """A value: the index of the operation that gives it, or `INPUT`; and how many steps ago."""

    of: int
    delay: int = 0


class WeightMap(NamedTuple):
    """A convolution without a bias; zeros are around its input.

    Attributes:
        name: Name of its layer, or of a feedback.
        source: Its input.
        in_shape: Shape of its input.
        padding: Rows of zeros above and columns of zeros to the left; as many as needed are below and to the right.

    Shape:
        weight: `[C', C / groups, rows, columns]`, float32.
    """

    name: str
    source: Value
    in_shape: Shape
    weight: np.ndarray
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1

    @property
    def is_whole(self) -> bool:
        """Whether the kernel covers the whole input."""
        is_simple = self.padding == (0, 0) and self.dilation == (1, 1) and self.groups == 1
        return is_simple and self.weight.shape[2:] == self.in_shape[1:]


class Currents(NamedTuple):
    """The sum of linear maps and a bias, `[C]`; the name is that of the layer."""

    name: str
    shape: Shape
    maps: tuple[WeightMap, ...]
    bias: np.ndarray | None


class Neurons(NamedTuple):
    """A layer of neurons."""

    name: str
    shape: Shape
    source: Value
    form: NeuronForm


class Pooling(NamedTuple):
    """A pooling; padding counts for a mean, and never for a maximum."""

    name: str
    shape: Shape
    source: Value
    kind: PoolKind
    window: Pair
    stride: Pair
    padding: Pair


class Addition(NamedTuple):
    """The sum of the ends of a block and of its shortcut."""

    name: str
    shape: Shape
    sources: tuple[Value, ...]


Operation = Currents | Neurons | Pooling | Addition


class NetworkForm(NamedTuple):
    """A network in evaluation, as a program.

    Attributes:
        in_shape: Shape of a frame, C, H, W.
        operations: The operations in order; each gives one value.
        output: The network's output.
        place: Path of the layers, for errors.
    """

    in_shape: Shape
    operations: tuple[Operation, ...]
    output: Value
    place: str

    @property
    def out_shape(self) -> Shape:
        """Shape of the output, C, H, W."""
        return self.shape_of(self.output)

    def shape_of(self, source: Value) -> Shape:
        """Return the shape of a value."""
        return self.in_shape if source.of == INPUT else self.operations[source.of].shape

    @property
    def neurons(self) -> dict[str, Neurons]:
        """The layers of neurons by name."""
        return {one.name: one for one in self.operations if isinstance(one, Neurons)}


# What may follow a layer of delays: layers whose weights are split by delay, and those that leave values as they are.
_READ_DELAYED = (nn.Conv1d, nn.Conv2d, nn.Linear, Delay, nn.Flatten, Dropout, nn.Identity)


def network_form(network: Network, in_shape: Shape, place: str = "model.layers") -> NetworkForm:
    """Return the form of a network.

    Args:
        network: The network; evaluation is assumed, so that dropout does nothing.
        in_shape: Shape of one sample at one step: (C, H, W), (C, W) or (C,).
        place: Path of the layers, for errors.
    """
    reader = _FormReader(in_shape, place)
    for name, module in network.layers():
        if other := next((p.dtype for p in module.parameters() if p.dtype != torch.float32), None):
            kind = str(other).removeprefix("torch.")
            raise ConfigError(f"{place}.{name}", f"needs float32, got {kind}", "call network.float()")
        reader.read(name, module)
    return reader.finish()


class _HeldBack(NamedTuple):
    """Values that a layer of delays holds back: its name, and the steps of each, `[C, H, W]`."""

    name: str
    steps: np.ndarray


class _FormReader:
    """Reads the layers of a network in order."""

    def __init__(self, in_shape: Shape, place: str) -> None:
        if not 1 <= len(in_shape) <= 3:
            raise ConfigError(place, f"needs frames of 1 to 3 axes, got {list(in_shape)}")
        self.place = place
        self.done: list[Operation] = []
        self.at = Value(INPUT)
        self.held: _HeldBack | None = None
        # Features of one axis are channels of one pixel.
        self.shape: Shape = {1: (*in_shape, 1, 1), 2: (*in_shape[:1], 1, *in_shape[1:])}.get(len(in_shape), in_shape)
        self.in_shape = self.shape
        self.is_flat, self.has_one_axis = len(in_shape) == 1, len(in_shape) == 2

    def read(self, name: str, module: nn.Module) -> None:
        """Read the next layer."""
        if not isinstance(module, _READ_DELAYED) and type(module) is not Network:
            self._check_none_held()
        if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Linear):
            one = self._map(name, module, _array(module.weight))
            self._add(Currents(name, self._shape_after(one, module), self._delayed_maps(one), _bias(module)))
        elif isinstance(module, DelayedConnections):
            self._add_delayed(name, module)
        elif isinstance(module, Delay):
            self._hold_back(name, module)
        elif isinstance(module, Recurrent):
            self._add_recurrent(name, module)
        elif isinstance(module, Neuron):
            self._add(Neurons(name, self.shape, self.at, self._form(name, module)))
        elif isinstance(module, nn.MaxPool1d | nn.MaxPool2d | nn.AvgPool1d | nn.AvgPool2d | SumPool):
            self._add_pool(name, module)
        elif isinstance(module, nn.Flatten):
            self._flatten(name, module)
        elif isinstance(module, Residual):
            self._read_residual(name, module)
        elif type(module) is Network:
            for inner, layer in module.layers():
                self.read(f"{name}.{inner}", layer)
        elif not isinstance(module, Dropout | nn.Identity):
            self._refuse(
                name, f"{type(module).__name__} cannot be expressed by linear maps and neurons", _advice(module)
            )

    def _check_none_held(self) -> None:
        if self.held is not None:
            advice = "put it right before a convolution or a linear layer without delays"
            self._refuse(self.held.name, "delays of other layers' inputs cannot be expressed", advice)

    def finish(self) -> NetworkForm:
        """Return the form of all layers that were read."""
        self._check_none_held()
        return NetworkForm(self.in_shape, tuple(self.done), self.at, self.place)

    def _refuse(self, name: str, problem: str, advice: str = "") -> None:
        raise ConfigError(f"{self.place}.{name}", problem, advice)

    def _add(self, operation: Operation) -> None:
        self.done.append(operation)
        self.at, self.shape = Value(len(self.done) - 1), operation.shape

    def _sizes(self, size: Any, alone: int = 1) -> Pair:
        """Return a size of rows and columns; a network of one axis has one row, and `alone` is the row's size."""
        columns = size if isinstance(size, int) else size[-1]
        if self.has_one_axis:
            return alone, columns
        return (size, size) if isinstance(size, int) else (size[0], columns)

    def _map(self, name: str, module: Any, weight: np.ndarray) -> WeightMap:
        """Return the map of a convolution or a linear layer."""
        if isinstance(module, nn.Linear):
            if not self.is_flat:
                self._refuse(name, f"linear on {list(self.shape)} cannot be expressed", "put a flatten layer before it")
            if module.in_features != prod(self.shape):
                self._refuse(name, f"needs {module.in_features} features, and its input is {list(self.shape)}")
            return WeightMap(name, self.at, self.shape, weight.reshape(-1, *self.shape))
        if self.is_flat:
            self._refuse(name, "a convolution after flatten cannot be expressed")
        if module.padding_mode != "zeros":
            self._refuse(name, f"padding_mode {module.padding_mode} cannot be expressed", "set padding_mode: zeros")
        if module.in_channels != self.shape[0]:
            self._refuse(name, f"needs {module.in_channels} channels, and its input is {list(self.shape)}")
        kernel, stride, dilation = (self._sizes(size) for size in (module.kernel_size, module.stride, module.dilation))
        if module.padding == "same":
            padding = dilation[0] * (kernel[0] - 1) // 2, dilation[1] * (kernel[1] - 1) // 2
        else:
            padding = (0, 0) if isinstance(module.padding, str) else self._sizes(module.padding, 0)
        weight = weight.reshape(module.out_channels, -1, *kernel)
        return WeightMap(name, self.at, self.shape, weight, stride, padding, dilation, module.groups)

    def _shape_after(self, one: WeightMap, module: Any) -> Shape:
        if isinstance(module, nn.Linear):
            return one.weight.shape[0], 1, 1
        if module.padding == "same":
            return one.weight.shape[0], *self.shape[1:]
        parts = zip(self.shape[1:], one.padding, one.dilation, one.weight.shape[2:], one.stride, strict=True)
        return one.weight.shape[0], *((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, p, d, k, s in parts)

    def _add_delayed(self, name: str, module: DelayedConnections) -> None:
        """Add a map for each delay; their sums begin with the shortest one."""
        parts = _by_delay(module.weight, module.delays)
        if isinstance(module, DelayedConv) and len(module.stride) < 3:
            if self.is_flat or module.padding_mode != "constant":
                self._refuse(name, "a convolution after flatten, or with other padding than zeros, cannot be expressed")
            padding = [0, 0] * self.has_one_axis + list(reversed(module.padding))
            rules = self._sizes(module.stride), (padding[1], padding[3]), self._sizes(module.dilation), module.groups
            kernel = self._sizes(tuple(module.weight.shape[2:-1]))
            ends = padding[0::2]
        elif isinstance(module, DelayedLinear) and module.every == 1 and self.is_flat:
            rules, kernel, ends = ((1, 1), (0, 0), (1, 1), 1), self.shape[1:], [0, 0]
        else:
            self._refuse(name, "a layer with delays of this kind cannot be expressed", "use conv1d, conv2d or linear")
            return
        weights = [(n, _array(weight).reshape(len(weight), -1, *kernel)) for n, weight in parts]
        maps = [WeightMap(name, Value(self.at.of, n), self.shape, weight, *rules) for n, weight in weights]
        sizes = zip(self.shape[1:], rules[1], ends, rules[2], kernel, rules[0], strict=True)
        size = ((n + p + end - d * (k - 1) - 1) // s + 1 for n, p, end, d, k, s in sizes)
        self._add(Currents(name, (len(module.weight), *size), tuple(maps), _bias(module)))

    def _hold_back(self, name: str, module: Delay) -> None:
        """Delay the values for the next convolution or linear layer."""
        steps = module.steps.cpu().numpy().reshape(self.shape)
        self.held = _HeldBack(name, steps if self.held is None else self.held.steps + steps)

    def _delayed_maps(self, one: WeightMap) -> tuple[WeightMap, ...]:
        """Return a map for each delay of what is held back, with the weights of the inputs that have it."""
        if self.held is None:
            return (one,)
        (name, steps), self.held = self.held, None
        if one.is_whole:
            own = steps[None]
        else:
            if (steps != steps[:, :1, :1]).any():
                self._refuse(name, "delays that differ within a channel, before a convolution, cannot be expressed")
            own = np.repeat(steps[:, 0, 0].reshape(one.groups, -1), len(one.weight) // one.groups, 0)[..., None, None]
        source = one.source
        return tuple(
            one._replace(source=Value(source.of, source.delay + int(n)), weight=np.where(own == n, one.weight, 0))
            for n in np.unique(own)
        )

    def _add_recurrent(self, name: str, module: Recurrent) -> None:
        """Add the feedback of neurons' outputs to the currents right before them."""
        currents, feedback = self.done[self.at.of] if self.at.of != INPUT else None, module.feedback
        if not isinstance(currents, Currents):
            self._refuse(name, "a feedback needs a convolution or a linear layer right before its neurons")
        assert isinstance(currents, Currents)
        is_dense = isinstance(feedback, DenseFeedback)
        if not is_dense and not isinstance(feedback, ConvFeedback):
            self._refuse(name, f"the feedback {type(feedback).__name__} cannot be expressed", "use dense or conv")
        if is_dense and self.shape[1:] != (1, 1):
            self._refuse(name, "a dense feedback of a convolution cannot be expressed", "set feedback: conv")
        if feedback.bias is not None and currents.bias is not None:
            self._refuse(name, "two biases are added in an order of their own", f"set bias: false at {currents.name}")
        maps = (*currents.maps, *self._feedback_maps(f"{name}.feedback", feedback))
        bias = _bias(feedback) if currents.bias is None else currents.bias
        self.done[-1] = currents._replace(maps=maps, bias=bias)
        self._add(Neurons(name, self.shape, self.at, self._form(name, module.neuron)))

    def _feedback_maps(self, name: str, feedback: Feedback) -> list[WeightMap]:
        channels, sizes = self.shape[0], (1, 1, *feedback.weight.shape[2:])
        kernel, own = sizes[-2:], feedback.connections()
        padding = kernel[0] // 2, kernel[1] // 2
        return [
            WeightMap(
                name,
                Value(self.at.of + 1, 1 + steps),
                self.shape,
                _array(weight).reshape(channels, channels, *kernel),
                padding=padding,
            )
            for steps, weight in _by_delay(own[..., None], feedback.delays)
        ]

    def _form(self, name: str, module: Neuron) -> NeuronForm:
        channels, height, width = self.shape
        shape = (channels,) if self.is_flat else (channels, width) if self.has_one_axis else (channels, height, width)
        x = torch.zeros(1, *shape)
        if module.parallel or module.weighted_input(x[None]).data_ptr() != x.data_ptr():
            self._refuse(name, f"{type(module).__name__} has no single step")
        with torch.no_grad():
            state, k = module.initial_state(x), cast_coefficients(module.coefficients(), x)
            found = trace_form(module.step, state, k)
            if isinstance(found, UntraceableStep):
                raise ConfigError(f"{self.place}.{name}", f"its step cannot be traced: {found.reason}")
            numbers = {key: self._number(name, value) for key, value in found.numbers(k).items()}
        start = {key: _array(value).reshape(self.shape) for key, value in state._asdict().items()}
        return NeuronForm(found.title, found.step, numbers, start, module.spiking)

    def _number(self, name: str, value: Any) -> np.ndarray:
        """Return a number of neurons as an array `[]`, `[C, 1, 1]` or `[C, H, W]`."""
        number = value.detach().float().cpu() if isinstance(value, Tensor) else torch.tensor(value, dtype=torch.float32)
        if number.numel() == 1:
            return number.reshape(()).numpy()
        shape = {1: (*number.shape, 1, 1), 2: (number.shape[0], 1, *number.shape[1:])}.get(number.dim(), number.shape)
        if self.is_flat or len(shape) != 3 or shape[0] != self.shape[0] or shape[1:] not in ((1, 1), self.shape[1:]):
            shape = (number.numel(), 1, 1)
        if shape[0] != self.shape[0]:
            self._refuse(name, f"values of shape {list(number.shape)} cannot be expressed")
        return number.numpy().reshape(shape)

    def _add_pool(self, name: str, module: Any) -> None:
        kind: PoolKind = "sum" if isinstance(module, SumPool) else "avg"
        kind = "max" if isinstance(module, nn.MaxPool1d | nn.MaxPool2d) else kind
        window, stride, padding, dilation = (
            *(self._sizes(size) for size in (module.kernel_size, module.stride)),
            self._sizes(module.padding, 0),
            self._sizes(getattr(module, "dilation", 1)),
        )
        if max(dilation) > 1 or getattr(module, "divisor_override", 1) not in (1, None):
            self._refuse(name, "windows that are dilated cannot be expressed yet")
        if any(padding) and not getattr(module, "count_include_pad", True):
            self._refuse(name, "means of windows that are not full cannot be expressed", "set count_include_pad: true")
        sizes = list(zip(self.shape[1:], window, stride, padding, strict=True))
        if getattr(module, "ceil_mode", False) and any((n + 2 * p - k) % s for n, k, s, p in sizes):
            self._refuse(name, "windows that are not full cannot be expressed yet", "set ceil_mode: false")
        shape = self.shape[0], *((n + 2 * p - k) // s + 1 for n, k, s, p in sizes)
        self._add(Pooling(name, shape, self.at, kind, window, stride, padding))

    def _flatten(self, name: str, module: nn.Flatten) -> None:
        if module.start_dim != 1 or module.end_dim not in (-1, 3):
            self._refuse(name, "a flatten of some axes cannot be expressed", "flatten all axes")
        self.is_flat = True

    def _read_residual(self, name: str, module: Residual) -> None:
        """Read the layers of a block; its input goes to them, and to the shortcut or to the sum."""
        if module.connect != "add":
            self._refuse(name, f"connect: {module.connect} cannot be expressed", "set connect: add")
        begun = self.at, self.shape, self.is_flat
        self._read_all([(f"{name}.{inner}", layer) for inner, layer in module.layers()])
        self._check_none_held()
        branch, end = self.at, (self.shape, self.is_flat)
        self.at, self.shape, self.is_flat = begun
        if (shortcut := getattr(module, SHORTCUT, None)) is not None:
            self.read(f"{name}.{SHORTCUT}", shortcut)
        self._add(Addition(name, end[0], (self.at, branch)))
        self.is_flat = end[1]

    def _read_all(self, layers: Sequence[tuple[str, nn.Module]]) -> None:
        for name, module in layers:
            self.read(name, module)


def _by_delay(weight: Tensor, delays: Delays | None) -> list[tuple[int, Tensor]]:
    """Return the weights of each delay that has some, in steps, the shortest first; weight: `[..., K]`."""
    if delays is None:
        return [(0, weight[..., 0])]
    kernel = delays.kernel(weight)
    steps = range(delays.max_steps + 1)
    return [(n, part) for n in steps if (part := kernel[..., delays.max_steps - n]).any()]


def _advice(module: nn.Module) -> str:
    kind = type(module).__name__
    return "set fold_norm=True, or --fold-norm" if "BatchNorm" in kind else ""


def _array(values: Tensor) -> np.ndarray:
    return values.detach().cpu().numpy()


def _bias(module: Any) -> np.ndarray | None:
    return None if module.bias is None else _array(module.bias)
