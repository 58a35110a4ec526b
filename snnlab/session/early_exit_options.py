"""Early exit: when it is possible, its options, its results."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from torch import nn

from snnlab.config.schema import Experiment
from snnlab.data.data_settings import DataSettings
from snnlab.errors import ConfigError
from snnlab.nn.layer import whole_recording_layer
from snnlab.runs.early_exit import StepTime, ThresholdResult, share_text
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

    def check(self, experiment: Experiment, settings: DataSettings, data: EventDataModule, network: nn.Module) -> None:
        """Raise a ConfigError if early exit is not possible, or there are no recordings to choose a threshold."""
        if why := early_exit_problem(experiment, settings, network):
            raise ConfigError("evaluate", f"--anytime: {why}")
        if self.accuracy is not None and not data.split.val.size:
            raise ConfigError("evaluate", "--accuracy needs validation recordings, and there are none")


def early_exit_problem(experiment: Experiment, settings: DataSettings, network: nn.Module | None = None) -> str | None:
    """Return why early exit is not possible for an experiment, with its network if there is one, or None if it is."""
    if settings.targets != "class":
        return f"needs one class per recording, and data.targets is {settings.targets}"
    if settings.bin_by == "count" and settings.events_per_bin is None:
        return "data.bin_by: count divides all events of a recording into steps: no step exists before its end"
    if settings.frame_builder().representation.look_ahead_steps == math.inf:
        return "data.representation gives each step the events of the whole window: the first depends on the last event"
    if experiment.control == "counts_only":
        return "control: counts_only spreads all events over the steps: the first step depends on the last event"
    if network is not None and (layer := whole_recording_layer(network)) is not None:
        return f"layer '{layer}' needs all steps of a recording: no answer exists before its end"
    return None


def step_time(settings: DataSettings) -> StepTime:
    """Return the length of a step, and the delay after its end until its frame is complete."""
    dt = settings.step_ms
    ahead = 0.0 if dt is None else dt * settings.frame_builder().representation.look_ahead_steps
    return StepTime(dt, settings.overlap_ms + ahead)


def early_exit_lines(found: Mapping[str, Any], *, imported: bool = False) -> Iterator[str]:
    """Yield the results as text; for an imported network how many answers are right, and no accuracy."""
    spikes = [] if found["thresholds"][0]["spikes"] is None else ["mean spikes"]
    of_test, of_val = (found.get(part) if imported else None for part in ("recordings", "val_recordings"))
    head = ["threshold", "right" if imported else "accuracy", f"mean {found['unit']}", "before its end", *spikes]
    yield "answered as soon as the probability reaches the threshold:"
    yield Table(head, [_row_texts(row, of_test) for row in found["thresholds"]], text_columns=()).text()
    if "asked" not in found:
        return
    share = f"{found['asked']:.1%} of the validation recordings"
    if found["on_val"] is None:
        yield f"no threshold answers {share} correctly; try a lower --accuracy"
        return
    yield f"the threshold that answers {share} correctly with the lowest latency, on validation and test recordings:"
    both = [["validation", *_row_texts(found["on_val"], of_val)], ["test", *_row_texts(found["on_test"], of_test)]]
    yield Table(["recordings", *head], [row + [""] * (len(head) + 1 - len(row)) for row in both]).text()


def _row_texts(row: Mapping[str, Any], right_of: int | None) -> list[str]:
    threshold = "the end" if row["threshold"] is None else f"{row['threshold']:.4g}"
    spikes = [] if row["spikes"] is None else [f"{row['spikes']:,.0f}"]
    return [threshold, share_text(row["accuracy"], right_of), f"{row['latency']:.1f}", f"{row['early']:.1%}", *spikes]
