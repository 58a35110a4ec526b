"""A network as a picture: a box for each layer, in reading order, coloured by family; below it each block's own.

Units are inches; y grows downwards.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from snnlab.errors import ConfigError, listing
from snnlab.nn.neurons.time_constants import Constant
from snnlab.nn.summary import LayerRow, Summary, shape_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = (".png", ".svg", ".pdf")
DPI = 160
WIDTH, HEIGHT = 1.55, 1.02  # of a box
ACROSS, DOWN = 0.34, 0.42  # between boxes
MARGIN, HEAD, FOOT = 0.25, 0.62, 0.42
TITLE = 0.3  # over the boxes of a block
MOST_ACROSS = 6
INK, FAINT = "#1c2733", "#46535f"

# Fill and edge of each family, told apart by those who do not see red and green too, and in grey.
FAMILIES = {
    "input": ("#ffffff", "#5c6b7a", "input"),
    "weights": ("#cfe4f7", "#2f78b7", "weights"),
    "spiking": ("#ffd9a8", "#d9730d", "spiking neurons"),
    "integrator": ("#ecd3ea", "#a1478f", "leaky integrator"),
    "pooling": ("#cdeee0", "#1f8f6a", "pooling"),
    "block": ("#cfd3f2", "#4b4fa8", "block, drawn below"),
    "norm": ("#f8f0b5", "#a8920b", "normalisation"),
    "other": ("#e6e9ec", "#87929d", "other"),
}


class _Box(NamedTuple):
    name: str
    family: str
    lines: tuple[str, ...]
    follows: bool = True


class _Chain(NamedTuple):
    """Boxes one after the other, and what stands over them; nothing over the network's own."""

    title: str
    boxes: list[_Box]


def check_target(path: str, formats: Sequence[str] = FORMATS) -> None:
    """Raise a ConfigError if a picture cannot be written there, before anything is computed."""
    target = Path(path)
    if target.suffix.lower() not in formats:
        raise ConfigError(f"--figure: {path} should end with {listing(formats)}")
    if not target.absolute().parent.is_dir():
        raise ConfigError(f"--figure: there is no folder {target.parent}")
    if target.is_dir():
        raise ConfigError(f"--figure: {path} is a folder")


def draw(path: str, name: str, summary: Summary, time: str) -> None:
    """Write the picture of a network.

    Args:
        path: The file; its end says which format.
        name: What the experiment is called.
        summary: The network.
        time: Its steps, in words.

    Raises:
        ConfigError: if the file cannot be written.
    """
    from snnlab.record.pictures.style import default_style

    with default_style():
        figure = _figure(name, summary, time)
        try:
            figure.savefig(path, dpi=DPI)
        except OSError as error:
            raise ConfigError(f"--figure: {path} cannot be written: {error.strerror}") from error


def _figure(name: str, summary: Summary, time: str) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    chains = _chains(summary)
    boxes = [box for chain in chains for box in chain.boxes]
    families = [family for family in FAMILIES if any(box.family == family for box in boxes)]
    words = f"{time} · {summary.parameters:,} parameters"
    columns = max(_columns(len(chain.boxes)) for chain in chains)
    texts = (0.13 * len(name), 0.08 * len(words), *(0.09 * len(chain.title) for chain in chains))
    across = max(columns * (WIDTH + ACROSS) - ACROSS, _legend_width(families), *texts)
    wide, high = 2 * MARGIN + across, HEAD + sum(map(_height, chains)) - DOWN + FOOT
    figure = Figure(figsize=(wide, high), facecolor="white")
    FigureCanvasAgg(figure)  # needs no display
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, wide), ylim=(high, 0))
    axes.axis("off")
    _head(axes, name, words)
    top = HEAD
    for chain in chains:
        _draw_chain(axes, chain, top)
        top += _height(chain)
    _legend(axes, families, high)
    return figure


def _chains(summary: Summary) -> list[_Chain]:
    """Return the network's layers, then those of each block, outer ones first."""
    rows: dict[str, list[LayerRow]] = {"": []}
    for row in summary.layers:
        rows.setdefault(row.name.rpartition(".")[0], []).append(row)
    constants = {row.name: row.constants for row in summary.neurons}
    kinds = {row.name: f"{row.kind}, {row.connection}" if row.connection else row.kind for row in summary.layers}
    chains = []
    for block in sorted(rows, key=lambda name: name.count(".") + bool(name)):
        of_block = [_box(row, constants.get(row.name, [])) for row in rows[block]]
        frames = _Box("input", "input", ("frames", shape_text(summary.in_shape), ""))
        chains.append(_Chain(f"{block}: {kinds[block]}", of_block) if block else _Chain("", [frames, *of_block]))
    return chains


def _box(row: LayerRow, constants: list[Constant]) -> _Box:
    note = ", ".join(map(_constant, constants))
    if row.parameters and not note:
        note = f"{row.parameters:,} parameters"
    return _Box(row.name.rpartition(".")[2], row.family, (row.kind, shape_text(row.shape), note), row.follows)


