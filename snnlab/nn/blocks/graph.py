"""Layers connected by a list of edges, with branches, sums and cycles.

Axes: T steps, B samples.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from snnlab.errors import ConfigError, did_you_mean, join_names
from snnlab.event_frames import EventFrames, dense
from snnlab.nn.blocks.branches import Context, Layers, last_shape
from snnlab.nn.blocks.loop import keep_ended
from snnlab.nn.delays import last_steps
from snnlab.nn.layer import LAYERS, Counts, Dt, InShape, NumSteps, add_counts
from snnlab.nn.network import Network, NetworkState, Shape, zero_past_end
from snnlab.nn.stages import Stage, run_stage

# The names of the block's input and output in its edges.
INPUT, OUTPUT = "input", "output"
Edges = Sequence[Sequence[Any]]


class Edge(NamedTuple):
    """A connection from the output of a layer to the input of another.

    Attributes:
        source: Name of a layer, or `input`.
        target: Name of a layer, or `output`.
        delay: Number of steps by which the output arrives later; before the first one it is 0.
    """

    source: str
    target: str
    delay: int = 0

    @property
    def name(self) -> str:
        """Its name in the state of the block."""
        return f"{self.source}_to_{self.target}"


def components(names: Iterable[str], edges: Sequence[Edge]) -> list[list[str]]:
    """Return the strongly connected components of a graph, sources first.

    Source: Tarjan, Depth-first search and linear graph algorithms, SIAM Journal on Computing, 1972; without recursion.
    """
    targets: dict[str, list[str]] = {name: [] for name in names}
    for edge in edges:
        if edge.source in targets and edge.target in targets:
            targets[edge.source].append(edge.target)
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []
    for root in targets:
        work = [(root, iter(targets[root]))] if root not in index else []
        while work:
            name, rest = work[-1]
            if name not in index:
                index[name] = low[name] = len(index)
                stack.append(name)
            target = next(rest, None)
            if target is None:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[name])
                if low[name] == index[name]:
                    at = stack.index(name)
                    found.append(stack[at:])
                    del stack[at:]
            elif target not in index:
                work.append((target, iter(targets[target])))
            elif target in stack:
                low[name] = min(low[name], index[target])
    return found[::-1]


class Graph(Network):
    """Connect layers by a list of edges; the input of a layer is the sum of the outputs that reach it.

        x_layer[t] = sum over its edges of y_source[t - delay],   y[t < 0] = 0

    A cycle needs an edge with a delay. The layers of a cycle run step by step, the others all steps at once.

    Args:
        edges: The connections; `input` and `output` are those of the block.
        shapes: Output shape of each source of a delayed edge, of one sample at one step.

    Shape:
        x: `[T, B, ...]`; returns `[T, B, ...]` and the state, a dict by layer name; that of a delayed edge is
        `[B, delay, ...]` under the name `source_to_target`.
    """

    def __init__(
        self,
        layers: Mapping[str, nn.Module],
        edges: Sequence[Edge],
        shapes: Mapping[str, Shape],
        *,
        layer_types: Mapping[str, str] | None = None,
    ) -> None:
        check_edges(layers, edges)
        delayed = {edge.name: nn.Identity() for edge in edges if edge.delay}
        super().__init__(layers, layer_types=layer_types, extra_layers=delayed)
        self.edges, self.shapes = tuple(edges), dict(shapes)
        self._parts = [(part, _is_cycle(part, edges)) for part in components([*layers, OUTPUT], edges)]
        instant = [edge for edge in edges if not edge.delay]
        position = {part[0]: at for at, part in enumerate(components(layers, instant))}
        for part, _ in self._parts:
            part.sort(key=lambda name: position.get(name, len(position)))

    def connection(self) -> str:
        return join_names(f"{e.source} → {e.target}" + (f" (delay {e.delay})" if e.delay else "") for e in self.edges)

    def forward(
        self,
        x: Tensor | EventFrames,
        state: NetworkState | None = None,
        *,
        lengths: Tensor | None = None,
        counts: Counts | None = None,
    ) -> tuple[Tensor, NetworkState]:
        """Run all steps."""
        before = self.check_state(state)
        after: NetworkState = {}
        outputs: dict[str, Tensor] = {INPUT: dense(x)}
        for part, cycle in self._parts:
            if cycle:
                outputs |= self._run_cycle(part, outputs, before, after, lengths, counts)
                continue
            (name,) = part
            y = self._sum([self._arriving(edge, outputs, before, after, lengths) for edge in self._edges_to(name)])
            if name != OUTPUT:
                y = self.run_layers([(name, self.get_submodule(name))], y, before, after, lengths, counts)
            outputs[name] = y
        return zero_past_end(outputs[OUTPUT], lengths), after

    def _edges_to(self, name: str) -> list[Edge]:
        return [edge for edge in self.edges if edge.target == name]

    def _sum(self, parts: list[Tensor]) -> Tensor:
        return sum(parts[1:], parts[0])

    def _waiting(self, edge: Edge, before: NetworkState, like: Tensor) -> Tensor:
        """Return the outputs that have not arrived yet, `[B, delay, ...]`."""
        found = before.get(edge.name)
        return like.new_zeros(like.shape[1], edge.delay, *self.shapes[edge.source]) if found is None else found

    def _arriving(
        self,
        edge: Edge,
        outputs: Mapping[str, Tensor],
        before: NetworkState,
        after: NetworkState,
        lengths: Tensor | None,
    ) -> Tensor:
        """Return what arrives over an edge at all steps."""
        y = outputs[edge.source]
        if not edge.delay:
            return y
        y_all = torch.cat([self._waiting(edge, before, y).transpose(0, 1), y])
        after[edge.name] = last_steps(y_all, edge.delay, lengths).transpose(0, 1)
        return y_all[: y.shape[0]]

    def _run_cycle(
        self,
        part: list[str],
        outputs: Mapping[str, Tensor],
        before: NetworkState,
        after: NetworkState,
        lengths: Tensor | None,
        counts: Counts | None,
    ) -> dict[str, Tensor]:
        """Run the layers of a cycle step by step; return their outputs."""
        like = outputs[INPUT]
        inner = [edge for edge in self.edges if edge.source in part and edge.target in part]
        outer = {
            name: [
                self._arriving(edge, outputs, before, after, lengths)
                for edge in self._edges_to(name)
                if edge.source not in part
            ]
            for name in part
        }
        states: NetworkState = {name: before[name] for name in part if name in before}
        waiting = {edge: self._waiting(edge, before, like) for edge in inner if edge.delay}
        found: dict[str, list[Tensor]] = {name: [] for name in part}
        for t in range(like.shape[0]):
            valid = None if lengths is None else (lengths - t).clamp(0, 1)
            own: Counts | None = None if counts is None else {}
            for name in part:
                parts = [x[t : t + 1] for x in outer[name]]
                parts += [
                    waiting[edge][None, :, 0] if edge.delay else found[edge.source][t]
                    for edge in inner
                    if edge.target == name
                ]
                stage = Stage(name, self.get_submodule(name))
                y, state = run_stage(stage, self._sum(parts), states.get(name), valid, own)
                if state is not None:
                    states[name] = state
                found[name].append(y)
            for edge, last in waiting.items():
                new = torch.cat([last[:, 1:], found[edge.source][t].transpose(0, 1)], 1)
                waiting[edge] = keep_ended(new, last, valid)
            add_counts(counts, own or {})
        after |= states
        after |= {edge.name: last for edge, last in waiting.items()}
        return {name: torch.cat(ys) for name, ys in found.items()}


def _is_cycle(part: Sequence[str], edges: Sequence[Edge]) -> bool:
    return len(part) > 1 or any(edge.source == edge.target == part[0] for edge in edges)


def check_edges(layers: Iterable[str], edges: Sequence[Edge]) -> None:
    """Raise a ConfigError if an edge names no layer, a layer has no input or output, or a cycle has no delay."""
    names = [*layers]
    for name in (INPUT, OUTPUT):
        if name in names:
            raise ConfigError(f"layers.{name}", f"is the name of the graph's {name}", "give the layer another one")
    for number, edge in enumerate(edges):
        for end, known in ((edge.source, [INPUT, *names]), (edge.target, [*names, OUTPUT])):
            if end not in known:
                near = did_you_mean(end, known)
                raise ConfigError(f"edges.{number}", f"there is no layer '{end}'", near, () if near else known)
    for name in [*names, OUTPUT]:
        if not any(edge.target == name for edge in edges):
            raise ConfigError("edges", f"no edge leads to {name}", f"add [{INPUT}, {name}]")
    for part in components(names, [edge for edge in edges if not edge.delay]):
        if _is_cycle(part, [edge for edge in edges if not edge.delay]):
            raise ConfigError("edges", f"the cycle of {join_names(part)} has no delay", "add 1 to one of its edges")


def as_edges(edges: Edges) -> list[Edge]:
    """Return edges `[source, target]` or `[source, target, delay]`."""
    found = []
    for number, edge in enumerate(edges):
        pair = list(edge) if isinstance(edge, Sequence) and not isinstance(edge, str) else []
        good = len(pair) in (2, 3) and all(isinstance(name, str) for name in pair[:2])
        delay = pair[2] if len(pair) == 3 else 0
        if not good or not isinstance(delay, int) or isinstance(delay, bool) or delay < 0:
            raise ConfigError(f"edges.{number}", f"expected [source, target] or [source, target, delay], got {edge!r}")
        found.append(Edge(pair[0], pair[1], delay))
    return found


@LAYERS.register("graph")
def graph(in_shape: InShape, dt: Dt, num_steps: NumSteps, *, layers: Layers, edges: Edges) -> Graph:
    """Connect layers by a list of edges; the input of a layer is the sum of the outputs that reach it.

    Args:
        layers: Named layers, like those of a model.
        edges: `[source, target]`, or `[source, target, delay]` with a delay in steps, which a cycle needs; `input` and
            `output` are those of the block. An edge that is there twice adds twice.
    """
    found = as_edges(edges)
    check_edges(layers, found)
    context = Context(dt, num_steps)
    shapes: dict[str, Shape] = {INPUT: in_shape}
    built: dict[str, nn.Module] = {}
    layer_types: dict[str, str] = {}
    in_shapes: dict[str, Shape] = {}
    while len(built) < len(layers):
        ready = [edge for edge in found if edge.source in shapes and edge.target not in (*built, OUTPUT)]
        if not ready:
            alone = [name for name in layers if name not in built]
            raise ConfigError("edges", f"no path leads from {INPUT} to {join_names(alone)}")
        name = ready[0].target
        one = context.build({name: layers[name]}, shapes[ready[0].source])
        built[name], shapes[name] = one.network.get_submodule(name), last_shape(one)
        layer_types |= one.network.layer_types
        in_shapes[name] = shapes[ready[0].source]
    for number, edge in enumerate(found):
        wanted = in_shapes.setdefault(edge.target, shapes[edge.source])
        if shapes[edge.source] != wanted:
            raise ConfigError(
                f"edges.{number}",
                f"{edge.source} gives {list(shapes[edge.source])}, but the input of {edge.target} is {list(wanted)}",
            )
    return Graph({name: built[name] for name in layers}, found, shapes, layer_types=layer_types)
