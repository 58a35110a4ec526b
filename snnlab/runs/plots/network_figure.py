"""Diagram of a network: boxes in reading order, with shortcuts and feedback as lines below; blocks are drawn below.

A box contains weights with their norm, neuron and pool; equal neighbours are one box. Units are inches, y down.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Patch
from matplotlib.transforms import Bbox

from snnlab.errors import ConfigError
from snnlab.nn.summary import LayerSummary, Summary, shape_text
from snnlab.runs.plots.style import default_style

_BOX_WIDTH, _LINE_HEIGHT, _GAP_X, _GAP_Y, _LANE_HEIGHT, _DOT_SIZE = 1.7, 0.2, 0.36, 0.5, 0.26, 0.3
_MARGIN, _TOP, _MAX_BOXES = 0.3, 0.75, 6
_INK, _FAINT = "#1c2733", "#46535f"
# Fill, edge and legend of each family, distinct with red-green blindness and in grey; a box has its first family.
_FAMILIES = {
    "input": ("#ffffff", "#5c6b7a", "input"),
    "spiking": ("#ffd9a8", "#d9730d", "spiking neurons"),
    "integrator": ("#ecd3ea", "#a1478f", "leaky integrator"),
    "block": ("#cfd3f2", "#4b4fa8", "block, drawn below"),
    "weights": ("#cfe4f7", "#2f78b7", "weights"),
    "pooling": ("#cdeee0", "#1f8f6a", "pooling"),
    "norm": ("#f8f0b5", "#a8920b", "normalization"),
    "other": ("#e6e9ec", "#87929d", "other"),
}
_JOINS = {"add": "+", "and": "×", "iand": "∧¬", "concat": "||"}


class Box(NamedTuple):
    """Consecutive layers in one box: their names, family and text; a box without layers is a dot."""

    layers: tuple[str, ...]
    family: str
    lines: tuple[str, ...]
    recurrent: bool = False


class Chain(NamedTuple):
    """Consecutive boxes, with further connections between them: source, target, name."""

    title: str
    boxes: list[Box]
    connections: list[tuple[int, int, str]]


def draw(path: str, name: str, summary: Summary, time: str) -> None:
    """Write the diagram of a network, with the text `time` about its steps, to a .png, .svg or .pdf file.

    Raises:
        ConfigError: if the file cannot be written.
    """
    with default_style():
        try:
            network_figure(name, f"{time} · {summary.parameters:,} parameters", chains_of(summary)).savefig(
                path, dpi=160
            )
        except OSError as error:
            raise ConfigError("--figure", f"{path} cannot be written ({error.strerror})") from error


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
            index_of = {name: index for index, box in enumerate(boxes) for name in box.layers}
            connections = [
                (index_of[source], index_of[target], f"{source}_to_{target}") for source, target in block.feedback
            ]
        elif sign := _JOINS.get(block.connection):
            boxes = [Box((), "input", ("",)), *boxes, Box((), "input", (sign,))]
            connections = [
                (0, len(boxes) - 1, name) for name in [row.name.rpartition(".")[2] for row in parallel] or [""]
            ]
        kind = ", ".join(filter(None, (block.kind, block.connection)))
        chains.append(Chain(f"{block.name}: {kind}" if block.name else "", boxes, connections))
    return chains


def network_figure(name: str, subtitle: str, chains: Sequence[Chain]) -> Figure:
    """Return the diagram of a network's chains, with its name and a text above."""
    families = [_FAMILIES[f] for f in _FAMILIES if any(box.family == f != "input" for c in chains for box in c.boxes)]
    bounds: list[list[Bbox]] = []
    top = _TOP
    for chain in chains:
        bounds.append(_box_positions(chain, top))
        top = bounds[-1][-1].y1 + _GAP_Y + _LANE_HEIGHT * len(chain.connections)
    texts = (0.13 * len(name), 0.08 * len(subtitle), *(0.09 * len(chain.title) for chain in chains))
    right = max(bound.x1 for of_chain in bounds for bound in of_chain) + _GAP_X - _MARGIN
    width, height = 2 * _MARGIN + max(right, 1.5 * len(families), *texts), top + _GAP_Y
    figure = Figure(figsize=(width, height), facecolor="white")
    FigureCanvasAgg(figure)  # needs no display
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.axis("off")
    axes.text(_MARGIN, 0.2, name, fontsize=12, weight="bold", color=_INK, va="center", parse_math=False)
    axes.text(_MARGIN, 0.43, subtitle, fontsize=9, color=_FAINT, va="center")
    for chain, of_chain in zip(chains, bounds, strict=True):
        _draw_chain(axes, chain, of_chain)
    keys = [Patch(facecolor=fill, edgecolor=edge, label=text) for fill, edge, text in families]
    axes.legend(handles=keys, loc="lower left", ncols=max(len(keys), 1), frameon=False, fontsize=8.5, labelcolor=_FAINT)
    return figure


