"""The structure of NIR graphs: graphs within graphs made flat, checks, shapes, cycles, and their order as layers.

A cycle is broken where it closes, seen from the input: the output of its last population arrives `cycle_delay` steps
later. A cycle through a Delay of a step or more is broken there, and the Delay is a step shorter: its own delay stays.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from snnlab.errors import join_names
from snnlab.interop.nir_options import POPULATIONS
from snnlab.interop.nir_tree import NIRError
from snnlab.nn.blocks.graph import Edge, components

Shape = tuple[int, ...]
STATEFUL = (*POPULATIONS, "I", "LI", "CubaLI", "Delay")
# More values than any layer has: the shapes of a graph are checked before memory is taken.
MOST_VALUES = 10**9
MOST_NODES, MOST_EDGES = 10_000, 10**6


class FlatGraph(NamedTuple):
    """A graph without graphs in it.

    Attributes:
        nodes: The nodes by path, without inputs and outputs.
        edges: The connections; the graph's own input and output have their names.
        input: Name of the input node.
        output: Name of the output node.
        in_shape: Shape of the input, of one sample at one step.
        dropped: Nodes, or whole graphs, from which no path leads to the output.
    """

    nodes: dict[str, Any]
    edges: list[Edge]
    input: str
    output: str
    in_shape: Shape
    dropped: list[str]


def kind_of(node: Any) -> str:
    """Return the name of a node's primitive."""
    return type(node).__name__


def flatten_graph(graph: Any, place: str) -> FlatGraph:
    """Return a graph with the nodes of all graphs in it, and without their inputs and outputs.

    Args:
        graph: A `nir.NIRGraph`.
        place: The file, for errors.

    Raises:
        NIRError: if an edge names no node, or there is not one input and one output.
    """
    nodes: dict[str, Any] = {}
    edges: list[tuple[str, str]] = []
    graphs: set[str] = set()
    _collect(graph, "", nodes, edges, graphs, place)
    if len(nodes) > MOST_NODES:
        raise NIRError(place, f"has {len(nodes):,} nodes, {MOST_NODES:,} at most are read")
    first, last = (_only(graph, kind, "", place) for kind in ("Input", "Output"))
    shape = graph.nodes[first].input_type["input"]
    if shape is None:
        raise NIRError(f"{place}: {first}", "has no shape")
    in_shape = tuple(int(size) for size in np.atleast_1d(shape)) or (1,)  # no axis: one value
    require_size(in_shape, f"{place}: {first}")
    driven, needed = _reachable(first, edges), _reachable(last, [(b, a) for a, b in edges])
    if last not in driven:
        raise NIRError(place, f"no path leads from {first} to {last}")
    if alone := next((name for name in nodes if name in needed - driven), None):
        raise NIRError(f"{place}: {alone}", f"leads to {last}, but no path leads to it from {first}")
    alive = [(a, b) for a, b in edges if {a, b} <= needed]
    if ends := [pair for pair in alive if pair[1] == first or pair[0] == last]:
        raise NIRError(f"{place}: {ends[0][0]}", f"an edge leads from it to {ends[0][1]}")
    inner = {name: node for name, node in nodes.items() if name in needed and name not in (first, last)}
    passing = [name for name, node in inner.items() if kind_of(node) in ("Input", "Output")]
    found = _without_passing(passing, alive, place)
    kept = {name: node for name, node in inner.items() if name not in {*passing}}
    return FlatGraph(kept, [Edge(a, b) for a, b in found], first, last, in_shape, _dropped(nodes, needed, graphs))


def _without_passing(names: Sequence[str], edges: Sequence[tuple[str, str]], place: str) -> list[tuple[str, str]]:
    """Return the edges without nodes that only pass their input on."""
    found: list[tuple[str, str] | None] = list(edges)
    touching: dict[str, list[int]] = {name: [] for name in names}
    for at, pair in enumerate(edges):
        for name in {*pair} & touching.keys():
            touching[name].append(at)
    for name in names:
        pairs = [pair for at in touching[name] if (pair := found[at]) is not None]
        for at in touching[name]:
            found[at] = None
        new = [(a, b) for a in (a for a, target in pairs if target == name) for b in (b for s, b in pairs if s == name)]
        if len(found) + len(new) > MOST_EDGES:
            raise NIRError(f"{place}: {name}", f"joins more than {MOST_EDGES:,} edges")
        for pair in new:
            for end in {*pair} & touching.keys():
                touching[end].append(len(found))
            found.append(pair)
    return [pair for pair in found if pair is not None]


