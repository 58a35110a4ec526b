"""The form of a run's network, which an export renders, and the recordings that it is compared on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from snnlab.errors import ConfigError
from snnlab.nn.fold_norm import fold_norm
from snnlab.nn.network_form import NetworkForm, network_form
from snnlab.runs.run_folder import CheckpointName
from snnlab.session.loading import load
from snnlab.session.opened_run import OpenedRun


class FormOptions(NamedTuple):
    """Options of an export of a network's form.

    Attributes:
        recordings: Number of test recordings that the export is compared on.
        dt: Length of a step, ms; None: that of the run.
        fold_norm: Whether batch normalizations are folded.
        force: Whether an earlier export is overwritten.
    """

    checkpoint: CheckpointName
    plugins: Sequence[str]
    recordings: int
    dt: float | None
    fold_norm: bool
    force: bool


def open_form(run: Path, options: FormOptions) -> tuple[OpenedRun, NetworkForm, list[int]]:
    """Return the opened run, its network's form, and the places of the first test recordings in the store."""
    step = [] if options.dt is None else ["data.num_bins=null", f"data.dt={options.dt:g}"]
    opened = load(run, options.checkpoint, options.plugins, step)
    network = fold_norm(opened.network) if options.fold_norm else opened.network
    form = network_form(network, opened.session.settings.frame_shape)
    places = opened.store_indices("test", slice(0, options.recordings))
    if not len(places):
        raise ConfigError("--recordings", "the run has no test recordings to compare on")
    return opened, form, [int(place) for place in places]
