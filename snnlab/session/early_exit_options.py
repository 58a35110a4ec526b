"""Early exit: when it is possible, its options, its results."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from snnlab.config.schema import Experiment
from snnlab.data.data_settings import DataSettings
from snnlab.errors import ConfigError
from snnlab.runs.early_exit import StepTime, ThresholdResult
from snnlab.runs.tables import Table

if TYPE_CHECKING:
    from snnlab.data.data_module import EventDataModule  # imports Lightning


class EarlyExitResult(NamedTuple):
    """The results of early exit, at each threshold and at the chosen one.

    Attributes:
        arrays: The results of each recording.
        record: The content for `result.json`.
        chosen: The results at the chosen threshold; None without one.
    """

    rows: list[ThresholdResult]
    times: StepTime
    arrays: Mapping[str, np.ndarray]
    record: dict[str, Any]
    chosen: ThresholdResult | None = None


class EarlyExitOptions(NamedTuple):
    """Evaluate early exit; validation recordings choose the threshold that reaches `accuracy`, if it is set."""

    accuracy: float | None = None

    def check(self, experiment: Experiment, settings: DataSettings, data: EventDataModule) -> None:
        """Raise a ConfigError if early exit is not possible, or there are no recordings to choose a threshold."""
        if why := early_exit_problem(experiment, settings):
            raise ConfigError("evaluate", f"--anytime: {why}")
        if self.accuracy is not None and not data.split.val.size:
            raise ConfigError("evaluate", "--accuracy needs validation recordings, and there are none")


def early_exit_problem(experiment: Experiment, settings: DataSettings) -> str | None:
    """Return why early exit is not possible for an experiment, or None if it is."""
    if settings.targets != "class":
        return f"needs one class per recording, and data.targets is {settings.targets}"
    if settings.bin_by == "count" and settings.events_per_bin is None:
        return "data.bin_by: count divides all events of a recording into steps: no step exists before its end"
    if experiment.control == "counts_only":
        return "control: counts_only spreads all events over the steps: the first step depends on the last event"
    return None


def step_time(settings: DataSettings) -> StepTime:
    """Return the length of a step, and the delay after its end until its frame is complete."""
    dt = settings.step_ms
    ahead = 0.0 if dt is None else dt * settings.frame_builder().representation.look_ahead_steps
    return StepTime(dt, settings.overlap_ms + ahead)


def early_exit_lines(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield the results as text."""
    spikes = [] if found["thresholds"][0]["spikes"] is None else ["mean spikes"]
    head = ["threshold", "accuracy", f"mean {found['unit']}", "before its end", *spikes]
    yield "answered as soon as the probability reaches the threshold:"
    yield Table(head, list(map(_row_texts, found["thresholds"])), text_columns=()).text()
    if "asked" not in found:
        return
    share = f"{found['asked']:.1%} of the validation recordings"
    if found["on_val"] is None:
        yield f"no threshold answers {share} correctly; try a lower --accuracy"
        return
    yield f"the threshold that answers {share} correctly with the lowest latency, on validation and test recordings:"
    both = [["validation", *_row_texts(found["on_val"])], ["test", *_row_texts(found["on_test"])]]
    yield Table(["recordings", *head[: len(both[0]) - 1]], both).text()


def _row_texts(row: Mapping[str, Any]) -> list[str]:
    threshold = "the end" if row["threshold"] is None else f"{row['threshold']:.4g}"
    spikes = [] if row["spikes"] is None else [f"{row['spikes']:,.0f}"]
    return [threshold, f"{row['accuracy']:.1%}", f"{row['latency']:.1f}", f"{row['early']:.1%}", *spikes]
