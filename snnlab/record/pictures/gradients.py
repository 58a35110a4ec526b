"""How much of the loss's gradient reaches each layer, and each moment.

Axes: T steps.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from snnlab.record.pictures.style import SMALL, headline, new_figure, say, time_axis

# Orders of magnitude below the largest norm that are told apart; what is less is drawn as nothing.
DECADES = 6


def draw_gradients(norms: Mapping[str, Sequence[float]], dt: float | None) -> Figure:
    """Draw the norm of the gradient at each layer's input over time, the loss's end at the top, on one colour scale.

    Args:
        norms: At each step, by layer, in the order of computation.
        dt: Length of a step, ms, or None.

    Shape:
        norms: `[T]` each, of the same T.
    """
    names = list(norms)
    image = np.array([norms[name] for name in names])
    longest = max(map(len, names))
    figure, (ax,) = new_figure(height=1.3 + 0.3 * len(names), left=min(0.05 + 0.018 * longest, 0.45), right=0.83)
    largest = float(image.max(initial=0.0, where=np.isfinite(image)))
    if largest > 0:
        scale = np.log10(np.maximum(image / largest, 10.0**-DECADES))
        lowest = min(math.floor(scale.min(initial=0.0, where=np.isfinite(scale))), -1)
        end = image.shape[1] - 0.5 if dt is None else image.shape[1] * dt
        extent = (-0.5 if dt is None else 0.0, end, -0.5, len(names) - 0.5)
        drawn = ax.imshow(scale, "magma", aspect="auto", vmin=lowest, vmax=0, origin="lower", extent=extent)
        _say_colours(figure, ax, drawn, largest, lowest)
    else:
        say(ax, "no gradient reaches any layer")
    ax.set_ylim(-0.5, len(names) - 0.5)
    ax.set_yticks(range(len(names)), names)
    time_axis(ax, image.shape[1], dt)
    headline(figure, "gradient of the loss at the layers' inputs: norm")
    return figure


def _say_colours(figure: Figure, ax: Axes, drawn: AxesImage, largest: float, lowest: int) -> None:
    box = ax.get_position()
    beside = figure.add_axes((box.x1 + 0.02, box.y0, 0.025, box.height))
    ticks = range(lowest, 1, 2 if lowest < -3 else 1)
    bar = figure.colorbar(drawn, cax=beside, ticks=ticks)
    bar.ax.set_yticklabels([_short(largest * 10.0**tick) for tick in ticks], fontsize=SMALL)
    bar.ax.tick_params(length=2)


def _short(value: float) -> str:
    digits, _, exponent = f"{value:.0e}".partition("e")
    return f"{digits}e{int(exponent)}".replace("-", "\N{MINUS SIGN}")
