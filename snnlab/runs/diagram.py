"""Diagram of a network: the boxes of its layers and of its blocks; as text, a line for each box.

A box contains weights with their norm, neuron and pool; equal neighbours are one box.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from snnlab.nn.summary import LayerSummary, Summary, shape_text

# Families of layers; a box has the first one of its layers.
FAMILIES = ("input", "spiking", "integrator", "block", "weights", "pooling", "norm", "other")
_JOINS = {"add": "+", "and": "×", "iand": "∧¬", "concat": "||"}


class Box(NamedTuple):
    """Consecutive layers in one box: their names, family and text; a box without layers is a dot.

    Attributes:
        recurrent: Whether a neuron in it has feedback.
        rows: Its layers; empty for a dot and for the input.
        times: How many equal boxes follow each other.
    """

    layers: tuple[str, ...]
    family: str
    lines: tuple[str, ...]
    recurrent: bool = False
    rows: tuple[LayerSummary, ...] = ()
    times: int = 1


class Chain(NamedTuple):
    """Consecutive boxes, with further connections between them: source, target, name.

    Attributes:
        name: The dotted name of its block; empty for the network.
        title: Name and kind of its block; empty for the network.
        parallel: The layers of a block that are beside the boxes, such as a shortcut.
    """

    name: str
    title: str
    boxes: list[Box]
    connections: list[tuple[int, int, str]]
    parallel: tuple[LayerSummary, ...] = ()


def chains_of(summary: Summary) -> list[Chain]:
    """Return the chain of the network's boxes, then those of its blocks, outer ones first."""
    chains, pending = [], [LayerSummary("", "", "block", summary.in_shape, 0, 0)]
    for block in pending:
        rows = [row for row in summary.layers if row.name.rpartition(".")[0] == block.name]
        units, previous, times = list[list[LayerSummary]](), "", list[int]()
        for unit in _box_layers([row for row in rows if row.follows], folded=block.kind != "loop"):
            inside = [r for row in unit for r in summary.layers if f"{r.name}.".startswith(f"{row.name}.")]
            description = str([(r.kind, r.shape, r.parameters, r.connection) for r in inside])
            if units and description == previous and block.kind != "loop":
                times[-1] += 1
                continue
            units, times, previous = [*units, unit], [*times, 1], description
        boxes = [_box(unit, count, summary) for unit, count in zip(units, times, strict=True)]
        parallel = [row for row in rows if not row.follows]
        pending += [row for row in [*(r for unit in units for r in unit), *parallel] if row.family == "block"]
        connections: list[tuple[int, int, str]] = []
        if not block.name:
            boxes.insert(0, Box(("frames",), "input", ("frames", f"→ {shape_text(summary.in_shape)}")))
        elif block.kind == "loop":
            places = {name: place for place, box in enumerate(boxes) for name in box.layers}
            connections = [
                (places[source], places[target], f"{source}_to_{target}") for source, target in block.feedback
            ]
        elif sign := _JOINS.get(block.connection):
            boxes = [Box((), "input", ("",)), *boxes, Box((), "input", (sign,))]
            connections = [
                (0, len(boxes) - 1, name) for name in [row.name.rpartition(".")[2] for row in parallel] or [""]
            ]
        kind = ", ".join(filter(None, (block.kind, block.connection)))
        title = f"{block.name}: {kind}" if block.name else ""
        chains.append(Chain(block.name, title, boxes, connections, tuple(parallel)))
    return chains


def _box_layers(rows: Sequence[LayerSummary], *, folded: bool) -> list[list[LayerSummary]]:
    """Return the layers of each box; `folded` joins layers without weights to the weights before them."""
    units: list[list[LayerSummary]] = []
    for row in rows:
        if not folded or row.family in ("weights", "block") or not units or units[-1][0].family != "weights":
            units.append([])
        units[-1].append(row)
    return units


