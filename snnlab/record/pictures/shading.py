"""Counts of ON and OFF events as an image in their colours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb

from snnlab.record.pictures.cells import Cells
from snnlab.record.pictures.style import BLUE, VERMILION

ON, OFF = VERMILION, BLUE

Aspect = Literal["auto", "equal"]


def full_colour(*counts: np.ndarray) -> int:
    """Return the count that is full colour: the 99th percentile of the cells with events.

    One hot pixel does not make the rest pale.
    """
    used = np.concatenate([each[each > 0] for each in counts])
    return max(1, round(float(np.percentile(used, 99)))) if used.size else 1


def shade(counts: Sequence[np.ndarray], colours: Sequence[str], full: int) -> np.ndarray:
    """Mix counts into colours as inks on white paper: where several are, it is dark.

        colour = prod_k (1 - min(counts_k / full, 1) * (1 - ink_k))

    Shape:
        counts: `[H, W]` each; returns float `[H, W, 3]` in 0..1.
    """
    image = np.ones((*counts[0].shape, 3))
    for each, ink in zip(counts, colours, strict=True):
        image *= 1.0 - np.minimum(each / full, 1.0)[..., None] * (1.0 - np.array(to_rgb(ink)))
    return image


def show(ax: Axes, image: np.ndarray, across: Cells, up: Cells, *, downwards: bool, aspect: Aspect = "auto") -> None:
    """Put an image into axes, row 0 at the top where `downwards`, and let them end where the sensor and window end."""
    extent = (across.start, across.end, up.start, up.end)
    ax.imshow(image, extent=extent, origin="lower", aspect=aspect, interpolation="nearest")
    ax.set_xlim(across.start, across.stop)
    ax.set_ylim(*((up.stop, up.start) if downwards else (up.start, up.stop)))