def _dropped(nodes: Mapping[str, Any], needed: set[str], graphs: set[str]) -> list[str]:
    """Return the nodes that are not needed; of a graph without any needed node its name alone."""
    used = {graph for name in nodes if name in needed for graph in _graphs_around(name, graphs)}
    unused = ((name, [graph for graph in _graphs_around(name, graphs) if graph not in used]) for name in nodes)
    found = [whole[0] if whole else name for name, whole in unused if name not in needed]
    return list(dict.fromkeys(found))


def _graphs_around(name: str, graphs: set[str]) -> list[str]:
    """Return the paths of the graphs that a node is in, from the outermost on."""
    return [name[: at.start()] for at in re.finditer(r"\.", name) if name[: at.start()] in graphs]


def _collect(
    graph: Any, prefix: str, nodes: dict[str, Any], edges: list[tuple[str, str]], graphs: set[str], place: str
) -> None:
    """Add the nodes and edges of a graph under its prefix, and the paths of the graphs in it."""
    ends: dict[tuple[str, str], str] = {}
    for name, node in graph.nodes.items():
        path = f"{prefix}{name}"
        if path in nodes:
            raise NIRError(f"{place}: {path}", "is the name of two nodes")
        if hasattr(node, "nodes"):
            graphs.add(path)
            _collect(node, f"{path}.", nodes, edges, graphs, place)
            ends |= {(path, kind): f"{path}.{_only(node, kind, path, place)}" for kind in ("Input", "Output")}
        else:
            nodes[path] = node
    for (source, target), number in Counter(graph.edges).items():
        if number > 1:
            raise NIRError(f"{place}: {prefix}{source}", f"the edge {source} → {target} is in the file {number} times")
        pair = []
        for name, kind in ((f"{prefix}{source}", "Output"), (f"{prefix}{target}", "Input")):
            found = ends.get((name, kind), name)
            if found not in nodes:
                raise NIRError(f"{place}: {name}", f"is no node, but the edge {source} → {target} names it")
            pair.append(found)
        edges.append((pair[0], pair[1]))


def _only(graph: Any, kind: str, path: str, place: str) -> str:
    """Return the name of the only Input or Output of a graph."""
    found = [name for name, node in graph.nodes.items() if kind_of(node) == kind]
    if len(found) != 1:
        where = f"{place}: {path}" if path else place
        names = f": {join_names(found)}" if found else ""
        raise NIRError(where, f"has {len(found)} {kind} nodes{names}; snnlab reads graphs with one")
    return found[0]


def _reachable(start: str, edges: Sequence[tuple[str, str]]) -> set[str]:
    targets: dict[str, list[str]] = {}
    for source, target in edges:
        targets.setdefault(source, []).append(target)
    found, waiting = {start}, [start]
    while waiting:
        for target in targets.get(waiting.pop(), ()):
            if target not in found:
                found.add(target)
                waiting.append(target)
    return found


def require_size(shape: Shape, place: str) -> None:
    """Raise a NIRError for a shape with a size below 1, or too many values."""
    if any(size < 1 for size in shape):
        raise NIRError(place, f"has the shape {list(shape)}")
    number = 1
    for size in shape:
        number *= size
    if number > MOST_VALUES:
        raise NIRError(place, f"has {number:,} values a step; snnlab reads {MOST_VALUES:,} at most")


@dataclass(frozen=True)
class Segment:
    """A layer, or layers connected by edges that form a block.

    Attributes:
        nodes: Names of the nodes, in order.
        edges: Connections of a block; None for a layer. `input` and `output` are those of the block.
    """

    nodes: list[str]
    edges: list[Edge] | None = None