def _box(unit: Sequence[LayerSummary], times: int, summary: Summary) -> Box:
    family = next(family for family in FAMILIES if any(row.family == family for row in unit))
    neurons = [neuron for neuron in summary.neurons for row in unit if neuron.name == row.name]
    names = tuple(row.name.rpartition(".")[2] for row in unit)
    lines = [f"{name}: {row.kind}" for name, row in zip(names, unit, strict=True)]
    for neuron in neurons:
        for one in neuron.constants:
            symbol = re.sub(r"^tau_([a-z]+)$", r"$\\tau_{\\mathrm{\1}}$", one.name)
            learned = ", learned" if one.name in neuron.info.learned else ""
            lines.append(f"{symbol} {f'{one.steps:.3g} steps' if one.ms is None else f'{one.ms:.3g} ms'}{learned}")
    if parameters := sum(row.parameters for row in unit):
        lines.append(f"{parameters:,} parameters")
    lines.append(f"→ {shape_text(unit[-1].shape)}" + (f", {times} times" if times > 1 else ""))
    recurrent = any(neuron.info.feedback for neuron in neurons)
    return Box(names, family, tuple(lines), recurrent, tuple(unit), times)


class DiagramLine(NamedTuple):
    """A line of a diagram as text: the layers with the lines that connect them, output shape, parameters."""

    text: str
    shape: str = ""
    parameters: int = 0


def text_diagram(summary: Summary) -> list[str]:
    """Return the diagram of a network as lines of text, from the input to the output.

    A square is a box of layers. A block is drawn to the right of its input: a line along its left side is a way around
    its layers, or past all of them.
    """
    chains = {chain.name: chain for chain in chains_of(summary)}
    drawn = list(_draw_chain(chains[""], chains, ""))
    width, shape_width = max(len(line.text) for line in drawn), max(len(line.shape) for line in drawn)
    size_width = max(len(f"{line.parameters:,}") for line in drawn)
    return [
        f"{line.text:{width}}  {line.shape:>{shape_width}}  "
        f"{f'{line.parameters:,}' if line.parameters else '':>{size_width}}".rstrip()
        for line in drawn
    ]


def _draw_chain(chain: Chain, chains: Mapping[str, Chain], rail: str) -> Iterator[DiagramLine]:
    for box in chain.boxes:
        if not box.rows:
            if box.layers:
                yield DiagramLine(f"{rail}○ {box.layers[0]}", box.lines[-1].removeprefix("→ "))
            continue
        (*_, last), times = box.rows, f", {box.times} times" if box.times > 1 else ""
        if last.family == "block":
            yield from _draw_block(chains[last.name], chains, rail, times)
            continue
        names = " · ".join(map(_layer_label, box.rows))
        size = box.times * sum(row.parameters for row in box.rows)
        yield DiagramLine(
            f"{rail}■ {names}{', recurrent' if box.recurrent else ''}{times}", shape_text(last.shape), size
        )


def _draw_block(chain: Chain, chains: Mapping[str, Chain], rail: str, times: str) -> Iterator[DiagramLine]:
    """Yield the lines of a block: its title, its layers, those beside them, and how the ways join."""
    joins = [box.lines[0] for box in chain.boxes if not box.layers and box.lines[0]]
    around = bool(chain.connections)
    inner = rail + ("│ " if around else "  ")
    title = chain.title.removeprefix(chain.name.rpartition(".")[0]).lstrip(".")
    yield DiagramLine(f"{rail}{'├─╮' if around else '╰─╮'} {title}{times}")
    yield from _draw_chain(chain, chains, inner)
    beside = {row.name.rpartition(".")[2]: row for row in chain.parallel}
    for _, _, name in chain.connections if not joins else ():  # the feedback of a loop
        yield DiagramLine(f"{rail}├─┤ back, a step later: {name.replace('_to_', ' to ')}")
        yield from _draw_beside(beside.pop(name, None), chains, inner)
    for name, row in beside.items():
        yield DiagramLine(f"{rail}├─┤ beside it: {name}")
        yield from _draw_beside(row, chains, inner)
    end = f"├─╯ {joins[0]}" if joins else "├─╯" if around else "╭─╯"
    yield DiagramLine(f"{rail}{end}")


def _draw_beside(row: LayerSummary | None, chains: Mapping[str, Chain], rail: str) -> Iterator[DiagramLine]:
    if row is not None and row.family == "block":
        yield from _draw_chain(chains[row.name], chains, rail)
    elif row is not None:
        yield DiagramLine(f"{rail}■ {_layer_label(row)}", shape_text(row.shape), row.parameters)


def _layer_label(row: LayerSummary) -> str:
    name = row.name.rpartition(".")[2]
    return name if name == row.kind else f"{name} {row.kind}"
