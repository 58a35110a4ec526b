"""Diagram of a network as a figure: boxes in reading order, shortcuts and feedback as lines below; blocks below.

Units are inches, y down.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Patch
from matplotlib.transforms import Bbox

from snnlab.errors import ConfigError
from snnlab.nn.summary import Summary
from snnlab.runs.diagram import Box, Chain, chains_of
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


def draw(path: str, name: str, summary: Summary, time: str) -> None:
    """Write the diagram of a network, with the text `time` about its steps, to a .png, .svg or .pdf file.

    Text in an SVG stays text, so that the file is small; equal networks give equal SVGs.
    """
    metadata = {"Date": None} if path.lower().endswith(".svg") else None
    with default_style(), mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure = network_figure(name, f"{time} · {summary.parameters:,} parameters", chains_of(summary))
        try:
            figure.savefig(path, dpi=160, metadata=metadata)
        except OSError as error:
            raise ConfigError("--figure", f"{path} cannot be written ({error.strerror})") from error


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
