"""Reads NIR graphs as networks: named layers as in a model's YAML, weights, and what was assumed.

NIR says what a neuron is in continuous time, and leaves open how time is cut into steps. With steps of dt and factors
a, b of one step (`exact`: exp(-dt / tau); `euler`: 1 - dt / tau):

    LIF, LI          u = a v + (1 - a) (v_leak + r x)                                        spikes: current
                     u = a v + (1 - a) v_leak + r / tau x                                    spikes: impulse
    IF, I            u = v + r dt x,   or v + r x                                            current, impulse
    CubaLIF, CubaLI  i = b i + (1 - b) w_in x, or b i + w_in / tau_syn x;  u = a v + (1 - a) (v_leak + r i)

dt and tau are in the unit of the file's time constants.
"""

from __future__ import annotations

import keyword
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from snnlab.errors import ConfigError, listing
from snnlab.interop import nir_metadata
from snnlab.interop.nir_files import GraphFile, NIRError, iterate_nodes
from snnlab.interop.nir_graphs import (
    POPULATIONS,
    FlatGraph,
    Segment,
    Shape,
    delay_cycles,
    flatten_graph,
    kind_of,
    require_size,
    segments,
)
from snnlab.nn.blocks.graph import Edge
from snnlab.nn.network import BuiltNetwork, Network, build_network
from snnlab.settings import FINITE, Count, above, check_settings

Layer = dict[str, Any]
Arrays = dict[str, np.ndarray]
# Length of a file's unit of time, ms; a step for `steps`.
_UNITS = {"s": 1000.0, "ms": 1.0}
_LINEAR = ("Affine", "Linear")


@dataclass(frozen=True)
class ReadOptions:
    """How a graph is read where it leaves something open.

    Args:
        time_unit: Unit of its time constants: `s`, `ms` or `steps`.
        dt: Length of a step, ms.
        discretization: Factors of one step: `exact` or `euler`.
        spikes: The input of 1 in a step is an `impulse` of 1 or a `current` of 1 during the step; null: an impulse for
            IF and I, a current for neurons that leak.
        reset: `subtract` the threshold, or to `zero`; null: to v_reset where the graph has it, else subtract.
        threshold: A spike above it, `strict`, or at it too, `inclusive`; null: strict, and inclusive with several
            spikes a step.
        spikes_per_step: `one` at most, or `several`.
        floor: Lower bound of the membranes; null: none.
        synapse: The input jumps onto the synaptic current before the membrane reads it: `jump_first`, or it decays
            before: `decay_first`, or the membrane reads the current of the step before: `next_step`.
        cycle_delay: Steps by which the output of a population returns to itself.
        ignore_metadata: Read graphs of snnlab by these options too.
    """

    time_unit: Literal["s", "ms", "steps"] = "s"
    dt: Annotated[float, "ms", above(0)] = 1.0
    discretization: Literal["exact", "euler"] = "exact"
    spikes: Literal["impulse", "current"] | None = None
    reset: Literal["subtract", "zero"] | None = None
    threshold: Literal["strict", "inclusive"] | None = None
    spikes_per_step: Literal["one", "several"] = "one"
    floor: Annotated[float | None, FINITE] = None
    synapse: Literal["jump_first", "decay_first", "next_step"] = "jump_first"
    cycle_delay: Count = 1
    ignore_metadata: bool = False

    @property
    def step(self) -> float:
        """Length of a step in the unit of the time constants."""
        return 1.0 if self.time_unit == "steps" else self.dt / _UNITS[self.time_unit]

    @property
    def strict(self) -> bool:
        """Whether a membrane at the threshold does not spike."""
        return (self.threshold or ("inclusive" if self.spikes_per_step == "several" else "strict")) == "strict"


@dataclass
class ReadNetwork:
    """A network that a graph describes.

    Attributes:
        layers: Its layers, as in a model's YAML.
        weights: Entries of its state dict that come from the graph.
        in_shape: Shape of one sample at one step.
        dt: Length of a step, ms; None where steps have no length.
        num_steps: Steps of a recording, where a layer depends on it; None if unknown.
        assumptions: What was assumed, each as one line.
        names: Name of the layer of each node.
        readout: The loss's readout, if it is recorded.
    """

    layers: dict[str, Layer]
    weights: Arrays
    in_shape: Shape
    dt: float | None
    num_steps: int | None = None
    assumptions: list[str] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)
    readout: str | None = None

    def build(self) -> BuiltNetwork:
        """Return the network with its weights, in evaluation mode.

        Raises:
            ConfigError: if a layer's settings are refused.
        """
        built = build_network(self.layers, in_shape=self.in_shape, dt=self.dt, num_steps=self.num_steps, place="layers")
        load_weights(built.network, self.weights)
        built.network.eval()
        return built


