"""Writes networks as NIR graphs. The metadata of these graphs is described in `nir_metadata.py`.

Which node a neuron is, its class says (`snnlab/nn/neurons/nir_node.py`): the one whose forward Euler step at dt is the
neuron's step, so tau is the network's time constant only where `decay` is `euler`. Time constants are in s; without dt
a step is 1. An input of 1 in a step is a current of 1 during that step. Nodes have the names of the layers; a recurrent
layer `lif1` has the nodes `lif1.lif` and `lif1.w_rec`, which is what snnTorch looks for.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from snnlab import __version__
from snnlab.compat import ConvNd
from snnlab.errors import ConfigError, join_names
from snnlab.interop import nir_metadata
from snnlab.interop.integer_network import integer_network, is_whole
from snnlab.interop.nir_files import make_graph, nir_package
from snnlab.nn.blocks.branches import SHORTCUT, Parallel, Residual
from snnlab.nn.blocks.graph import INPUT, OUTPUT, Graph, components
from snnlab.nn.blocks.loop import Loop
from snnlab.nn.fold_norm import fold_norm as folded
from snnlab.nn.layer import TemporalLayer, fold_time
from snnlab.nn.layers.delayed import DelayedConnections
from snnlab.nn.layers.dense import Voting
from snnlab.nn.layers.dropout import Dropout
from snnlab.nn.layers.elementwise import Delay, Scale, Threshold
from snnlab.nn.layers.norm import BatchNorm, PerStepBatchNorm
from snnlab.nn.layers.pool import SumPool
from snnlab.nn.network import Network
from snnlab.nn.neurons.base import Neuron, plain_loops
from snnlab.nn.neurons.nir_node import INCLUSIVE, next_below
from snnlab.nn.neurons.recurrent import ConvFeedback, DenseFeedback, Feedback

Shape = tuple[int, ...]
# Names of the nodes whose output a layer's input is the sum of.
Sources = list[str]

# A message about a network that NIR cannot say has no more lines than this.
MOST_LINES = 4


class Unsayable(NamedTuple):
    """Something that NIR cannot say.

    Attributes:
        layer: Path of the layer.
        what: The setting, as in a YAML, or what the layer does.
        fix: What says it instead.
        instead: What `lossy` writes in its place; empty where nothing is near.
    """

    layer: str
    what: str
    fix: str
    instead: str = ""


class Exported(NamedTuple):
    """A graph, and what its nodes do not say."""

    graph: Any
    lost: Sequence[Unsayable]


def to_graph(
    network: Network,
    *,
    in_shape: Shape | None = None,
    dt: float | None = None,
    lossy: bool = False,
    fold_norm: bool = False,
    readout: str | None = None,
) -> Exported:
    """Return a network as a NIR graph, with metadata to read it back exactly; one in whole numbers with these.

    Args:
        network: The network; it is described in evaluation mode.
        in_shape: Shape of one sample at one step; not needed after `build_network`.
        dt: Length of a step, ms; not needed after `build_network`.
        lossy: Write what NIR cannot say as the nearest that it can.
        fold_norm: Fold batch normalizations into the layer before them.
        readout: The loss's readout, for the metadata.
    """
    network = folded(network) if fold_norm else network
    whole = integer_network(network) if is_whole(network) else None
    network = network if whole is None else whole.network
    built = network.built_from
    if built is not None:
        in_shape, dt = built.in_shape, built.dt
    if in_shape is None:
        raise ConfigError("in_shape", "is not known", "pass the shape of one sample at one step, such as (2, 34, 34)")
    writer = _Writer(dt)
    writer.write(network, tuple(in_shape))
    hopeless = [each for each in writer.unsayable if not each.instead]
    if hopeless or (writer.unsayable and not lossy):
        raise refusal(hopeless if lossy else writer.unsayable, lossy=lossy)
    layers = None if built is None else _as_json(built.layers)
    if writer.unsayable and layers is None:
        raise ConfigError(
            "lossy", "needs the network's settings, to read it back", "build it with snnlab.nn.build_network"
        )
    graph = writer.graph()
    in_nodes = writer.weights
    state = {key: array(value) for key, value in network.state_dict().items() if key not in in_nodes}
    metadata = nir_metadata.Metadata(
        version=__version__,
        dt=dt,
        time_unit="steps" if dt is None else "s",
        in_shape=tuple(in_shape),
        num_steps=None if built is None else built.num_steps,
        layers=layers,
        readout=readout,
        nodes=writer.layer_of,
        weights=in_nodes,
        lost=[f"{each.layer}: {each.what} -> {each.instead}" for each in writer.unsayable],
        units={} if whole is None else whole.units,
        state=state,
    )
    nir_metadata.attach(graph, metadata)
    return Exported(graph, writer.unsayable)


def refusal(found: Sequence[Unsayable], *, lossy: bool) -> ConfigError:
    """Return the error for what NIR cannot say: at most four lines, layers with the same problems in one."""
    by_layer: dict[str, list[str]] = {}
    for each in found:
        by_layer.setdefault(each.layer, []).append(f"{each.what} -> {each.fix}")
    groups: dict[str, list[str]] = {}
    for layer, texts in by_layer.items():
        groups.setdefault("; ".join(texts), []).append(layer)
    lines = [f"{join_names(layers)}: {text}" for text, layers in groups.items()]
    if len(lines) > MOST_LINES - 1:
        rest = [layer for layers in [*groups.values()][MOST_LINES - 2 :] for layer in layers]
        lines = [*lines[: MOST_LINES - 2], f"and what {join_names(rest)} do"]
    head = "NIR cannot say what these layers do" + ("" if lossy else "; change them, or add --lossy")
    return ConfigError("export", "\n  ".join([head, *lines]))


class _Writer:
    """Writes layer after layer as nodes and edges, and collects what NIR cannot say.

    Attributes:
        dt: Length of a step in the unit of the nodes: s, or 1.
        nodes: The nodes by name.
        weights: The node and its field of each entry of the state dict that is in one.
        layer_of: The path of the layer of each node.
        unsayable: What the nodes do not say.
    """

    def __init__(self, dt: float | None) -> None:
        self.nir = nir_package()
        self.dt = 1.0 if dt is None else dt / 1000.0
        self.nodes: dict[str, Any] = {}
        self.weights: dict[str, nir_metadata.Where] = {}
        self.layer_of: dict[str, str] = {}
        self.unsayable: list[Unsayable] = []
        self._edges: list[tuple[str, str]] = []
        # A feedback begins at a layer that is written later: its place holder, and the sources it stands for.
        self._later: dict[str, Sources] = {}

    def write(self, network: Network, in_shape: Shape) -> None:
        """Write the whole network between an input and an output node."""
        taken = {name for name, _ in network.named_children()}
        first, last = ("input", "output") if not taken & {"input", "output"} else ("nir_input", "nir_output")
        self.nodes[first] = self.nir.Input(input_type=np.array(in_shape))
        sources, shape = self._write_layer(network, "", [first], in_shape)
        self._add_node(last, self.nir.Output(output_type=np.array(shape)), sources, "")

    def graph(self) -> Any:
        """Return the graph."""
        return make_graph(self.nir, self.nodes, self._without_duplicates(self.edges()), {})

    def edges(self) -> list[tuple[str, str]]:
        """Return the edges between nodes."""
        return [(begin, target) for source, target in self._edges for begin in self._begin_nodes(source)]

    def _begin_nodes(self, source: str, within: tuple[str, ...] = ()) -> Sources:
        """Return the nodes of a source: itself, or those that the placeholder of a feedback stands for."""
        if source not in self._later:
            return [source]
        if source in within:
            raise ConfigError("export", f"{source[1:]} is a cycle without nodes")
        return [begin for each in self._later[source] for begin in self._begin_nodes(each, (*within, source))]

    def _without_duplicates(self, edges: list[tuple[str, str]]) -> list[tuple[str, str]]:
        """Return the edges, the second of two equal ones through a scale of 1: an input that is added twice."""
        found: list[tuple[str, str]] = []
        for (source, target), number in Counter(edges).items():
            found.append((source, target))
            for copy in range(1, number):
                name = f"{source}.copy{copy}.{target}"
                shape = next(iter(self.nodes[source].output_type.values()))
                self.nodes[name] = self.nir.Scale(scale=np.ones(tuple(shape), np.float32))
                found += [(source, name), (name, target)]
        return found

    def _add_node(self, name: str, node: Any, sources: Sources, layer: str) -> Sources:
        self.nodes[name] = node
        self._edges += [(source, name) for source in sources]
        if layer:
            self.layer_of[name] = layer
        return [name]

    def _refuse(self, layer: str, what: str, fix: str, instead: str = "") -> None:
        self.unsayable.append(Unsayable(layer, what, fix, instead))

    def _no_node(self, sources: Sources, layer: str, what: str, fix: str) -> Sources:
        """Note a layer without any node; its edges are those of a node that does not exist."""
        self._refuse(layer, what, fix)
        self._edges += [(source, layer) for source in sources]
        self.layer_of[layer] = layer
        return [layer]

    # The methods below return the sources of the next layer, and the shape of one sample there.

    def _write_layer(self, layer: nn.Module, path: str, sources: Sources, shape: Shape) -> tuple[Sources, Shape]:
        """Write a layer behind `sources`; return the nodes of its output, and its shape."""
        if isinstance(layer, Loop):
            return self._write_loop(layer, path, sources, shape)
        if isinstance(layer, Graph):
            return self._write_graph(layer, path, sources, shape)
        if isinstance(layer, Residual):
            return self._write_residual(layer, path, sources, shape)
        if isinstance(layer, Parallel):
            return self._write_parallel(layer, path, sources, shape)
        if type(layer) is Network:
            return self._write_sequence([*layer.layers()], path, sources, shape)
        if isinstance(layer, nn.Identity | Dropout | nn.Dropout):
            return sources, shape
        out_shape = shape if isinstance(layer, Neuron) else _output_shape(layer, shape)
        if isinstance(layer, Delay):
            delay = self.nir.Delay(delay=array(layer.steps.double() * self.dt).astype(np.float32))
            return self._add_node(path, delay, sources, path), out_shape
        if isinstance(layer, Neuron):
            return self._write_neurons(layer, path, sources, shape), out_shape
        return self._write_stateless(layer, path, sources, shape, out_shape), out_shape

    def _write_sequence(
        self, layers: Sequence[tuple[str, nn.Module]], path: str, sources: Sources, shape: Shape
    ) -> tuple[Sources, Shape]:
        for name, layer in layers:
            sources, shape = self._write_layer(layer, below(path, name), sources, shape)
        return sources, shape

    def _write_residual(self, block: Residual, path: str, sources: Sources, shape: Shape) -> tuple[Sources, Shape]:
        if block.connect != "add":
            self._refuse(path, f"connect: {block.connect}", "connect: add")
        ends, out_shape = self._write_sequence([*block.layers()], path, sources, shape)
        shortcut = dict(block.named_children()).get(SHORTCUT)
        if shortcut is not None:
            sources, _ = self._write_layer(shortcut, below(path, SHORTCUT), sources, shape)
        return [*sources, *ends], out_shape

    def _write_parallel(self, block: Parallel, path: str, sources: Sources, shape: Shape) -> tuple[Sources, Shape]:
        if block.join != "add":
            self._refuse(path, f"join: {block.join}", "join: add")
        ends = [self._write_layer(branch, below(path, name), sources, shape) for name, branch in block.named_children()]
        return [source for found, _ in ends for source in found], ends[0][1]

    def _write_loop(self, block: Loop, path: str, sources: Sources, shape: Shape) -> tuple[Sources, Shape]:
        layers = [*block.layers()]
        if not any(isinstance(part, Neuron) for _, each in block.step_by_step_layers() for part in each.modules()):
            self._refuse(path, "a feedback over layers without state", "put a neuron between them")
        outputs: dict[str, tuple[Sources, Shape]] = {}
        for name, layer in layers:
            arriving = [each.name for each in block.feedback_paths if each.target == name]
            holders = [f"@{below(path, each)}" for each in arriving]
            sources, shape = self._write_layer(layer, below(path, name), [*sources, *holders], shape)
            outputs[name] = (sources, shape)
        for each in block.feedback_paths:
            begin, begin_shape = outputs[each.source]
            inner = block.get_submodule(each.name)
            self._later[f"@{below(path, each.name)}"], _ = self._write_layer(
                inner, below(path, each.name), begin, begin_shape
            )
        return sources, shape

    def _write_graph(self, block: Graph, path: str, sources: Sources, shape: Shape) -> tuple[Sources, Shape]:
        layers = dict(block.layers())
        shapes: dict[str, Shape] = {INPUT: shape}
        holders = {name: [f"@{below(path, name)}"] for name in layers} | {INPUT: sources}
        while waiting := [name for name in layers if name not in shapes]:
            known = {edge.target: shapes[edge.source] for edge in block.edges if edge.source in shapes}
            name = next(name for name in waiting if name in known)
            arriving = self._arriving(block, name, path, holders, known[name])
            found, shapes[name] = self._write_layer(layers[name], below(path, name), arriving, known[name])
            self._later[holders[name][0]] = found
        last = next(edge.source for edge in block.edges if edge.target == OUTPUT)
        return self._arriving(block, OUTPUT, path, holders, shapes[last]), shapes[last]

    def _arriving(self, block: Graph, name: str, path: str, holders: Mapping[str, Sources], shape: Shape) -> Sources:
        """Return the sources of a layer; a delay is a node, but for the one step that every cycle has."""
        parts = components([*dict(block.layers())], block.edges)
        found: Sources = []
        for edge in block.edges:
            if edge.target != name:
                continue
            in_cycle = any({edge.source, edge.target} <= {*part} for part in parts)
            if edge.delay > (1 if in_cycle else 0):
                delay = self.nir.Delay(delay=np.full(shape, edge.delay * self.dt, np.float32))
                found += self._add_node(below(path, edge.name), delay, holders[edge.source], path)
            else:
                found += holders[edge.source]
        return found

    def _write_stateless(
        self, layer: nn.Module, path: str, sources: Sources, shape: Shape, out_shape: Shape
    ) -> Sources:
        if isinstance(layer, nn.Conv1d | nn.Conv2d):
            return self._write_convolution(layer, path, sources, shape)
        if isinstance(layer, nn.Linear):
            if len(shape) != 1:
                what = f"a linear layer over the last of {len(shape)} axes"
                return self._no_node(sources, path, what, "add a flatten layer before")
            return self._write_affine(layer, path, sources)
        if isinstance(layer, Voting):
            mean = torch.eye(out_shape[-1]).repeat_interleave(layer.group_size, 1) / layer.group_size
            if len(shape) != 1:
                self._refuse(path, f"voting over the last of {len(shape)} axes", "add a flatten layer before")
            return self._add_node(path, self._zero_bias(mean), sources, path)
        if isinstance(layer, nn.Flatten):
            # NIR's axes are those of one sample.
            start, end = (axis - 1 if axis > 0 else axis for axis in (layer.start_dim, layer.end_dim))
            node = self.nir.Flatten(input_type={"input": np.array(shape)}, start_dim=start, end_dim=end)
            return self._add_node(path, node, sources, path)
        if isinstance(layer, Scale | Threshold):
            return self._write_elementwise(layer, path, sources)
        if isinstance(layer, DelayedConnections):
            return self._no_node(sources, path, "delays of connections", "a layer of type delay before it")
        if isinstance(layer, SumPool | nn.AvgPool2d | nn.MaxPool2d | nn.AdaptiveAvgPool2d | nn.AdaptiveMaxPool2d):
            return self._write_pooling(layer, path, sources, shape, out_shape)
        if isinstance(layer, BatchNorm):
            fix = "--fold-norm (fold_norm=True) after a convolution or a linear layer"
            return self._no_node(sources, path, "batch_norm", fix)
        if isinstance(layer, PerStepBatchNorm):
            return self._no_node(sources, path, "per_step: true", "per_step: false and --fold-norm")
        return self._no_node(sources, path, _layer_kind(layer), "remove it, or use a layer that NIR has")

    def _write_elementwise(self, layer: Scale | Threshold, path: str, sources: Sources) -> Sources:
        if isinstance(layer, Scale):
            self.weights[below(path, "weight")] = (path, "scale")
            return self._add_node(path, self.nir.Scale(scale=array(layer.weight)), sources, path)
        if not layer.strict:
            self._refuse(path, *INCLUSIVE)
        value = layer.v_threshold if layer.strict else next_below(layer.v_threshold)
        return self._add_node(path, self.nir.Threshold(threshold=array(value.float())), sources, path)

    def _write_affine(self, layer: nn.Linear, path: str, sources: Sources) -> Sources:
        # An affine map also without a bias: Sinabs reads no linear node.
        found = self._add_node(path, self._zero_bias(layer.weight, layer.bias), sources, path)
        self._note_weights(layer, path, path)
        return found

    def _zero_bias(self, weight: Tensor, bias: Tensor | None = None) -> Any:
        """Return an Affine node; without a bias it has zeros."""
        bias = weight.new_zeros(weight.shape[0]) if bias is None else bias
        return self.nir.Affine(weight=array(weight), bias=array(bias))

    def _write_convolution(self, layer: ConvNd, path: str, sources: Sources, shape: Shape) -> Sources:
        if layer.padding_mode != "zeros":
            self._refuse(path, f"padding_mode: {layer.padding_mode}", "padding_mode: zeros")
        flat = isinstance(layer, nn.Conv1d)
        padding: Any = layer.padding
        if padding == "same" and all(k % 2 for k in layer.kernel_size):
            padding = tuple(d * (k - 1) // 2 for d, k in zip(layer.dilation, layer.kernel_size, strict=True))
        elif padding == "valid":
            padding = (0,) * len(layer.kernel_size)
        bias = layer.weight.new_zeros(layer.out_channels) if layer.bias is None else layer.bias
        first = (lambda sizes: sizes if isinstance(sizes, str) else sizes[0]) if flat else (lambda sizes: sizes)
        node = (self.nir.Conv1d if flat else self.nir.Conv2d)(
            input_shape=first(shape[1:]),
            weight=array(layer.weight),
            stride=first(layer.stride),
            padding=first(padding),
            dilation=first(layer.dilation),
            groups=layer.groups,
            bias=array(bias),
        )
        found = self._add_node(path, node, sources, path)
        self._note_weights(layer, path, path)
        return found

    def _write_pooling(self, layer: nn.Module, path: str, sources: Sources, shape: Shape, out_shape: Shape) -> Sources:
        if len(shape) != 3:
            return self._no_node(sources, path, f"pooling of {len(shape) - 1} axes", "pool 2 axes")
        if isinstance(layer, nn.AdaptiveAvgPool2d | nn.AdaptiveMaxPool2d):
            if any(n % out for n, out in zip(shape[1:], out_shape[1:], strict=True)):
                self._refuse(
                    path, f"windows of different sizes, {list(shape[1:])} to {list(out_shape[1:])}", "avg_pool"
                )
                return [path]
            kernel = tuple(n // out for n, out in zip(shape[1:], out_shape[1:], strict=True))
            stride, padding = kernel, (0, 0)
        else:
            kernel, stride, padding = (_pair(getattr(layer, name)) for name in ("kernel_size", "stride", "padding"))
        if isinstance(layer, nn.MaxPool2d | nn.AdaptiveMaxPool2d):
            adaptive = "adaptive_" if isinstance(layer, nn.AdaptiveMaxPool2d) else ""
            self._refuse(path, f"{adaptive}max_pool", "sum_pool or avg_pool", "sum_pool")
            if isinstance(layer, nn.MaxPool2d) and _pair(layer.dilation) != (1, 1):
                self._refuse(path, f"dilation: {layer.dilation}", "dilation: 1")
        if getattr(layer, "ceil_mode", False):
            self._refuse(path, "ceil_mode: true", "ceil_mode: false", "ceil_mode: false")
        if isinstance(layer, nn.AvgPool2d) and any(padding) and not layer.count_include_pad:
            self._refuse(path, "count_include_pad: false", "count_include_pad: true", "count_include_pad: true")
        mean = isinstance(layer, nn.AvgPool2d | nn.AdaptiveAvgPool2d)
        kind = self.nir.AvgPool2d if mean else self.nir.SumPool2d
        node = kind(kernel_size=np.array(kernel), stride=np.array(stride), padding=np.array(padding))
        return self._add_node(path, node, sources, path)

    def _note_weights(self, module: nn.Module, path: str, node: str) -> None:
        """Note which arrays of a node are entries of the state dict; a weight with a norm is none."""
        for name, _ in module.named_parameters(recurse=False):
            self.weights[below(path, name)] = (node, name)

    def _write_neurons(self, layer: Neuron, path: str, sources: Sources, shape: Shape) -> Sources:
        neuron, feedback = layer.parts()
        if not isinstance(feedback, Feedback):
            return self._write_population(neuron, path, path, sources, shape)
        node, back = f"{path}.lif", f"{path}.w_rec"
        ends = self._write_population(neuron, path, node, [*sources, back], shape)
        weight, bias = feedback.connections(), feedback.bias
        if feedback.delays is not None:
            self._refuse(path, "delays of a feedback", "recurrent without delay")
        if isinstance(feedback, DenseFeedback) and len(shape) == 1:
            self._add_node(back, self._zero_bias(weight, bias), ends, path)
        elif isinstance(feedback, ConvFeedback) and len(shape) == 3:
            one = (1, 1)
            bias = weight.new_zeros(weight.shape[0]) if bias is None else bias
            node2d = self.nir.Conv2d(shape[1:], array(weight), one, feedback.padding, one, 1, array(bias))
            self._add_node(back, node2d, ends, path)
        else:
            self._refuse(path, f"a {_layer_kind(feedback)} of shape {list(shape)}", "a dense feedback of features")
        if feedback.autapses:
            self._note_weights(feedback, f"{path}.feedback", back)
        return ends

    def _write_population(self, neuron: Neuron, path: str, name: str, sources: Sources, shape: Shape) -> Sources:
        says_it = {"nir", "in_nir"} & {*vars(type(neuron))}
        found = neuron.in_nir(self.dt) if says_it else None
        if found is None:
            return self._no_node(sources, path, *neuron.why_no_node())
        for lost in found.lost:
            self._refuse(path, *lost)
        full = {key: _broadcast(value, shape) for key, value in found.values.items()}
        if found.kind == "CubaLI":
            # It is younger than some readers' nir; two leaky integrators are the same.
            zero = np.zeros(shape, np.float32)
            synapse = self.nir.LI(tau=full["tau_syn"], r=full["w_in"], v_leak=zero)
            sources = self._add_node(f"{name}.synapse", synapse, sources, path)
            return self._add_node(name, self._node("LI", full | {"tau": full["tau_mem"]}), sources, path)
        return self._add_node(name, self._node(found.kind, full), sources, path)

    def _node(self, kind: str, values: Mapping[str, np.ndarray]) -> Any:
        """Return a neuron node; `v_reset` is a field of nir 1.0.5 and later, before that a reset is to zero."""
        known = {each.name for each in fields(getattr(self.nir, kind))}
        if "v_reset" not in known and values.get("v_reset", np.zeros(1)).any():
            raise ConfigError("export", f"v_reset needs nir 1.0.6 or later, got {self.nir.version}", "upgrade nir")
        return getattr(self.nir, kind)(**{key: value for key, value in values.items() if key in known})


def _broadcast(value: Any, shape: Shape) -> np.ndarray:
    """Return a number, or a value per channel or neuron, for each neuron."""
    return np.array(np.broadcast_to(np.asarray(torch.as_tensor(value).detach().cpu(), np.float32), shape))


def array(value: Tensor) -> np.ndarray:
    """Return a tensor's values."""
    return np.ascontiguousarray(value.detach().cpu().numpy())


def below(path: str, name: str) -> str:
    """Return the path of a layer within another one."""
    return f"{path}.{name}" if path else name


def _output_shape(layer: nn.Module, shape: Shape) -> Shape:
    training = layer.training
    layer.eval()
    like = next((p for p in layer.parameters() if p.is_floating_point()), torch.empty(0))
    x = torch.zeros(1, 1, *shape, dtype=like.dtype, device=like.device)
    try:
        with torch.no_grad(), plain_loops():
            y = layer(x)[0] if isinstance(layer, TemporalLayer) else fold_time(layer, x)
    finally:
        layer.train(training)
    return tuple(y.shape[2:])


def _pair(sizes: Any) -> tuple[int, int]:
    return (sizes, sizes) if isinstance(sizes, int) else tuple(sizes)


def _layer_kind(layer: nn.Module) -> str:
    return type(layer).__name__


def _as_json(layers: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the layers as they are read from JSON; None where they hold objects of Python."""
    try:
        return json.loads(json.dumps(layers, allow_nan=False))
    except (TypeError, ValueError):
        return None