def _height(chain: _Chain) -> float:
    rows = -(-len(chain.boxes) // _columns(len(chain.boxes)))
    return (TITLE if chain.title else 0) + rows * (HEIGHT + DOWN)


def _draw_chain(axes: Axes, chain: _Chain, top: float) -> None:
    if chain.title:
        axes.text(MARGIN, top + 0.06, chain.title, fontsize=10, weight="bold", color=INK, va="center", parse_math=False)
        top += TITLE
    columns = _columns(len(chain.boxes))
    corners = [_corner(number, columns, top) for number in range(len(chain.boxes))]
    for (before, after), box in zip(pairwise(corners), chain.boxes[1:], strict=True):
        if box.follows:
            _arrow(axes, before, after)
    for box, corner in zip(chain.boxes, corners, strict=True):
        _draw_box(axes, box, corner)


def _constant(constant: Constant) -> str:
    name = re.sub(r"^tau_([a-z]+)$", r"$\\tau_{\\mathrm{\1}}$", constant.name)
    return f"{name} {constant.steps:.3g} steps" if constant.ms is None else f"{name} {constant.ms:.3g} ms"


def _columns(count: int) -> int:
    """Return how many boxes stand in a row, so that the last row has few gaps."""
    return count if count <= MOST_ACROSS else min((5, 6, 4), key=lambda columns: -count % columns)


def _corner(number: int, columns: int, top: float) -> tuple[float, float]:
    row, column = divmod(number, columns)
    return MARGIN + column * (WIDTH + ACROSS), top + row * (HEIGHT + DOWN)


def _head(axes: Axes, name: str, words: str) -> None:
    axes.text(MARGIN, 0.2, name, fontsize=12, weight="bold", color=INK, va="center", parse_math=False)
    axes.text(MARGIN, 0.42, words, fontsize=9, color=FAINT, va="center")


def _draw_box(axes: Axes, box: _Box, corner: tuple[float, float]) -> None:
    from matplotlib.patches import FancyBboxPatch

    x, y = corner
    fill, edge, _ = FAMILIES[box.family]
    shape = FancyBboxPatch(
        corner, WIDTH, HEIGHT, boxstyle="round,pad=0,rounding_size=0.09", facecolor=fill, edgecolor=edge, linewidth=1.6
    )
    axes.add_patch(shape)
    kind, size, note = box.lines
    middle = x + WIDTH / 2
    _write(axes, middle, y + 0.19, box.name, 11.5, weight="bold")
    _write(axes, middle, y + 0.41, kind, 9.5)
    _write(axes, middle, y + 0.63, size, 10)
    _write(axes, middle, y + 0.84, note, 8.5, color=FAINT)


def _write(axes: Axes, x: float, y: float, text: str, size: float, color: str = INK, weight: str = "normal") -> None:
    fitting = size if "$" in text else _fitting(text, size)  # a formula is wider in letters than on paper
    axes.text(x, y, text, fontsize=fitting, weight=weight, color=color, ha="center", va="center")


def _fitting(text: str, size: float) -> float:
    """Return the font size at which a text fits its box; a letter is about 0.6 of the size wide."""
    return min(size, (WIDTH - 0.12) * 72 / (0.62 * max(len(text), 1)))


def _arrow(axes: Axes, before: tuple[float, float], after: tuple[float, float]) -> None:
    """Draw the way from one box to the next; to the next row it goes through the gap between the rows."""
    (x0, y0), (x1, y1) = before, after
    head = {"arrowstyle": "-|>,head_width=0.22,head_length=0.42", "color": FAINT, "linewidth": 1.4}
    head |= {"shrinkA": 0, "shrinkB": 0, "joinstyle": "miter", "capstyle": "butt"}
    if y0 == y1:
        middle = y0 + HEIGHT / 2
        axes.annotate("", (x1 - 0.03, middle), (x0 + WIDTH + 0.03, middle), arrowprops=head)
        return
    gap = y0 + HEIGHT + DOWN / 2
    start, end = x0 + WIDTH / 2, x1 + WIDTH / 2
    axes.plot([start, start, end], [y0 + HEIGHT + 0.03, gap, gap], color=FAINT, linewidth=1.4)
    axes.annotate("", (end, y1 - 0.03), (end, gap), arrowprops=head)


def _legend(axes: Axes, families: list[str], high: float) -> None:
    from matplotlib.patches import Rectangle

    x = MARGIN
    for family in families[1:]:  # the input says itself what it is
        fill, edge, words = FAMILIES[family]
        axes.add_patch(Rectangle((x, high - 0.27), 0.14, 0.14, facecolor=fill, edgecolor=edge, linewidth=1.2))
        axes.text(x + 0.2, high - 0.2, words, fontsize=8.5, color=FAINT, va="center")
        x += _key_width(words)


def _key_width(words: str) -> float:
    return 0.5 + 0.059 * len(words)


def _legend_width(families: list[str]) -> float:
    return sum(_key_width(FAMILIES[family][2]) for family in families[1:])