def load_weights(network: Network, weights: Mapping[str, np.ndarray]) -> None:
    """Load weights into a network; all of its entries that the graph has none for are zeros, such as missing biases."""
    found: dict[str, Tensor] = {key: torch.as_tensor(value) for key, value in weights.items()}
    network.load_state_dict(found)


def from_graph(graph: Any, options: ReadOptions | None = None) -> ReadNetwork:
    """Return the network of a `nir.NIRGraph`.

    Raises:
        NIRError: naming the node that cannot be read.
    """
    resets = {name: node.v_reset for name, node in iterate_nodes(graph) if getattr(node, "v_reset", None) is not None}
    return read_network(GraphFile(graph, resets, "", ""), "graph", options or ReadOptions())


def read_network(file: GraphFile, place: str, options: ReadOptions) -> ReadNetwork:
    """Return the network of a graph: exactly, if snnlab wrote it and nothing has changed, else by the options.

    Raises:
        NIRError: naming the node that cannot be read.
        ConfigError: if options contradict each other.
    """
    _check(options)
    own = None if options.ignore_metadata else nir_metadata.read(file.graph)
    if own is not None and own.layers is not None and not (changed := nir_metadata.changes(file.graph, own)):
        weights = nir_metadata.full_state(file.graph, own)
        said = [f"snnlab {own.version} wrote it: layers and settings are those of its metadata"]
        said += [f"its nodes do not say: {line}" for line in own.lost]
        read = ReadNetwork(
            {name: dict(node) for name, node in own.layers.items()},
            weights,
            own.in_shape,
            own.dt,
            own.num_steps,
            said,
            dict(own.nodes),
            own.readout,
        )
        return read
    found = _Reader(file, place, options).read()
    if own is not None:
        why = f"since {listing(changed)} changed" if own.layers is not None and changed else "which has no layers"
        found.assumptions.insert(0, f"the metadata of snnlab is not used, {why}")
    return found


def _check(options: ReadOptions) -> None:
    if options.spikes_per_step == "several":
        if options.reset == "zero":
            raise ConfigError("spikes_per_step", "several needs reset: subtract")
        if options.threshold == "strict":
            raise ConfigError("spikes_per_step", "several needs threshold: inclusive")


class _Value(NamedTuple):
    """A parameter of a population: one number for all, or one per neuron."""

    setting: float
    each: np.ndarray | None

    @classmethod
    def of(cls, array: np.ndarray, shape: Shape) -> _Value:
        flat = array.reshape(-1)
        if bool((flat == flat[0]).all()):
            return cls(_shortest(flat[0]), None)
        each = np.array(np.broadcast_to(array, shape), np.float64)
        return cls(float(each.flat[0]), each)

    def map(self, function: Any) -> _Value:
        """Return the value after a function of numbers and arrays."""
        return _Value(float(function(self.setting)), None if self.each is None else function(self.each))


def _shortest(number: Any) -> float:
    """Return a number as a Python float: for single precision the shortest decimal that rounds to it."""
    return float(str(number)) if isinstance(number, np.floating) else float(number)


def _rounded(value: float) -> float:
    """Return a value without the digits that a change of its unit added."""
    return float(f"{value:.15g}")


