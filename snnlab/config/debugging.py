"""What the modes of `debug=...` add to a training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from snnlab.config.schema import Experiment

if TYPE_CHECKING:
    import lightning as L


def mode_callbacks(experiment: Experiment, folder: Path) -> list[L.Callback]:
    """Return the callbacks that the experiment's mode needs; none for a plain training."""
    if experiment.mode == "overfit":
        from snnlab.training.callbacks.overfit import OverfitVerdict

        return [OverfitVerdict()]
    if experiment.mode == "profile":
        from snnlab.record.profile import ProfileReport
        from snnlab.training.callbacks.layer_times import LayerTimes

        times = LayerTimes()
        return [times, ProfileReport(folder, times)]
    return []
