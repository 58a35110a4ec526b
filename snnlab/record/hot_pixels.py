"""hot_pixels.json: the pixels that a run left out, which only its training recordings tell."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor

from snnlab.errors import RecordError
from snnlab.events import SensorSize
from snnlab.files import write_json

FILE = "hot_pixels.json"


def write_hot_pixels(folder: Path, hot: Tensor | None) -> None:
    """Write the numbers y * W + x of the hot pixels; nothing for a run that looks for none.

    Args:
        hot: Which pixels are hot, or None.

    Shape:
        hot: bool `[H * W]`.
    """
    if hot is not None:
        write_json(folder / FILE, {"pixels": hot.nonzero().flatten().tolist()})


def read_hot_pixels(folder: Path, sensor_size: SensorSize) -> Tensor | None:
    """Return which pixels a run left out, or None where it wrote none.

    Args:
        sensor_size: `[W, H, P]` (pixels, pixels, polarities).

    Shape:
        bool `[H * W]`.

    Raises:
        RecordError: if the file cannot be read.
    """
    path = folder / FILE
    width, height, _ = sensor_size
    hot = torch.zeros(width * height, dtype=torch.bool)
    try:
        hot[json.loads(path.read_text(encoding="utf-8"))["pixels"]] = True
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise RecordError(path, f"cannot be read ({error})") from error
    return hot
