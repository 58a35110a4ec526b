"""The pictures of the pages, drawn when the documentation is built: a network of the package, one recording in it.

    python scripts/pictures.py docs     # the copies that README.md shows on the web

A figure of a bench is not drawn here, because it takes an hour: scripts/bench_step.py writes it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import models_page
import numpy as np
from PIL import Image

import snnlab
from snnlab.runs.plots import network_figure
from snnlab.runs.plots.style import render

RUN, MODEL = "zoo:saccade_digits", "conv_lif"
FIGURES = ("events", "events_over_time", "raster/lif1", "readout", "membranes/lif1", "membranes/lif2")
COLUMNS = 3


def write(folder: Path) -> None:
    """Draw `run.png` and `network.png` into a folder."""
    run = snnlab.load(RUN)
    montage([render(run.figure(name)) for name in FIGURES]).save(folder / "run.png")
    network = models_page.card(MODEL).network
    assert not isinstance(network, str), network
    network_figure.draw(str(folder / "network.png"), MODEL, network.summary, network.steps_text)


def montage(pictures: list[np.ndarray]) -> Image.Image:
    """Return pictures `[H, W, 3]` side by side in rows, on white."""
    height, width = (max(picture.shape[axis] for picture in pictures) for axis in (0, 1))
    canvas = np.full((-(-len(pictures) // COLUMNS) * height, COLUMNS * width, 3), 255, np.uint8)
    for number, picture in enumerate(pictures):
        top, left = number // COLUMNS * height, number % COLUMNS * width
        canvas[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return Image.fromarray(canvas)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
