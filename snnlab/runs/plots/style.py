"""The style of all plots (size, colours, time axis), and rendering of a figure to pixels.

TensorBoard shows plots about 400 pixels wide, so text is large for the figure, and lines are few.
"""

from __future__ import annotations

import io
import math
import unicodedata
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager
from matplotlib.ticker import FixedLocator, LogLocator, NullLocator

# Okabe and Ito's colours, distinct with any colour blindness; of two lines one is dashed in addition.
BLUE, VERMILION, GREY, INK = "#0072B2", "#D55E00", "#999999", "#222222"
# Their colours for several series, in this order.
SERIES = (BLUE, VERMILION, "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
DASHED = (0, (4, 2))
WIDTH_INCHES, DPI = 4.8, 128
TEXT, SMALL = 10.0, 8.5
# Average width of a small letter.
LETTER_INCHES = 0.07
# Font families with characters that matplotlib's own lacks; the first installed ones are fallbacks.
_FALLBACKS = (
    *(f"Noto Sans CJK {language}" for language in ("SC", "TC", "JP", "KR", "HK")),
    *("Source Han Sans SC", "WenQuanYi Zen Hei", "WenQuanYi Micro Hei", "Droid Sans Fallback"),
    *("PingFang SC", "Hiragino Sans", "Apple SD Gothic Neo", "Microsoft YaHei", "Yu Gothic", "Malgun Gothic"),
    *("Arial Unicode MS", "Noto Sans", "Unifont"),
)
# A log axis over more than this factor has tick labels at powers of ten only.
_POWERS_FACTOR = 300.0


@contextmanager
def default_style() -> Iterator[None]:
    """Use matplotlib's default settings inside, independent of the user's matplotlibrc or notebook.

    Rendering belongs inside too, since many settings are read only then. Dollar signs are plain text: a class or a
    layer may be called `$a_1$`. A character without a font is drawn as a box, without a warning.
    """
    settings: dict[Any, Any] = {key: value for key, value in mpl.rcParamsDefault.items() if key != "backend"}
    settings |= {"text.parse_math": False, "font.family": [*mpl.rcParamsDefault["font.family"], *_fallbacks()]}
    with mpl.rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from font")
        yield


@cache
def _fallbacks() -> tuple[str, ...]:
    """Return the first two installed fallback families."""
    installed = {font.name for font in fontManager.ttflist}
    return tuple(name for name in _FALLBACKS if name in installed)[:2]


def left_margin(names: Sequence[str]) -> float:
    """Return the left margin for an axis title and tick labels, as a part of the width."""
    return min(0.12 + LETTER_INCHES * max(map(letters, names), default=0) / WIDTH_INCHES, 0.5)


def letters(text: str) -> int:
    """Return the width of a text in small letters; wide East Asian characters count as two."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


class NotebookFigure(Figure):
    """A figure that a notebook displays without pyplot."""

    def _repr_png_(self) -> bytes:
        content = io.BytesIO()
        with default_style():
            self.savefig(content, format="png", dpi=DPI)
        return content.getvalue()


def new_figure(
    rows: int = 1, columns: int = 1, *, height: float = 3.2, left: float = 0.17, share: bool = True, **layout: Any
) -> tuple[Figure, list[Axes]]:
    """Return a figure outside of pyplot, and its axes, row by row.

    Margins are set, not found by a layout engine, which would draw everything twice.

    Args:
        rows: Number of rows of axes.
        columns: Number of columns of axes.
        height: Height of the figure, inches.
        left: Margin for the tick labels, as a part of the width.
        share: Whether the axes of a column share their x axis, and those of a row their y axis.
        layout: Further arguments of matplotlib's GridSpec.
    """
    figure = NotebookFigure(figsize=(WIDTH_INCHES, height), dpi=DPI, facecolor="white")
    margins = {"left": left, "right": 0.97, "bottom": 0.5 / height, "top": 1 - 0.36 / height, "hspace": 0.16, **layout}
    shared: dict[str, Any] = {"sharex": "col", "sharey": "row"} if share else {}
    grid = figure.subplots(rows, columns, squeeze=False, gridspec_kw=margins, **shared)
    for ax in grid.flat:
        ax.tick_params(labelsize=SMALL)
        ax.locator_params(nbins=5)  # more are not readable, and ticks take most of the drawing time
        ax.spines[["top", "right"]].set_visible(False)
    return figure, list(grid.flat)


def figure_title(figure: Figure, text: str) -> None:
    """Write the title of the figure above all axes."""
    figure.suptitle(text, fontsize=TEXT, color=INK, x=0.02, y=1 - 0.06 / figure.get_figheight(), ha="left", va="top")


def title(ax: Axes, text: str) -> None:
    """Write a title above the axes."""
    ax.set_title(text, fontsize=TEXT, color=INK, loc="left")


def label(ax: Axes, x: str = "", y: str = "") -> None:
    """Set the labels of the axes, with units."""
    ax.set_xlabel(x, fontsize=TEXT)
    ax.set_ylabel(y, fontsize=TEXT)


def short_tick_numbers(ax: Axes) -> None:
    """Write the y axis' numbers as short as possible, so that small values fit into the margin."""
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}".replace("-", "\N{MINUS SIGN}"))


def log_axis(ax: Axes, values: Sequence[float]) -> None:
    """Make the x axis logarithmic, with tick labels that do not overlap.

    Args:
        values: The values on the axis, > 0.
    """
    ax.set_xscale("log")
    low, high = min(values), max(values)
    steps = (1.0,) if high > _POWERS_FACTOR * low else (1.0, 2.0, 5.0)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    round_ = [step * 10.0**power for power in powers for step in steps if low <= step * 10.0**power <= high]
    # A narrow range may contain no round number: then the ticks are its ends.
    ax.xaxis.set_major_locator(LogLocator(subs=steps) if len(round_) > 1 else FixedLocator([low, high]))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:.3g}")


def write_in_axes(ax: Axes, text: str) -> None:
    """Write a text into the middle of empty axes."""
    ax.text(0.5, 0.5, text, transform=ax.transAxes, fontsize=TEXT, color=INK, ha="center", va="center")


def legend(ax: Axes, **position: Any) -> None:
    """Add a legend of the labelled lines."""
    ax.legend(fontsize=SMALL, frameon=False, borderaxespad=0.2, handlelength=1.4, **position)


def step_times(num_steps: int, dt: float | None) -> np.ndarray:
    """Return the middle of each step, ms, or the steps' numbers if they have no length, `[T]`."""
    steps = np.arange(num_steps)
    return steps if dt is None else (steps + 0.5) * dt


def time_axis(ax: Axes, num_steps: int, dt: float | None) -> None:
    """Set the limits and the label of a time axis over all steps, in ms, or in steps if they have no length."""
    ax.set_xlim(*((-0.5, num_steps - 0.5) if dt is None else (0, num_steps * dt)))
    ax.set_xlabel("time (steps)" if dt is None else "time (ms)", fontsize=TEXT)


def render(figure: Figure) -> np.ndarray:
    """Return a figure's pixels, uint8 RGB `[H, W, 3]`."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