def _box_layers(rows: Sequence[LayerSummary], *, folded: bool) -> list[list[LayerSummary]]:
    """Return the layers of each box; `folded` joins layers without weights to the weights before them."""
    units: list[list[LayerSummary]] = []
    for row in rows:
        if not folded or row.family in ("weights", "block") or not units or units[-1][0].family != "weights":
            units.append([])
        units[-1].append(row)
    return units


def _box(unit: Sequence[LayerSummary], times: int, summary: Summary) -> Box:
    family = next(family for family in _FAMILIES if any(row.family == family for row in unit))
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
    return Box(names, family, tuple(lines), recurrent)


def _box_positions(chain: Chain, top: float) -> list[Bbox]:
    """Return the positions of a chain's boxes: in rows, or in one row if it has further connections."""
    found: list[Bbox] = []
    most = len(chain.boxes) if chain.connections else _MAX_BOXES
    top += _LANE_HEIGHT if chain.title else 0.0
    for row in (chain.boxes[at : at + most] for at in range(0, len(chain.boxes), most)):
        x, height = _MARGIN, 0.16 + _LINE_HEIGHT * max(len(box.lines) for box in row)
        for box in row:
            found.append(Bbox.from_bounds(x, top, _BOX_WIDTH if box.layers else _DOT_SIZE, height))
            x = found[-1].x1 + _GAP_X
        top += height + _GAP_Y
    return found


def _draw_chain(axes: Axes, chain: Chain, bounds: Sequence[Bbox]) -> None:
    if chain.title:
        title = {"fontsize": 10, "weight": "bold", "color": _INK, "va": "center", "parse_math": False}
        axes.text(_MARGIN, bounds[0].y0 - _LANE_HEIGHT, chain.title, **title)
    for box, bound in zip(chain.boxes, bounds, strict=True):
        _draw_box(axes, box, bound)
    middles = [(bound.x0 + bound.x1) / 2 for bound in bounds]
    for number, (one, other) in enumerate(pairwise(bounds)):
        x0, x1, y = *middles[number : number + 2], (one.y0 + one.y1) / 2
        if one.y0 == other.y0:
            _arrow(axes, [(one.x1, y), (other.x0, y)], "follows")
        else:
            gap = other.y0 - _GAP_Y / 2
            _arrow(axes, [(x0, one.y1), (x0, gap), (x1, gap), (x1, other.y0)], "follows")
    for lane, (source, target, name) in enumerate(chain.connections, 1):
        low, shift = bounds[-1].y1, 0.12 if source == target else 0.0
        x0, x1, y = middles[source] + shift, middles[target] - shift, low + lane * _LANE_HEIGHT
        _arrow(axes, [(x0, low), (x0, y), (x1, y), (x1, low)], "back" if target <= source else "around")
        parallel = {"fontsize": 8.5, "color": _FAINT, "ha": "center", "va": "center", "backgroundcolor": "white"}
        axes.text((x0 + x1) / 2, y, name, **parallel)


def _draw_box(axes: Axes, box: Box, bound: Bbox) -> None:
    fill, edge, _ = _FAMILIES[box.family]
    style = f"round,pad=0,rounding_size={0.09 if box.layers else _DOT_SIZE / 2.1}"
    axes.add_patch(FancyBboxPatch(bound.p0, bound.width, bound.height, style, fc=fill, ec=edge, linewidth=1.6))
    for number, line in enumerate(box.lines):
        x, y = (bound.x0 + bound.x1) / 2, (bound.y0 + bound.y1) / 2 + (number - (len(box.lines) - 1) / 2) * _LINE_HEIGHT
        # A letter is about 0.6 of the font size wide; a formula is shorter than its source.
        size = min(10.0, (bound.width - 0.1) * 72 / (0.58 * max(len(re.sub(r"\$.*?\$", "tau", line)), 1)))
        colour = _INK if number < max(len(box.layers), 1) else _FAINT
        axes.text(x, y, line, fontsize=size, color=colour, ha="center", va="center", parse_math="$" in line)
    if box.recurrent:
        x, y = bound.x1, bound.y0
        _arrow(axes, [(x - 0.15, y), (x - 0.15, y - 0.14), (x - 0.5, y - 0.14), (x - 0.5, y)], "recurrent")


def _arrow(axes: Axes, points: Sequence[tuple[float, float]], kind: str) -> None:
    """Draw an arrow through points; feedback is dashed."""
    line = "--" if kind in ("back", "recurrent") else "-"
    x, y = zip(*points[:-1], strict=True)
    axes.plot(x, y, color=_FAINT, linewidth=1.4, linestyle=line)
    head = {"arrowstyle": "-|>,head_width=0.22,head_length=0.42", "color": _FAINT, "linewidth": 1.4, "linestyle": line}
    axes.annotate("", points[-1], points[-2], arrowprops={**head, "shrinkA": 0, "shrinkB": 0}).set_gid(kind)
