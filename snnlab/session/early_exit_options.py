"""Answers before a recording's end: when they make sense, and what comes out of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from snnlab.config.schema import Experiment
from snnlab.data.data_settings import DataSettings
from snnlab.errors import ConfigError
from snnlab.runs.early_exit import Clock, Row
from snnlab.runs.tables import Table

if TYPE_CHECKING:
    from snnlab.data.data_module import EventDataModule  # which brings Lightning


class Anytime(NamedTuple):
    """What comes out of early answers, at each threshold and at the one that was chosen, if there is one.

    What was found for each recording is in `arrays`; `record` is what `result.json` holds.
    """

    rows: list[Row]
    clock: Clock
    arrays: Mapping[str, np.ndarray]
    record: dict[str, Any]
    chosen: Row | None = None


class Early(NamedTuple):
    """That recordings are answered before their end; for an accuracy validation recordings choose the threshold."""

    accuracy: float | None = None

    def check(self, experiment: Experiment, settings: DataSettings, data: EventDataModule) -> None:
        """Raise a ConfigError where there are no early answers, or nothing to choose a threshold with."""
        if why := no_early_answers(experiment, settings):
            raise ConfigError("evaluate", f"--anytime: {why}")
        if self.accuracy is not None and not data.split.val.size:
            raise ConfigError("evaluate", "--accuracy chooses on validation recordings, and there are none")


def no_early_answers(experiment: Experiment, settings: DataSettings) -> str | None:
    """Return why an experiment's network has no answer before a recording's end, or None where it has."""
    if settings.targets != "class":
        return f"is for one class a recording, and data.targets is {settings.targets}"
    if settings.bin_by == "count" and settings.events_per_bin is None:
        return "steps of data.bin_by: count divide all events of a recording: before its end there is none"
    if experiment.control == "counts_only":
        return "control: counts_only spreads all events over the steps: the first one knows what comes last"
    return None


def clock_of(settings: DataSettings) -> Clock:
    """Return what a step is in time, and how much later than at its end its frame is whole."""
    dt = settings.step_ms
    ahead = 0.0 if dt is None else dt * settings.framing().kind.look_ahead_steps
    return Clock(dt, settings.overlap_ms + ahead)


def told_early(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield what came out, in words."""
    spikes = [] if found["thresholds"][0]["spikes"] is None else ["mean spikes"]
    head = ["sure", "accuracy", f"mean {found['unit']}", "before its end", *spikes]
    yield "answered as soon as the network is so sure:"
    yield Table(head, list(map(_cells, found["thresholds"])), words=()).text()
    if "asked" not in found:
        return
    wanted = f"{found['asked']:.1%} of the validation recordings"
    if found["on_val"] is None:
        yield f"no threshold answers {wanted} right; a lower --accuracy may be reached"
        return
    yield f"the threshold that answers {wanted} right soonest, on those and on the test recordings:"
    both = [["validation", *_cells(found["on_val"])], ["test", *_cells(found["on_test"])]]
    yield Table(["recordings", *head[: len(both[0]) - 1]], both).text()


def _cells(row: Mapping[str, Any]) -> list[str]:
    threshold = "the end" if row["threshold"] is None else f"{row['threshold']:.4g}"
    spikes = [] if row["spikes"] is None else [f"{row['spikes']:,.0f}"]
    return [threshold, f"{row['accuracy']:.1%}", f"{row['latency']:.1f}", f"{row['early']:.1%}", *spikes]
