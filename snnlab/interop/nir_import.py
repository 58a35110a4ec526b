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

import inspect
import keyword
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch

from snnlab.errors import ConfigError, join_names
from snnlab.interop import nir_metadata
from snnlab.interop.nir_files import GraphFile, iterate_nodes
from snnlab.interop.nir_graphs import (
    FlatGraph,
    Segment,
    Shape,
    delay_cycles,
    flatten_graph,
    kind_of,
    segments,
)
from snnlab.interop.nir_options import (
    POPULATIONS,
    UNITS,
    Facts,
    FilledOptions,
    NIRReadOptions,
    assumption_lines,
    check_options,
    checked_options,
    option_text,
    rounded,
)
from snnlab.interop.nir_shapes import LINEAR, flatten_axes, infer_shapes, pair, parameters, sizes_per_axis
from snnlab.interop.nir_tree import NIRError
from snnlab.nn.blocks.graph import Edge
from snnlab.nn.layer import LAYERS
from snnlab.nn.network import BuiltNetwork, Network, build_network
from snnlab.nn.neurons.nir_node import NIRNode, gain_of
from snnlab.nn.neurons.register import NEURONS
from snnlab.spec.signatures import fields_of

Layer = dict[str, Any]
Arrays = dict[str, np.ndarray]


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
        fixed_dt: Whether the layers are right for this dt alone.
        options: The options that it was read by; empty for a graph of snnlab.
    """

    layers: dict[str, Layer]
    weights: Arrays
    in_shape: Shape
    dt: float | None
    num_steps: int | None = None
    assumptions: list[str] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)
    readout: str | None = None
    fixed_dt: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)

    def build(self) -> BuiltNetwork:
        """Return the network with its weights, in evaluation mode."""
        with torch.device("meta"):  # shapes first: the layers of a crafted file may need any memory
            self._require_fitting(self._build_layers().network)
        built = self._build_layers()
        self.load_into(built.network)
        built.network.eval()
        return built

    def load_into(self, network: Network) -> None:
        """Load the weights into a network."""
        self._require_fitting(network)
        network.load_state_dict({key: torch.as_tensor(value) for key, value in self.weights.items()})

    def _require_fitting(self, network: Network) -> None:
        own = network.state_dict()
        wrong = [key for key in {**own, **self.weights} if _shape(own, key) != _shape(self.weights, key)]
        if wrong:
            shapes = [_shape(found, wrong[0]) for found in (self.weights, own)]
            said, needed = ("missing" if shape is None else list(shape) for shape in shapes)
            raise ConfigError("layers", f"{wrong[0]} is {said} in the file, and {needed} in the network")

    def _build_layers(self) -> BuiltNetwork:
        return build_network(self.layers, in_shape=self.in_shape, dt=self.dt, num_steps=self.num_steps, place="layers")


def _shape(state: Mapping[str, Any], key: str) -> tuple[int, ...] | None:
    """Return the shape of an entry; a single number, which `nir` writes as an array of one, has a size of 1."""
    return (tuple(state[key].shape) or (1,)) if key in state else None


def network_of(graph: Any, options: Mapping[str, Any]) -> Network:
    """Return the network of a graph, read with options of these names: `snnlab.nn.from_nir`."""
    return from_graph(graph, checked_options(options)).build().network


def from_graph(graph: Any, options: NIRReadOptions | None = None) -> ReadNetwork:
    """Return the network of a `nir.NIRGraph`.

    Raises:
        NIRError: naming the node that cannot be read.
    """
    resets = {name: node.v_reset for name, node in iterate_nodes(graph) if getattr(node, "v_reset", None) is not None}
    return read_network(GraphFile(graph, resets, "", ""), "graph", options or NIRReadOptions())


def read_network(file: GraphFile, place: str, options: NIRReadOptions) -> ReadNetwork:
    """Return the network of a graph: exactly, if snnlab wrote it and nothing has changed, else by the options.

    Raises:
        NIRError: naming the node that cannot be read.
    """
    check_options(options)
    own = None if options.ignore_metadata else nir_metadata.read(file.graph, place)
    changed = [] if own is None else nir_metadata.changes(file.graph, own)
    if own is not None and own.layers is not None and not changed:
        weights = nir_metadata.full_state(file.graph, own)
        _require_fit(own, weights, place)
        said = [f"snnlab {own.version} wrote it: layers and settings are those of its metadata"]
        said += [f"its nodes do not say: {line}" for line in own.lost]
        if own.units:
            units = ", ".join(f"{name} {unit:.6g}" for name, unit in own.units.items())
            said.append(f"its numbers are whole; a unit of the neurons and the weights before them is: {units}")
        if unused := [name for name, value in vars(options).items() if value != getattr(NIRReadOptions, name)]:
            said.append(f"not used: {join_names(unused)}; ignore_metadata reads the nodes by these options")
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
    meant = {} if own is None else own.meaning(has_reset=_has_reset(file))
    found = _Reader(file, place, options.filled(meant)).read()
    if own is not None:
        why = f"since {join_names(changed)} changed" if own.layers is not None and changed else "which has no layers"
        found.assumptions.insert(0, f"the layers in the metadata of snnlab are not used, {why}")
    elif nir_metadata.KEY in file.graph.metadata:
        found.assumptions += _other_meaning(file, place, options)
    return found


def _has_reset(file: GraphFile) -> bool:
    return bool(file.resets) or not any(kind_of(node) in POPULATIONS for node in file.graph.nodes.values())


def _other_meaning(file: GraphFile, place: str, options: NIRReadOptions) -> list[str]:
    """Return a line if a graph of snnlab is read by other options than its numbers are meant with."""
    try:
        own = nir_metadata.read(file.graph, place)
    except NIRError:  # damaged metadata are what ignore_metadata is for
        return []
    assert own is not None
    used, meant = options.filled({}), own.meaning(has_reset=_has_reset(file))
    other = {name: value for name, value in meant.items() if getattr(used, name) != value}
    return [f"snnlab wrote it to be read with {option_text(other)}; this reading has other spikes"] if other else []


def _require_fit(own: nir_metadata.Metadata, weights: Mapping[str, np.ndarray], place: str) -> None:
    """Raise a NIRError if layers of the metadata do not have the weights of the graph, before memory is taken for them.

    The network is built on the meta device, whose tensors have no values.
    """
    assert own.layers is not None
    with torch.device("meta"):
        made = build_network(own.layers, in_shape=own.in_shape, dt=own.dt, num_steps=own.num_steps, place="layers")
    wanted = {key: tuple(value.shape) for key, value in made.network.state_dict().items()}
    # A single number may come back as an array of one.
    found = {
        key: () if value.shape == (1,) and wanted.get(key) == () else value.shape for key, value in weights.items()
    }
    for key in [*wanted, *(key for key in found if key not in wanted)]:
        if wanted.get(key) != found.get(key):
            sizes = " and ".join(
                str(list(shape)) if shape is not None else "none" for shape in (wanted.get(key), found.get(key))
            )
            raise NIRError(
                place, f"the metadata of snnlab does not fit the nodes: {key} is {sizes}", "--ignore-metadata"
            )


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

    @property
    def whole(self) -> Any:
        """The number, or the value of each neuron."""
        return self.setting if self.each is None else self.each

    def map(self, function: Any) -> _Value:
        """Return the value after a function of numbers and arrays."""
        return _Value(float(function(self.setting)), None if self.each is None else function(self.each))


def _shortest(number: Any) -> float:
    """Return a number as a Python float: for single precision the shortest decimal that rounds to it."""
    return float(str(number)) if isinstance(number, np.floating) else float(number)


class _Reader:
    """Reads one graph by its options.

    Attributes:
        weights: Entries of the state dict.
        said: Assumptions.
    """

    def __init__(self, file: GraphFile, place: str, options: FilledOptions) -> None:
        self.file, self.place, self.options = file, place, options
        self.neurons = neurons_read()
        self.weights: Arrays = {}
        self.names: dict[str, str] = {}
        self.shapes: dict[str, Shape] = {}
        self.shortened: list[str] = []
        self._maps: dict[str, Any] = {}
        self.constants: list[float] = []
        self.notes: list[str] = []

    def read(self) -> ReadNetwork:
        """Return the network."""
        flat = flatten_graph(self.file.graph, self.place)
        delays = {
            name: int(self._steps(name, node).min()) for name, node in flat.nodes.items() if kind_of(node) == "Delay"
        }
        delayed, self.shortened = delay_cycles(flat, self.options.cycle_delay, delays, self.place)
        self.shapes = infer_shapes(flat, self.file.graph, self.place)
        for edge in delayed.edges:
            self._require_delay(edge.source, edge.delay + delays.get(edge.source, 0))
        kinds = {name: kind_of(node) for name, node in flat.nodes.items()}
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
        delayed_sources = sorted({edge.source for edge in delayed.edges if edge.delay} | {*returning})
        doubles = any(value.dtype == np.float64 for key, value in self.weights.items() if key.endswith(_WEIGHTS))
        facts = Facts(kinds, self.file.resets, self.constants, delayed_sources, flat.dropped, doubles, self.notes)
        read.assumptions = [*assumption_lines(facts, self.options)]
        read.options = vars(self.options)
        read.fixed_dt = any(line.startswith("dt:") for line in read.assumptions)
        return read

    # Layers.

    def _recurrent(self, delayed: FlatGraph) -> dict[str, str]:
        """Return the populations with a linear map of their own output as their only return, and its node."""
        found = {}
        for name, node in delayed.nodes.items():
            if kind_of(node) not in LINEAR or self.options.cycle_delay != 1:
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
            return self.names[name], self._layer(name, flat.nodes[name], "", returning.get(name))
        block = next(f"graph{n}" for n in range(1, len(taken) + 2) if f"graph{n}" not in taken)
        while block in self.names.values():
            block += "_"
        layers = {
            self.names[name]: self._layer(name, flat.nodes[name], f"{block}.", returning.get(name))
            for name in segment.nodes
        }
        edges = [
            [self.names.get(edge.source, edge.source), self.names.get(edge.target, edge.target)]
            + ([edge.delay] if edge.delay else [])
            for edge in segment.edges
        ]
        return block, {"type": "graph", "layers": layers, "edges": edges}

    def _layer(self, name: str, node: Any, prefix: str, weights: str | None) -> Layer:
        """Return a node's layer as settings, and store its weights; `weights`: the node of its feedback."""
        return _without_defaults(self._full_layer(name, node, prefix, weights))

    def _full_layer(self, name: str, node: Any, prefix: str, weights: str | None) -> Layer:
        kind, key = kind_of(node), f"{prefix}{self.names[name]}"
        shape = self.shapes[name]
        if kind in LINEAR:
            return self._linear_layer(node, key)
        if kind in ("Conv1d", "Conv2d"):
            return self._convolution(node, key)
        if kind in ("SumPool2d", "AvgPool2d"):
            sizes = {name: list(pair(getattr(node, name))) for name in ("kernel_size", "stride", "padding")}
            return {"type": "sum_pool" if kind == "SumPool2d" else "avg_pool", **_short_sizes(sizes)}
        if kind == "Flatten":
            start, end = flatten_axes(node, shape, f"{self.place}: {name}")
            return {"type": "flatten", "start_axis": start, "end_axis": -1 if end == len(shape) - 1 else end}
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
            layer["recurrent"] = self._feedback_layer(self._maps[weights], key)
        return layer

    def _linear_layer(self, node: Any, key: str) -> Layer:
        self.weights[f"{key}.weight"] = node.weight
        bias = kind_of(node) == "Affine"
        if bias:
            self.weights[f"{key}.bias"] = node.bias
        return {"type": "linear", "out_features": int(node.weight.shape[0]), "bias": bias}

    def _feedback_layer(self, node: Any, key: str) -> Layer:
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
        sizes |= {name: list(sizes_per_axis(getattr(node, name), dims)) for name in ("stride", "dilation")}
        sizes["padding"] = node.padding if isinstance(node.padding, str) else list(sizes_per_axis(node.padding, dims))
        maps = {"out_channels": int(node.weight.shape[0]), "groups": int(node.groups), "bias": bias is not None}
        return {"type": f"conv{dims}d", **maps, **_short_sizes(sizes)}

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
        self._require_delay(name, int(steps.max()))
        if not np.allclose(exact, steps, rtol=1e-5, atol=1e-5):
            unit = self.options.time_unit
            at = int(np.abs(exact - steps).argmax())
            raise self._error(
                name, f"its delay of {float(np.ravel(node.delay)[at]):g} {unit} is no whole number of steps of dt"
            )
        return steps.astype(np.int64)

    def _require_delay(self, name: str, steps: int) -> None:
        """Raise a NIRError for a delay that holds more values than memory has."""
        size = math.prod(self.shapes.get(name, ()))
        if steps > _MOST_STEPS or steps * size > _MOST_DELAYED:
            raise self._error(
                name, f"delays {size:,} values by {steps:,} steps; snnlab holds {_MOST_DELAYED:,} at most"
            )

    # Populations.

    def _population(self, name: str, node: Any, key: str, shape: Shape) -> Layer:
        """Return the layer of a population, and keep the parameters that differ between its neurons."""
        kind, options = kind_of(node), self.options
        values = {field: _Value.of(array, shape) for field, array in parameters(node).items()}
        neuron, said = self.neurons[kind]
        current = (options.spikes or ("current" if said.taus else "impulse")) == "current"
        layer: Layer = {"type": neuron}
        each: Arrays = {}
        for gain in {"r", "w_in"} & {*values}:
            if which := self._neurons(name, np.asarray(getattr(node, gain)) == 0):
                self.notes.append(f"{gain} of {which} is 0: an input has no effect there")
        _set_values(layer, each, "input_gain", self._gain(name, said, values, current, layer, each))
        if "v_threshold" in values:
            self._firing(name, values, layer, each)
        if each:
            layer["per_neuron"] = list(each)
            self.weights |= {f"{key}.{field}_values": value for field, value in each.items()}
        return layer

    def _gain(
        self, name: str, said: NIRNode, values: Mapping[str, _Value], current: bool, layer: Layer, each: Arrays
    ) -> _Value:
        """Set the time constants of a population, if it leaks, and return its gain."""
        options = self.options
        factors: dict[str, Any] = {}
        fields = {key: value.whole for key, value in values.items()}
        for setting, key in said.taus.items():
            tau = self._tau(name, key, values[key])
            fields[key] = tau.whole
            if options.discretization == "euler" and tau.each is None and math.isclose(tau.setting, options.step):
                (factor,) = fields_of(NEURONS.get(layer["type"], "neuron"))[setting].excludes
                layer[factor] = 0.0
            elif options.time_unit == "steps":
                layer[setting] = f"{rounded(tau.setting):.15g} steps"
                if tau.each is not None:
                    each[setting] = tau.each
            else:
                in_ms = tau.map(lambda value: value * UNITS[options.time_unit])
                _set_values(layer, each, setting, in_ms._replace(setting=rounded(in_ms.setting)))
            if options.time_unit != "steps":
                self.constants += [UNITS[options.time_unit] * value for value in (np.min(tau.whole), np.max(tau.whole))]
            steps = tau.whole / options.step
            factors[setting] = np.exp(-1.0 / steps) if options.discretization == "exact" else 1.0 - 1.0 / steps
        r, a, b = values["r"], factors.get("tau_mem", 0.0), factors.get("tau_syn", 0.0)
        if said.taus:
            layer["decay"] = options.discretization
            _set_values(layer, each, "v_leak", values["v_leak"])
        if "tau_syn" in factors:
            layer["synapse"] = options.synapse
        elif said.taus and current and r.each is None and r.setting == 1.0:
            layer["input_gain"] = "1-a"
            return _Value(math.nan, None)
        gain = gain_of(said, fields, options.step, a=a, b=b, is_current=current)
        if np.ndim(gain) == 0:
            return _Value(float(gain), None)
        return _Value(float(np.ravel(gain)[0]), np.asarray(gain, np.float64))

    def _tau(self, name: str, given: str, tau: _Value) -> _Value:
        """Return a time constant, a step where it is one but for rounding."""
        low = float(np.min(tau.whole))
        unit, step = self.options.time_unit, self.options.step
        if low <= 0:
            raise self._error(name, f"{given} must be > 0, got {low:g}")
        length = "a step" if unit == "steps" else f"dt, {step:.9g} {unit}"
        if low < step * (1 - _ROUNDING):
            fix = f"set --dt {rounded(low * UNITS[unit]):.6g} or less, or another --time-unit" if unit in UNITS else ""
            raise self._error(name, f"{given} is {low:.9g} {unit}, below {length}", fix or "set another --time-unit")
        if low < step * (1 - 1e-9):
            self.notes.append(f"{given} of {name}, {low:.9g} {unit}, is taken as {length}: they differ by rounding")
        # Of several values the setting is the longest: a step alone is no setting of `decay: euler`.
        longest = tau if tau.each is None else tau._replace(setting=float(tau.each.max()))
        return longest.map(lambda value: np.maximum(value, step))

    def _firing(self, name: str, values: Mapping[str, _Value], layer: Layer, each: Arrays) -> None:
        options = self.options
        threshold = values["v_threshold"]
        low = float(np.min(threshold.whole))
        if low <= 0:
            raise self._error(name, f"v_threshold must be > 0, got {low:g}")
        _set_values(layer, each, "v_threshold", threshold)
        leak = values.get("v_leak", _Value(-math.inf, None))
        alone = np.asarray(leak.whole >= threshold.whole)
        if which := self._neurons(name, alone):
            self.notes.append(f"v_leak of {which} is not below v_threshold: they spike without input")
        reset = self.file.resets.get(name)
        if options.reset == "subtract" or (options.reset is None and reset is None):
            layer["reset"] = "subtract"
        elif options.spikes_per_step == "several":
            raise self._error(
                name, "has a v_reset, but several spikes a step subtract the threshold", "set reset: subtract"
            )
        else:
            layer["reset"] = "value"
            value = _Value.of(np.zeros(1) if options.reset else np.asarray(reset), self.shapes[name])
            if np.any(value.whole >= threshold.whole):
                raise self._error(name, f"v_reset must be below v_threshold, got {np.max(value.whole):g}")
            _set_values(layer, each, "v_reset", value)
        layer["threshold"] = "strict" if options.strict else "inclusive"
        layer["spikes"], layer["floor"] = options.spikes_per_step, options.floor

    def _neurons(self, name: str, found: np.ndarray) -> str:
        """Return the name of a population of which some neurons are found, with their number; empty if none is."""
        shape = self.shapes[name]
        number, size = int(np.count_nonzero(np.broadcast_to(found, shape))), math.prod(shape)
        return "" if not number else name if number == size else f"{number:,} of {size:,} neurons of {name}"

    def _error(self, name: str, message: str, hint: str = "") -> NIRError:
        return NIRError(f"{self.place}: {name}", message, hint)


