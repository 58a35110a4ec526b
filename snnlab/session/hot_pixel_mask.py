"""hot_pixels.json: the pixels that a run left out, which only its training recordings tell."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from snnlab.config.recorded_run import compose_run
from snnlab.data.data_settings import DataSettings
from snnlab.data.events import SensorSize
from snnlab.data.hot_pixels import hot_pixels
from snnlab.data.splits import read_split
from snnlab.errors import DataError, RecordError, SnnlabError
from snnlab.files import write_json
from snnlab.session import Session
from snnlab.session.opened_run import OpenedRun

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


def left_out_pixels(run: OpenedRun, settings: DataSettings) -> Tensor | None:
    """Return the pixels that a run left out: those it wrote, or those found again in its training recordings.

    Shape:
        bool `[H * W]`.

    Raises:
        DataError: if it wrote none, and its recordings are not here, or not the same any more.
    """
    if settings.hot_pixels_hz is None:
        return None
    written = read_hot_pixels(run.folder, settings.size)
    return _found_again(run, settings) if written is None else written


def _found_again(run: OpenedRun, settings: DataSettings) -> Tensor:
    why = f"{run.folder}: left hot pixels out (data.hot_pixels_hz), which its training recordings tell"
    try:
        experiment = compose_run(run.folder, run.naming, use="data")
        kept = {"download": False} if "download" in experiment.data else {}
        experiment = replace(experiment, data={**experiment.data, **kept})
        store = Session(experiment).store
    except SnnlabError as error:
        raise DataError("", f"{why}, and these are not here: {error}") from error
    if store.fingerprint != run.recorded.provenance.get("data_fingerprint"):
        raise DataError("", f"{why}, and these are others now", "put them back, or train again")
    names = [str(place) for place in range(len(store))]
    return hot_pixels(store, read_split(run.folder / "split.json", names, np.zeros_like(store.split)).train, settings)
