"""Plots of a network's weights: kernels of convolutions as tiles, other weights as matrices.

Axes: O outputs, I inputs of a group, H, W rows and columns of a kernel.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np
from matplotlib.figure import Figure

from snnlab.runs.plots import style

# Tiles of a picture, and weights that are drawn, the first ones of each.
_MOST_TILES, _MOST_WEIGHTS = 256, 24
_TALLEST_INCHES = 6.0
# Width of a picture of kernels, in heights.
_ASPECT = 2


def draw_weights(weights: Mapping[str, np.ndarray]) -> Iterator[tuple[str, Figure]]:
    """Yield a figure for each weight of two or more axes, with its name; blue is negative, red positive, white 0."""
    matrices = {name: values for name, values in weights.items() if values.ndim > 1 and values.size}
    for name, values in list(matrices.items())[:_MOST_WEIGHTS]:
        yield name, _draw_kernels(name, values) if values.ndim == 4 else _draw_matrix(name, values)


def _draw_kernels(name: str, values: np.ndarray) -> Figure:
    """Draw the kernels of an output beside each other, and several outputs in a row if that fits; `[O, I, H, W]`."""
    outputs, inputs, height, width = values.shape
    shown = values[: max(1, _MOST_TILES // inputs), :_MOST_TILES]
    blocks, tiles = shown.shape[:2]
    block_width = tiles * (width + 1) + 1  # one pixel between kernels, two between outputs
    per_row = max(1, min(blocks, round(math.sqrt(_ASPECT * blocks * (height + 2) / block_width))))
    image = np.full((math.ceil(blocks / per_row) * (height + 2) - 2, per_row * block_width - 2), np.nan)
    for output, inner in np.ndindex(blocks, tiles):
        top, left = output // per_row * (height + 2), output % per_row * block_width + inner * (width + 1)
        image[top : top + height, left : left + width] = shown[output, inner]
    some = "" if blocks * tiles == outputs * inputs else f", {blocks * tiles:,} shown"
    return _draw_image(name, image, f"{outputs} x {inputs} kernels, {height} x {width}{some}", values, ("", ""))


def _draw_matrix(name: str, values: np.ndarray) -> Figure:
    """Draw a row for each output; `[O, ...]`."""
    matrix = values.reshape(len(values), -1)
    return _draw_image(name, matrix, " x ".join(map(str, values.shape)), values, ("input", "output"))


def _draw_image(name: str, image: np.ndarray, what: str, values: np.ndarray, axes: tuple[str, str]) -> Figure:
    largest = float(np.abs(values).max()) or 1.0
    inches = style.WIDTH_INCHES * 0.8 * image.shape[0] / image.shape[1]
    height = min(max(inches, 0.8), _TALLEST_INCHES) + 1.1
    figure, (ax,) = style.new_figure(height=height, left=0.12, top=1 - 0.6 / height, bottom=0.4 / height)
    aspect = "equal" if 0.8 <= inches <= _TALLEST_INCHES else "auto"
    ax.imshow(image, cmap="RdBu_r", vmin=-largest, vmax=largest, aspect=aspect, interpolation="nearest")
    ax.set_xticks([])
    ax.set_yticks([])
    style.label(ax, *axes)
    spread = f"mean {values.mean():.3g}, standard deviation {values.std():.3g}, full colour {largest:.3g}"
    style.title(ax, f"{name}: {what}\n{spread}")
    return figure