_WEIGHTS = (".weight", ".bias")
# Part by which a time constant may be below a step: some units in the last place of single precision.
_ROUNDING = 1e-6
# Longest delay, steps, and values that delays hold for one sample.
_MOST_STEPS, _MOST_DELAYED = 10**6, 10**8


def neurons_read() -> dict[str, tuple[str, NIRNode]]:
    """Return the type of neurons that each primitive is read as, with what it says of the node."""
    said = {name: vars(inspect.unwrap(NEURONS.get(name, "neuron"))).get("nir") for name in NEURONS}
    return {node.kind: (name, node) for name, node in said.items() if node is not None and node.is_read}


# What a file leaves open is written also where it is the default.
_STATED = ("reset", "threshold")


def _set_values(layer: Layer, each: Arrays, name: str, value: _Value) -> None:
    """Set a setting of a layer; values that differ between neurons become weights, which replace the setting's."""
    if math.isnan(value.setting):  # set already
        return
    layer[name] = value.setting
    if value.each is not None:
        each[name] = value.each


def _without_defaults(layer: Layer) -> Layer:
    """Return a layer without the settings that are the defaults of its own type."""
    known = fields_of(LAYERS.get(layer["type"], "layers"))
    return {
        name: value
        for name, value in layer.items()
        if name == "type" or name in _STATED or value != known[name].default
    }


def _short_sizes(sizes: Mapping[str, Any]) -> Layer:
    """Return sizes as one number where they are equal on all axes."""
    return {name: size if isinstance(size, str) or len({*size}) > 1 else size[0] for name, size in sizes.items()}


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