def delay_cycles(flat: FlatGraph, steps: int, delays: Mapping[str, int], place: str) -> tuple[FlatGraph, list[str]]:
    """Return a graph in which each cycle has a delay, and the nodes whose Delay is a step shorter for it.

    Args:
        flat: The graph.
        steps: Delay of a cycle, steps.
        delays: The shortest delay of each Delay node, steps.
        place: The file, for errors.

    Raises:
        NIRError: for a cycle without state.
    """
    edges = list(flat.edges)
    shortened: list[str] = []
    order = [flat.input, *sorted(flat.nodes)]
    for part in components(order, edges):
        inner = [edge for edge in edges if edge.source in part and edge.target in part]
        if not inner:
            continue
        if not any(kind_of(flat.nodes[name]) in STATEFUL for name in part):
            raise NIRError(f"{place}: {min(part)}", f"is in a cycle without state: {join_names(sorted(part))}")
        for name in [name for name in sorted(part) if delays.get(name, 0) >= 1]:
            shortened.append(name)
            edges = [edge._replace(delay=1) if edge.source == name else edge for edge in edges]
    entries = [edge.target for edge in edges if edge.source == flat.input]
    for edge in _closing(sorted(entries), [edge for edge in edges if not edge.delay]):
        moved = _before_weights(edge, edges, flat)
        edges[edges.index(moved)] = moved._replace(delay=steps)
    return flat._replace(edges=edges), shortened


def _closing(entries: Sequence[str], edges: Sequence[Edge]) -> list[Edge]:
    """Return the edges that close a cycle in a depth-first search, which takes targets in the order of their names."""
    targets: dict[str, list[Edge]] = {}
    for edge in sorted(edges):
        targets.setdefault(edge.source, []).append(edge)
    closing: list[Edge] = []
    done: set[str] = set()
    for entry in entries:
        if entry in done:
            continue
        path, work = {entry}, [(entry, iter(targets.get(entry, ())))]
        while work:
            name, rest = work[-1]
            edge = next(rest, None)
            if edge is None:
                work.pop()
                path.discard(name)
                done.add(name)
            elif edge.target in path:
                closing.append(edge)
            elif edge.target not in done:
                path.add(edge.target)
                work.append((edge.target, iter(targets.get(edge.target, ()))))
    return list(dict.fromkeys(closing))


def _before_weights(edge: Edge, edges: Sequence[Edge], flat: FlatGraph) -> Edge:
    """Return the edge that leaves the last node with a state before one that closes a cycle.

    The nodes between are stateless, with one input and one output; the delay stands before their weights, so that a
    bias acts from the first step on, as in recurrent layers everywhere.
    """
    while kind_of(flat.nodes[edge.source]) not in STATEFUL:
        before = [other for other in edges if other.target == edge.source]
        after = [other for other in edges if other.source == edge.source]
        if len(before) != 1 or len(after) != 1 or before[0].source == flat.input or before[0].delay:
            break
        edge = before[0]
    return edge


def segments(flat: FlatGraph) -> list[Segment]:
    """Return the nodes of a graph as a sequence of layers and blocks: a block where edges branch, join or return.

    Args:
        flat: A graph in which each cycle has a delay.
    """
    parts = components([flat.input, *sorted(flat.nodes), flat.output], flat.edges)
    position = {name: at for at, part in enumerate(parts) for name in part}
    found: list[Segment] = []
    block: list[list[str]] = []
    before = flat.input
    for at, part in enumerate(parts[1:], 1):
        if part == [flat.output]:
            continue
        block.append(part)
        crossing = {edge.source for edge in flat.edges if position[edge.source] <= at < position[edge.target]}
        if len(crossing) == 1 and crossing <= set(part):
            (last,) = crossing
            if all(edge.delay == 0 for edge in flat.edges if edge.source == last and position[edge.target] > at):
                found.append(_segment([name for names in block for name in names], before, last, flat.edges))
                block, before = [], last
    if block:  # several edges, or one with a delay, lead to the output
        found.append(_segment([name for names in block for name in names], before, flat.output, flat.edges))
    return found


def _segment(names: list[str], before: str, last: str, edges: Sequence[Edge]) -> Segment:
    inner = [edge for edge in edges if edge.target in names and (edge.source in names or edge.source == before)]
    if names == [last] and inner == [Edge(before, last)]:
        return Segment(names)
    renamed = [edge._replace(source="input") if edge.source == before else edge for edge in inner]
    if last in names:
        renamed.append(Edge(last, "output"))
    else:
        ends = [edge for edge in edges if edge.target == last and edge.source in (*names, before)]
        renamed += [
            edge._replace(source="input" if edge.source == before else edge.source, target="output") for edge in ends
        ]
    return Segment(names, renamed)
