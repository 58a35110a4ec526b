"""The layers of the event-driven engine, from a network's form.

A layer of the engine is a convolution, the neurons after it, and the pooling of their spikes. A linear layer is a
convolution whose kernel covers the whole input. Layers run in order, and each sends its output to one later layer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from typing import Literal, NamedTuple, NoReturn

import numpy as np

from snnlab.errors import ConfigError
from snnlab.kernels.neuron_form import NeuronForm
from snnlab.kernels.quiet_neurons import Quiet, leaks_first, quiet_neurons
from snnlab.nn.network_form import (
    INPUT,
    Addition,
    Currents,
    NetworkForm,
    Neurons,
    Operation,
    Pair,
    Pooling,
    Shape,
    Value,
    WeightMap,
)

PoolKind = Literal["none", "max", "avg", "sum"]


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
        neurons: Name of the neurons; empty: none.
        form: The form of the neurons.
        quiet: What they do without input, where that is known.
        relays: Whether it passes its input on, so that it can be pooled or added.
        pool, window, pool_stride, pool_padding: Pooling of the spikes; without a stride, windows are side by side.
        adds_to_next: Whether its currents are added to those of the next layer, instead of neurons of its own.
        feeds_itself: Whether its input at a step is the spikes of its neurons in the step before.
        keeps: For how many steps its input is kept, for itself and the layers after it that have a delay; 0: for none.
        delay: Which input it takes, in steps before the one that arrives; None: what arrives, and nothing is kept.
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
    neurons: str = ""
    form: NeuronForm | None = None
    quiet: Quiet | None = None
    relays: bool = False
    pool: PoolKind = "none"
    window: Pair = (1, 1)
    pool_stride: Pair | None = None
    pool_padding: Pair = (0, 0)
    adds_to_next: bool = False
    feeds_itself: bool = False
    keeps: int = 0
    delay: int | None = None
    to: int | None = None
    copy_to: int | None = None

    @property
    def label(self) -> str:
        """Name of its neurons, or of a layer without neurons."""
        return self.neurons or self.name

    @property
    def spikes(self) -> bool:
        """Whether it has neurons that spike."""
        return self.form is not None and self.form.spiking

    @property
    def is_driven(self) -> bool:
        """Whether only input changes its neurons or lets them spike, apart from their leak."""
        if self.bias is not None or self.current_pool != (1, 1):
            return False
        return self.relays or (self.quiet is not None and self.form is not None and leaks_first(self.form, self.quiet))

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


def stream_layers(form: NetworkForm) -> list[StreamLayer]:
    """Return the layers of a network for the event-driven engine."""
    return _Wiring(_Grouping(form)).layers()


class _Group(NamedTuple):
    """Layers whose currents are added, the neurons of the last one, and the value that they give.

    Attributes:
        layers: The layers, one for each map.
        inputs: The input of each layer; None: it feeds itself, or takes an input that the layer before it keeps.
        value: Index of the operation that gives it.
        first: Index of the first operation.
    """

    layers: list[StreamLayer]
    inputs: list[int | None]
    value: int
    first: int


class _Grouping:
    """Groups the operations of a form into layers, in order."""

    def __init__(self, form: NetworkForm) -> None:
        self.form = form
        self._read = Counter(
            value for number, one in enumerate(form.operations) for value in _inputs(one) if value < number
        )
        self._read[form.output.of] += 1
        self.groups: list[_Group] = []
        for number, one in enumerate(form.operations):
            if isinstance(one, Currents):
                self._begin(number, one)
            elif isinstance(one, Neurons):
                self._add_neurons(number, one)
            elif isinstance(one, Pooling):
                self._add_pool(number, one)
        if not any(isinstance(one, Currents) for one in form.operations):
            raise ConfigError(form.place, "streaming needs a convolution or a linear layer")

    def refuse(self, name: str, problem: str, advice: str = "") -> NoReturn:
        """Raise an error at a layer."""
        raise ConfigError(f"{self.form.place}.{name}", problem, advice)

    def _begin(self, number: int, one: Currents) -> None:
        layers: list[StreamLayer] = []
        inputs: list[int | None] = []
        for source, same in groupby(one.maps, lambda each: each.source.of):
            maps, feeds_itself = list(same), source > number
            if not feeds_itself:
                self.require_spikes(one.name, source)
            delays = [each.source.delay - feeds_itself for each in maps]
            for n, each in enumerate(maps):
                layer = _layer(each, one)._replace(feeds_itself=feeds_itself, adds_to_next=True)
                if any(delays):
                    layer = layer._replace(delay=delays[n], keeps=0 if n else max(delays) + 1)
                layers.append(layer)
                inputs.append(None if feeds_itself or n else source)
        layers[-1] = layers[-1]._replace(adds_to_next=False, bias=one.bias)
        self.groups.append(_Group(layers, inputs, number, number))

    def require_spikes(self, name: str, value: int, problem: str = "its input are no spikes") -> None:
        """Refuse a layer whose input are currents, or the membranes of a readout."""
        one = None if value == INPUT else self.form.operations[value]
        if isinstance(one, Currents) or (isinstance(one, Neurons) and not one.form.spiking):
            self.refuse(name, problem, f"put spiking neurons before {name}")
        if isinstance(one, Pooling):
            self.require_spikes(name, one.source.of, problem)

    def _last(self, value: Value) -> StreamLayer | None:
        """Return the layer whose value is read, if nothing else reads it."""
        own = self.groups[-1] if self.groups and self.groups[-1].value == value.of else None
        return None if own is None or self._read[value.of] > 1 else own.layers[-1]

    def _set_last(self, number: int, layer: StreamLayer) -> None:
        own = self.groups[-1]
        self.groups[-1] = own._replace(layers=[*own.layers[:-1], layer], value=number)

    def _add_neurons(self, number: int, one: Neurons) -> None:
        layer = self._last(one.source)
        if layer is None or layer.form is not None or layer.relays:
            self.refuse(one.name, "neurons need a convolution or a linear layer right before them")
        if layer.feeds_itself and (not one.form.spiking or layer.current_pool != (1, 1)):
            self.refuse(one.name, "a feedback of currents cannot run on events", "use spiking neurons, without pooling")
        quiet = quiet_neurons(one.form) if one.form.spiking else None
        self._set_last(number, layer._replace(neurons=one.name, form=one.form, quiet=quiet))

    def _add_pool(self, number: int, one: Pooling) -> None:
        layer = self._last(one.source)
        if layer is not None and layer.form is None and not layer.relays:
            if one.kind != "max":
                hint = "pool the spikes, or use max_pool"
                self.refuse(one.name, f"{one.kind} pooling of currents cannot run on events", hint)
            if layer.current_pool != (1, 1):
                self.refuse(one.name, "two poolings of currents cannot run on events", "use one with a larger window")
            if one.stride != one.window or any(one.padding) or layer.feeds_itself:
                problem = "windows of currents that overlap or are padded, or a feedback of them, cannot run on events"
                self.refuse(one.name, problem, "pool the spikes")
            self._set_last(number, layer._replace(current_pool=one.window))
            return
        self.require_spikes(one.name, one.source.of)
        if layer is None or layer.pool != "none":
            layer = relay(one.name, self.form.shape_of(one.source))
            self.groups.append(_Group([layer], [one.source.of], number, number))
        pooled = {"pool": one.kind, "window": one.window, "pool_stride": one.stride, "pool_padding": one.padding}
        self._set_last(number, layer._replace(**pooled))


def _inputs(one: Operation) -> list[int]:
    """Return the values that an operation reads; one that is delayed by several times is read once."""
    if isinstance(one, Currents):
        return list(dict.fromkeys(each.source.of for each in one.maps))
    return [source.of for source in (one.sources if isinstance(one, Addition) else (one.source,))]


def relay(name: str, shape: Shape) -> StreamLayer:
    """Return a layer that passes its input on."""
    identity = np.eye(shape[0], dtype=np.float32)[:, :, None, None]
    return StreamLayer(name, identity, None, shape, shape, relays=True)


class _Wire:
    """A layer, the values that it reads and gives, and its place in the order of layers."""

    def __init__(self, layer: StreamLayer, reads: int | None, gives: int | None, order: float) -> None:
        self.layer, self.reads, self.gives, self.order = layer, reads, gives, order


# What reads a value: a layer, an addition by its index, or None, the network's output.
_Reader = _Wire | int | None


class _Wiring:
    """Connects layers: each sends its output to the input of one, which may copy its input to one other."""

    def __init__(self, grouping: _Grouping) -> None:
        self.form, self._fresh = grouping.form, len(grouping.form.operations)
        self.wires: list[_Wire] = []
        for group in grouping.groups:
            for layer, reads in zip(group.layers, group.inputs, strict=True):
                gives = None if layer.adds_to_next else group.value
                self.wires.append(_Wire(layer, reads, gives, group.first))
        self.sums: dict[int, list[int]] = {}
        for number, one in enumerate(self.form.operations):
            if isinstance(one, Addition):
                self.sums[number] = [source.of for source in one.sources]
                for source in one.sources:
                    grouping.require_spikes(one.name, source.of, "its sum are no spikes")
        self.output = self.form.output.of
        for number, sources in self.sums.items():
            for at, value in enumerate(sources):
                if self._divides(value) and self._readers(value)[0] == number:
                    sources[at] = self._relay(value, number)
        pending = [INPUT, *range(len(self.form.operations))]
        while pending:
            value = pending.pop()
            readers = self._readers(value)
            if len(readers) > 2 or (len(readers) == 2 and not isinstance(readers[0], _Wire)):
                pending.append(self._relay_first(value, readers))
        self.wires.sort(key=lambda wire: wire.order)

    def layers(self) -> list[StreamLayer]:
        """Return the layers with their connections."""
        copies: dict[int, int] = {}
        for value in [INPUT, *(wire.gives for wire in self.wires if wire.gives is not None), *self.sums]:
            first, *others = self._readers(value)
            if others:
                copies[self._place(first)] = self._place(others[0])
        found = []
        for k, wire in enumerate(self.wires):
            to = k + 1 if wire.gives is None else self._place(self._readers(wire.gives)[0])
            found.append(wire.layer._replace(to=None if to == k + 1 else to, copy_to=copies.get(k)))
        return found

    def _readers(self, value: int) -> list[_Reader]:
        """Return what reads a value, in order."""
        found = [(wire.order, n, wire) for n, wire in enumerate(self.wires) if wire.reads == value]
        found += [(number, 0, number) for number, sources in self.sums.items() for one in sources if one == value]
        ordered: list[_Reader] = [reader for *_, reader in sorted(found, key=lambda one: one[:2])]
        return [*ordered, *[None] * (self.output == value)]

    def _place(self, reader: _Reader) -> int:
        """Return the index of the layer whose input a reader is; that after the last one is the output."""
        if reader is None:
            return len(self.wires)
        if isinstance(reader, _Wire):
            return self.wires.index(reader)
        return self._place(self._readers(reader)[0])

    def _divides(self, value: int) -> bool:
        return any(wire.gives == value and wire.layer.pool == "avg" for wire in self.wires)

    def _relay(self, value: int, before: float) -> int:
        """Add a layer that passes a value on, before an operation; return what it gives."""
        self._fresh += 1
        shape, name = self._shape(value), self._name(before)
        self.wires.append(_Wire(relay(name, shape), value, self._fresh, before - 0.5))
        return self._fresh

    def _relay_first(self, value: int, readers: Sequence[_Reader]) -> int:
        """Add a layer that copies a value to its last reader, and passes it on to the others; return what it gives."""
        first = readers[0]
        before = first.order if isinstance(first, _Wire) else len(self.form.operations) if first is None else first
        given = self._relay(value, before)
        for reader in readers[:-1]:
            if isinstance(reader, _Wire):
                reader.reads = given
            elif reader is not None:
                sources = self.sums[reader]
                sources[sources.index(value)] = given
        return given

    def _shape(self, value: int) -> Shape:
        wire = next((wire for wire in self.wires if wire.gives == value), None)
        return self.form.shape_of(Value(value)) if wire is None else wire.layer.out_shape

    def _name(self, before: float) -> str:
        at = min(int(before), len(self.form.operations) - 1)
        return self.form.operations[at].name


def _layer(one: WeightMap, currents: Currents) -> StreamLayer:
    fills = one.stride[0] > 1  # the engine has rows with a stride or with a dilation
    return StreamLayer(
        one.name,
        _full_weight(one, (one.dilation[0] if fills else 1, one.dilation[1])),
        None,
        one.in_shape,
        currents.shape,
        whole=one.is_whole,
        stride=one.stride,
        padding=one.padding,
        row_dilation=1 if fills else one.dilation[0],
    )


def _full_weight(one: WeightMap, dilation: Pair) -> np.ndarray:
    """Return a kernel `[C', C, rows, columns]`, with zeros between what is dilated and for other groups' channels."""
    own, groups, channels = one.weight, one.groups, one.in_shape[0]
    rows, columns = (step * (size - 1) + 1 for step, size in zip(dilation, own.shape[2:], strict=True))
    full = np.zeros((len(own), channels, rows, columns), np.float32)
    outputs, inputs = len(own) // groups, channels // groups
    for group in range(groups):
        part = slice(group * outputs, (group + 1) * outputs)
        full[part, group * inputs : (group + 1) * inputs, :: dilation[0], :: dilation[1]] = own[part]
    return full
