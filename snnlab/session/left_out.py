"""The hot pixels that a run left out: written in its folder, or found again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from torch import Tensor

from snnlab.config.of_run import compose_run
from snnlab.data.hot_pixels import hot_pixels
from snnlab.data.settings import DataSettings
from snnlab.data.split_file import read_split
from snnlab.errors import DataError, SnnlabError
from snnlab.record.hot_pixels import read_hot_pixels
from snnlab.session import Session
from snnlab.session.opened_run import OpenedRun


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