class _Reader:
    """Reads one graph by its options.

    Attributes:
        weights: Entries of the state dict.
        said: Assumptions.
    """

    def __init__(self, file: GraphFile, place: str, options: ReadOptions) -> None:
        self.file, self.place, self.options = file, place, options
        self.weights: Arrays = {}
        self.names: dict[str, str] = {}
        self.shapes: dict[str, Shape] = {}
        self.shortened: list[str] = []
        self.kinds: set[str] = set()
        self._maps: dict[str, Any] = {}
        self.constants: list[float] = []

    def read(self) -> ReadNetwork:
        """Return the network."""
        flat = flatten_graph(self.file.graph, self.place)
        delays = {
            name: int(self._steps(name, node).min()) for name, node in flat.nodes.items() if kind_of(node) == "Delay"
        }
        delayed, self.shortened = delay_cycles(flat, self.options.cycle_delay, delays, self.place)
        self._infer_shapes(flat)
        self.kinds = {kind_of(node) for node in flat.nodes.values()}
        returning = self._recurrent(delayed)
        self._maps = {weights: delayed.nodes.pop(weights) for weights in returning.values()}
        self.names = layer_names(delayed.nodes, {name: name.removesuffix(".lif") for name in returning})
        layers: dict[str, Layer] = {}
        for segment in segments(_without(delayed, returning)):
            name, layer = self._segment(segment, flat, returning, layers)
            layers[name] = layer
        if not layers:
            layers["identity1"] = {"type": "identity"}
        read = ReadNetwork(layers, self.weights, flat.in_shape, self.options.dt)
        read.names = {**self.names, **{weights: f"{self.names[name]}.feedback" for name, weights in returning.items()}}
        read.assumptions = [*self._assumptions(flat, delayed, returning)]
        return read

    # Shapes.

    def _infer_shapes(self, flat: FlatGraph) -> None:
        """Find the input shape of each node, from the input on, and check that the shapes of edges fit."""
        out: dict[str, Shape] = {flat.input: flat.in_shape}
        waiting = [flat.input]
        while waiting:
            source = waiting.pop()
            for edge in flat.edges:
                if edge.source != source or edge.target == flat.output:
                    continue
                name = edge.target
                known = self.shapes.get(name)
                if known is not None:
                    if known != out[source]:
                        raise self._error(
                            name, f"gets {list(out[source])} from {source}, and {list(known)} from another"
                        )
                    continue
                self.shapes[name] = out[source]
                out[name] = self._out_shape(name, flat.nodes[name], out[source])
                waiting.append(name)
        ends = {out[edge.source] for edge in flat.edges if edge.target == flat.output}
        if len(ends) > 1:
            raise self._error(flat.output, f"gets outputs of different shapes: {sorted(map(list, ends))}")
        said = self.file.graph.nodes[flat.output].output_type
        wanted = None if said is None or said.get("output") is None else tuple(int(n) for n in said["output"])
        (found,) = ends
        if wanted is not None and wanted != found:
            raise self._error(flat.output, f"has the shape {list(wanted)}, but gets {list(found)}")

    def _out_shape(self, name: str, node: Any, shape: Shape) -> Shape:
        """Return the output shape of a node for an input, checked against its parameters."""
        kind, found = kind_of(node), shape
        if kind in _LINEAR:
            if node.weight.ndim != 2 or len(shape) != 1 or node.weight.shape[1] != shape[0]:
                raise self._error(name, f"its weight {list(node.weight.shape)} does not fit its input {list(shape)}")
            found = (int(node.weight.shape[0]),)
            if kind == "Affine" and np.shape(node.bias) != found:
                raise self._error(name, f"its bias is {list(np.shape(node.bias))}, not {list(found)}")
        elif kind in ("Conv1d", "Conv2d"):
            found = self._convolved(name, node, shape)
        elif kind in ("SumPool2d", "AvgPool2d"):
            if len(shape) != 3:
                raise self._error(name, f"a {kind} needs an input [C, H, W], gets {list(shape)}")
            sizes = (_pair(getattr(node, key)) for key in ("kernel_size", "stride", "padding"))
            kernel, stride, padding = sizes
            found = (shape[0], *self._windows(name, shape[1:], kernel, stride, padding, (1, 1)))
        elif kind == "Flatten":
            start, end = self._axes(name, node, shape)
            found = (*shape[:start], math.prod(shape[start : end + 1]), *shape[end + 1 :])
        else:
            for key, array in _parameters(node).items():
                if not _fits(array.shape, shape):
                    raise self._error(name, f"{key} has the shape {list(array.shape)}, its input {list(shape)}")
        require_size(found, f"{self.place}: {name}")
        return found

    def _convolved(self, name: str, node: Any, shape: Shape) -> Shape:
        dims = 1 if kind_of(node) == "Conv1d" else 2
        if node.weight.ndim != dims + 2:
            raise self._error(name, f"its weight has the shape {list(node.weight.shape)}")
        groups, channels = int(node.groups), int(node.weight.shape[1])
        if len(shape) != dims + 1 or groups < 1 or channels * groups != shape[0] or node.weight.shape[0] % groups:
            what = f"its weight {list(node.weight.shape)} with {groups} groups"
            raise self._error(name, f"{what} does not fit its input {list(shape)}")
        said = None if node.input_shape is None else tuple(int(n) for n in np.atleast_1d(node.input_shape))
        if said is not None and said != shape[1:]:
            raise self._error(name, f"its input_shape is {list(said)}, but its input is {list(shape)}")
        bias = getattr(node, "bias", None)
        if bias is not None and np.shape(bias) != node.weight.shape[:1]:
            raise self._error(name, f"its bias is {list(np.shape(bias))}, not {list(node.weight.shape[:1])}")
        stride, dilation = _sizes(node.stride, dims), _sizes(node.dilation, dims)
        kernel = tuple(int(n) for n in node.weight.shape[2:])
        if isinstance(node.padding, str):
            if node.padding == "same" and set(stride) != {1}:
                raise self._error(name, f"padding: same needs a stride of 1, has {list(stride)}")
            size = shape[1:]
            if node.padding == "valid":
                size = self._windows(name, size, kernel, stride, (0,) * dims, dilation)
        else:
            size = self._windows(name, shape[1:], kernel, stride, _sizes(node.padding, dims), dilation)
        return (int(node.weight.shape[0]), *size)

    def _windows(self, name: str, size: Shape, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape) -> Shape:
        if min(*stride, *dilation, *kernel) < 1 or min(padding) < 0:
            raise self._error(name, f"has kernel {kernel}, stride {stride}, padding {padding}, dilation {dilation}")
        rows = zip(size, kernel, stride, padding, dilation, strict=True)
        found = tuple((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in rows)
        if min(found) < 1:
            raise self._error(name, f"its window {list(kernel)} is larger than its input {list(size)}")
        return found

    def _axes(self, name: str, node: Any, shape: Shape) -> tuple[int, int]:
        """Return the first and the last flattened axis."""
        start, end = (int(axis) + (len(shape) if axis < 0 else 0) for axis in (node.start_dim, node.end_dim))
        said = None if node.input_type is None else node.input_type.get("input")
        if said is not None and tuple(int(n) for n in said) != shape:
            raise self._error(name, f"its input_type is {[int(n) for n in said]}, but its input is {list(shape)}")
        if not 0 <= start <= end < len(shape):
            raise self._error(name, f"flattens axes {node.start_dim} to {node.end_dim} of {list(shape)}")
        return start, end

    # Layers.

    def _recurrent(self, delayed: FlatGraph) -> dict[str, str]:
        """Return the populations with a linear map of their own output as their only return, and its node."""
        found = {}
        for name, node in delayed.nodes.items():
            if kind_of(node) not in _LINEAR or self.options.cycle_delay != 1:
                continue
            before = [edge for edge in delayed.edges if edge.target == name]
            after = [edge for edge in delayed.edges if edge.source == name]
            if len(before) == len(after) == 1 and before[0] == Edge(after[0].target, name, 1) and not after[0].delay:
                population = after[0].target
                fits = kind_of(delayed.nodes[population]) in POPULATIONS and len(self.shapes[population]) == 1
                if fits and population not in found:
                    found[population] = name
        return found

    def _segment(
        self, segment: Segment, flat: FlatGraph, returning: Mapping[str, str], taken: Mapping[str, Any]
    ) -> tuple[str, Layer]:
        """Return a layer with its name."""
        if segment.edges is None:
            (name,) = segment.nodes
            return self.names[name], self._layer(name, flat.nodes[name], "", returning.get(name), flat)
        block = next(f"graph{n}" for n in range(1, len(taken) + 2) if f"graph{n}" not in taken)
        while block in self.names.values():
            block += "_"
        layers = {
            self.names[name]: self._layer(name, flat.nodes[name], f"{block}.", returning.get(name), flat)
            for name in segment.nodes
        }
        edges = [
            [self.names.get(edge.source, edge.source), self.names.get(edge.target, edge.target)]
            + ([edge.delay] if edge.delay else [])
            for edge in segment.edges
        ]
        return block, {"type": "graph", "layers": layers, "edges": edges}

    def _layer(self, name: str, node: Any, within: str, weights: str | None, flat: FlatGraph) -> Layer:
        """Return the layer of a node, and keep its weights."""
        kind, key = kind_of(node), f"{within}{self.names[name]}"
        shape = self.shapes[name]
        if kind in _LINEAR:
            return self._linear(node, key)
        if kind in ("Conv1d", "Conv2d"):
            return self._convolution(node, key)
        if kind in ("SumPool2d", "AvgPool2d"):
            sizes = {name: list(_pair(getattr(node, name))) for name in ("kernel_size", "stride", "padding")}
            return {"type": "sum_pool" if kind == "SumPool2d" else "avg_pool", **_short(sizes, pooling=True)}
        if kind == "Flatten":
            start, end = self._axes(name, node, shape)
            whole = start == 0 and end == len(shape) - 1
            return {"type": "flatten"} if whole else {"type": "flatten", "start_axis": start, "end_axis": end}
        if kind == "Scale":
            self.weights[f"{key}.weight"] = np.array(np.broadcast_to(node.scale, shape), node.scale.dtype)
            return {"type": "scale"}
        if kind == "Threshold":
            return self._threshold(node, key, shape)
        if kind == "Delay":
            steps = self._steps(name, node) - (name in self.shortened)
            self.weights[f"{key}.steps"] = np.array(np.broadcast_to(steps, shape), np.int64)
            return {"type": "delay", "delay": f"{int(steps.flat[0])} steps"}
        layer = self._population(name, node, f"{key}.neuron" if weights else key, shape)
        if weights:
            layer["recurrent"] = self._feedback(self._maps[weights], key)
        return layer

    def _linear(self, node: Any, key: str) -> Layer:
        self.weights[f"{key}.weight"] = node.weight
        bias = kind_of(node) == "Affine"
        if bias:
            self.weights[f"{key}.bias"] = node.bias
        return {"type": "linear", "out_features": int(node.weight.shape[0])} | ({} if bias else {"bias": False})

    def _feedback(self, node: Any, key: str) -> Layer:
        self.weights[f"{key}.feedback.weight"] = node.weight
        bias = kind_of(node) == "Affine"
        if bias:
            self.weights[f"{key}.feedback.bias"] = node.bias
        return {"type": "dense", "bias": bias}

    def _convolution(self, node: Any, key: str) -> Layer:
        dims = 1 if kind_of(node) == "Conv1d" else 2
        self.weights[f"{key}.weight"] = node.weight
        bias = getattr(node, "bias", None)
        if bias is not None:
            self.weights[f"{key}.bias"] = bias
        sizes: Layer = {"kernel_size": [int(n) for n in node.weight.shape[2:]]}
        sizes |= {name: list(_sizes(getattr(node, name), dims)) for name in ("stride", "dilation")}
        sizes["padding"] = node.padding if isinstance(node.padding, str) else list(_sizes(node.padding, dims))
        groups = {} if int(node.groups) == 1 else {"groups": int(node.groups)}
        no_bias = {} if bias is not None else {"bias": False}
        return {"type": f"conv{dims}d", "out_channels": int(node.weight.shape[0])} | _short(sizes) | groups | no_bias

    def _threshold(self, node: Any, key: str, shape: Shape) -> Layer:
        self.weights[f"{key}.v_threshold"] = np.array(np.broadcast_to(node.threshold, shape), np.float64)
        said = _Value.of(node.threshold, shape)
        return {
            "type": "threshold",
            "v_threshold": said.setting,
            "threshold": "strict" if self.options.strict else "inclusive",
        }

    def _steps(self, name: str, node: Any) -> np.ndarray:
        """Return the delays of a Delay node in steps."""
        exact = np.asarray(node.delay, np.float64) / self.options.step
        steps = np.rint(exact)
        if (steps < 0).any():
            raise self._error(name, f"has a negative delay, {exact.min() * self.options.step:g}")
        if steps.max() > 1e6:
            raise self._error(name, f"delays by {steps.max():,.0f} steps")
        if not np.allclose(exact, steps, rtol=1e-5, atol=1e-5):
            unit = self.options.time_unit
            at = int(np.abs(exact - steps).argmax())
            raise self._error(
                name, f"its delay of {float(np.ravel(node.delay)[at]):g} {unit} is no whole number of steps of dt"
            )
        return steps.astype(np.int64)

    # Populations.

    def _population(self, name: str, node: Any, key: str, shape: Shape) -> Layer:
        """Return the layer of a population, and keep the parameters that differ between its neurons."""
        kind, options = kind_of(node), self.options
        values = {field: _Value.of(array, shape) for field, array in _parameters(node).items()}
        current = (options.spikes or ("impulse" if kind in ("IF", "I") else "current")) == "current"
        layer: Layer = {"type": _LAYER_OF[kind]}
        each: Arrays = {}
        if kind in ("IF", "I"):
            gain = values["r"].map(lambda r: r * options.step if current else r)
        else:
            gain = self._leak(name, kind, values, current, layer, each)
        _put(layer, each, "input_gain", gain, default=1.0)
        if kind in POPULATIONS:
            self._firing(name, values, layer, each)
        if each:
            layer["per_neuron"] = list(each)
            self.weights |= {f"{key}.{field}_values": value for field, value in each.items()}
        return layer

    def _leak(
        self, name: str, kind: str, values: Mapping[str, _Value], current: bool, layer: Layer, each: Arrays
    ) -> _Value:
        """Set the time constants of a population, and return its gain."""
        options = self.options
        fields = {"tau_mem": "tau_mem", "tau_syn": "tau_syn"} if "tau_mem" in values else {"tau_mem": "tau"}
        parts: dict[str, Any] = {}
        for setting, given in fields.items():
            tau = values[given]
            self._require_tau(name, given, tau)
            if options.discretization == "euler" and tau.each is None and math.isclose(tau.setting, options.step):
                layer["beta" if setting == "tau_mem" else "alpha"] = 0.0
            elif options.time_unit == "steps":
                layer[setting] = f"{_rounded(tau.setting):.15g} steps"
                if tau.each is not None:
                    each[setting] = tau.each
            else:
                _put(layer, each, setting, tau.map(lambda value: value * _UNITS[options.time_unit]), round_it=True)
            if options.time_unit != "steps":
                self.constants += [_UNITS[options.time_unit] * tau.setting]
            whole = tau.setting if tau.each is None else tau.each
            steps = whole / options.step
            parts[setting] = np.exp(-1.0 / steps) if options.discretization == "exact" else 1.0 - 1.0 / steps
            parts[f"{setting}_steps"] = whole
        if options.discretization == "euler":
            layer["decay"] = "euler"
        _put(layer, each, "v_leak", values["v_leak"], default=0.0)
        return self._gain(kind, values, parts, current, layer)

    def _gain(
        self, kind: str, values: Mapping[str, _Value], parts: Mapping[str, Any], current: bool, layer: Layer
    ) -> _Value:
        """Return the factor of the input of a population that leaks."""
        r = values["r"]
        whole: Any = r.setting if r.each is None else r.each
        a = parts["tau_mem"]
        if "tau_syn" in parts:
            w_in = values["w_in"]
            b, jump = parts["tau_syn"], w_in.setting if w_in.each is None else w_in.each
            whole = whole * (1.0 - a) * jump * ((1.0 - b) if current else 1.0 / parts["tau_syn_steps"])
            if self.options.synapse != "jump_first":
                layer["synapse"] = self.options.synapse
        elif current and r.each is None and r.setting == 1.0:
            layer["input_gain"] = "1-a"
            return _Value(math.nan, None)
        else:
            whole = whole * ((1.0 - a) if current else 1.0 / parts["tau_mem_steps"])
        if np.ndim(whole) == 0:
            return _Value(float(whole), None)
        return _Value(float(np.ravel(whole)[0]), np.asarray(whole, np.float64))

    def _require_tau(self, name: str, given: str, tau: _Value) -> None:
        """Raise a NIRError for a time constant that is not positive, or below a step."""
        low = tau.setting if tau.each is None else float(tau.each.min())
        unit = self.options.time_unit
        if low <= 0:
            raise self._error(name, f"{given} must be > 0, got {low:g}")
        if low < self.options.step * (1 - 1e-9):
            step = "a step" if unit == "steps" else f"dt, {self.options.step:g} {unit}"
            raise self._error(
                name, f"{given} is {low:g} {unit}, below {step}", "set a shorter dt, or another time_unit"
            )

    def _firing(self, name: str, values: Mapping[str, _Value], layer: Layer, each: Arrays) -> None:
        options = self.options
        threshold = values["v_threshold"]
        low = threshold.setting if threshold.each is None else float(threshold.each.min())
        if low <= 0:
            raise self._error(name, f"v_threshold must be > 0, got {low:g}")
        if "v_leak" in values:
            self._require_below(name, "v_leak", values["v_leak"], threshold)
        _put(layer, each, "v_threshold", threshold, default=1.0)
        reset = self.file.resets.get(name)
        if options.reset == "subtract" or (options.reset is None and reset is None):
            layer["reset"] = "subtract"
        elif options.spikes_per_step == "several":
            raise self._error(
                name, "has a v_reset, but several spikes a step subtract the threshold", "set reset: subtract"
            )
        else:
            layer["reset"] = "value"
            if options.reset is None:
                value = _Value.of(np.asarray(reset), self.shapes[name])
                self._require_below(name, "v_reset", value, threshold)
                _put(layer, each, "v_reset", value, default=0.0)
        layer["threshold"] = "strict" if options.strict else "inclusive"
        if options.spikes_per_step == "several":
            layer["spikes"] = "several"
        if options.floor is not None:
            layer["floor"] = options.floor

    def _require_below(self, name: str, what: str, value: _Value, threshold: _Value) -> None:
        high = value.setting if value.each is None else value.each
        if np.any(high >= (threshold.setting if threshold.each is None else threshold.each)):
            raise self._error(name, f"{what} must be below v_threshold, got {np.max(high):g}")

    def _error(self, name: str, message: str, hint: str = "") -> NIRError:
        return NIRError(f"{self.place}: {name}", message, hint)

    # What was assumed.

    def _assumptions(self, flat: FlatGraph, delayed: FlatGraph, returning: Mapping[str, str]) -> Iterator[str]:
        options, kinds = self.options, self.kinds
        leaky = kinds & {"LIF", "LI", "CubaLIF", "CubaLI"}
        if self.constants:
            low, high = (f"{_rounded(value):.4g}" for value in (min(self.constants), max(self.constants)))
            length = f"{low} ms" if low == high else f"{low} to {high} ms"
            yield f"time_unit: time constants are in {options.time_unit}, so that they are {length}"
        elif leaky or "Delay" in kinds:
            yield f"time_unit: time constants are in {options.time_unit}"
        if leaky or "Delay" in kinds or (kinds & {"IF", "I"} and options.spikes == "current"):
            yield f"dt: a step is {options.dt:g} ms"
        if leaky:
            factor = {"exact": "exp(-dt / tau)", "euler": "1 - dt / tau"}[options.discretization]
            yield f"discretization: {options.discretization}, a factor of {factor} in one step"
        if leaky:
            kind = options.spikes or "current"
            gain = {"current": "a current of 1 during the step", "impulse": "an impulse of 1"}[kind]
            yield f"spikes: to neurons that leak a spike is {gain} (spikes: {kind})"
        if kinds & {"IF", "I"}:
            kind = options.spikes or "impulse"
            gain = {"current": "r dt", "impulse": "r"}[kind]
            yield f"spikes: to IF and I a spike adds {gain} to the membrane (spikes: {kind})"
        if kinds & {*POPULATIONS}:
            yield from self._firing_assumptions(flat)
        if kinds & {"CubaLIF", "CubaLI"}:
            order = {
                "jump_first": "the input reaches the membrane in its own step, through the synapse",
                "decay_first": "the input decays by a step before the membrane reads it",
                "next_step": "the membrane reads the synaptic current of the step before",
            }[options.synapse]
            yield f"synapse: {order} (synapse: {options.synapse})"
        yield from self._structure(flat, delayed, returning)

    def _firing_assumptions(self, flat: FlatGraph) -> Iterator[str]:
        options = self.options
        populations = [name for name, node in flat.nodes.items() if kind_of(node) in POPULATIONS]
        given = [name for name in populations if name in self.file.resets]
        if options.reset is not None:
            what = "subtracts the threshold" if options.reset == "subtract" else "resets the membrane to zero"
            yield f"reset: a spike {what} (reset: {options.reset})"
        elif given:
            yield "reset: a spike resets the membrane to the v_reset of the file"
        if options.reset is None and len(given) < len(populations):
            who = (
                "the file has no v_reset" if not given else f"{listing(set(populations) - set(given))} have no v_reset"
            )
            yield f"reset: {who}, so a spike subtracts the threshold"
        at = "above" if options.strict else "at or above"
        number = "one spike" if options.spikes_per_step == "one" else "several spikes"
        yield f"threshold: a membrane {at} v_threshold spikes; {number} a step at most".replace(
            "several spikes a step at most", "once for each multiple of it in a step"
        )
        if options.floor is not None:
            yield f"floor: membranes stay at or above {options.floor:g}"

    def _structure(self, flat: FlatGraph, delayed: FlatGraph, returning: Mapping[str, str]) -> Iterator[str]:
        late = sorted({edge.source for edge in delayed.edges if edge.delay} | {*returning})
        if late:
            plural = "step" if self.options.cycle_delay == 1 else "steps"
            yield f"cycle_delay: {listing(late)} return {self.options.cycle_delay} {plural} later"
        if flat.dropped:
            yield f"no path from input to output leads through {listing(flat.dropped)}; they are left out"
        doubles = {str(value.dtype) for key, value in self.weights.items() if key.endswith((".weight", ".bias"))}
        if "float64" in doubles:
            yield "weights in double precision are rounded to single precision"


_LAYER_OF = {"IF": "iaf", "I": "integrator", "LIF": "lif", "LI": "li", "CubaLIF": "cuba_lif", "CubaLI": "cuba_li"}


def _parameters(node: Any) -> Arrays:
    """Return the arrays of a node that have a value for each neuron; v_reset is that of the file."""
    names = ("tau", "tau_mem", "tau_syn", "r", "v_leak", "v_threshold", "w_in", "scale", "threshold", "delay")
    found = {name: getattr(node, name) for name in names if getattr(node, name, None) is not None}
    return {name: np.atleast_1d(np.asarray(value)) for name, value in found.items()}


def _fits(shape: Shape, wanted: Shape) -> bool:
    """Return whether an array of a shape broadcasts to another; a size of 1 is one value for all."""
    try:
        return np.broadcast_shapes(shape, wanted) == wanted
    except ValueError:
        return False


def _put(
    layer: Layer, each: Arrays, name: str, value: _Value, *, default: float | None = None, round_it: bool = False
) -> None:
    """Set a setting of a layer, unless it is the default; values that differ between neurons become weights."""
    if math.isnan(value.setting):  # set already
        return
    setting = _rounded(value.setting) if round_it else value.setting
    if setting != default or value.each is not None:
        layer[name] = setting
    if value.each is not None:
        each[name] = value.each


def _sizes(value: Any, dims: int) -> Shape:
    """Return sizes per axis."""
    flat = [int(n) for n in np.atleast_1d(value)]
    return tuple(flat * dims if len(flat) == 1 else flat)


def _pair(value: Any) -> Shape:
    return _sizes(value, 2)


_DEFAULTS = {"stride": 1, "padding": 0, "dilation": 1}


def _short(sizes: Mapping[str, Any], *, pooling: bool = False) -> Layer:
    """Return sizes as one number where they are equal on all axes, without those of the defaults."""
    found = {name: size if isinstance(size, str) or len({*size}) > 1 else size[0] for name, size in sizes.items()}
    return {name: size for name, size in found.items() if pooling or size != _DEFAULTS.get(name)}


def _without(flat: FlatGraph, returning: Mapping[str, str]) -> FlatGraph:
    """Return a graph without the maps that became a population's own feedback."""
    gone = {*returning.values()}
    return flat._replace(edges=[edge for edge in flat.edges if not {edge.source, edge.target} & gone])


_PREFIX = {
    **{"Conv1d": "conv", "Conv2d": "conv", "Affine": "fc", "Linear": "fc", "SumPool2d": "pool", "AvgPool2d": "pool"},
    **{"CubaLIF": "lif", "CubaLI": "li"},
}


def layer_names(nodes: Mapping[str, Any], wanted: Mapping[str, str]) -> dict[str, str]:
    """Return a layer's name for each node: its own where that is possible, `conv0` for a Conv2d `0`.

    Args:
        nodes: The nodes by path.
        wanted: Other names for some paths.
    """
    found: dict[str, str] = {}
    taken: set[str] = set()
    reserved = {*dir(Network({})), "input", "output"}
    for path, node in nodes.items():
        name = re.sub(r"[^A-Za-z0-9_]", "_", wanted.get(path, path))
        if not name[:1].isalpha():
            name = f"{_PREFIX.get(kind_of(node), kind_of(node).lower())}{name.lstrip('_')}"
        while name in taken or name in reserved or keyword.iskeyword(name):
            name += "_"
        taken.add(name)
        found[path] = name
    return found


def read_options(given: Mapping[str, str]) -> ReadOptions:
    """Return the options of a command line, such as `{"--time-unit": "ms"}`.

    Raises:
        ConfigError: for a value that an option does not take.
    """
    values: dict[str, Any] = {}
    for option, text in given.items():
        name = option.removeprefix("--").replace("-", "_")
        values[name] = True if name == "ignore_metadata" else _number(text)
    check_settings(ReadOptions, values, "import", "import")
    return ReadOptions(**values)


def _number(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
