"""Controls: the same training without the information of labels or times, which shows how much accuracy they give.

Axes: N events, R recordings, T steps.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

import numpy as np

from snnlab.data.events import Packed
from snnlab.data.events.representation import Counts, FrameBuilder, Steps, TimeAverage
from snnlab.data.splits import Split
from snnlab.errors import ConfigError
from snnlab.seeds import Stream, generator

Control = Literal["shuffled_labels", "permuted_test_labels", "shuffled_time", "counts_only"]
CONTROL_TEXTS: dict[Control, str] = {
    "shuffled_labels": "training and validation labels are shuffled, so the test accuracy should be at chance level",
    "permuted_test_labels": "test labels are shuffled, so the test accuracy should be at chance level; all else stays",
    "shuffled_time": "the times of a recording's events are permuted, so the relation of place and time is lost",
    "counts_only": "each step has the mean of all steps, so only the event count of each pixel is left",
}
"""A description of each control, as text."""


@dataclass(frozen=True)
class Ablation:
    """An ablation: the removal of information by one control, applied to batches of recordings.

        shuffled_labels       labels of training recordings are permuted, and so are those of validation recordings
        permuted_test_labels  labels of test recordings are permuted
        shuffled_time         the times in the window are permuted among a recording's events, in each epoch alike
        counts_only           x[t] = (sum over the window) / T in each step t

    Permuted times keep the event rate over time, which still carries information. `counts_only` removes it too. Its
    counts are spread evenly, as fractions, not at random times: random times would be noise that a network must first
    average, and would give a different input for each seed.

    Args:
        kind: The control.
        seed: The run's seed.
        duration_us: Length of the window (us).
        labels: The label of each recording, permuted or not; None: the store's labels.

    Shape:
        labels: int64 `[R]`.
    """

    kind: Control
    seed: int
    duration_us: int
    labels: np.ndarray | None = None

    @property
    def description(self) -> str:
        """A description of the control, as text."""
        return CONTROL_TEXTS[self.kind]

    def apply(self, packed: Packed) -> Packed:
        """Return recordings with permuted labels or times."""
        if self.labels is not None:
            return packed._replace(targets=self.labels[packed.index])
        return self._shuffle_times(packed) if self.kind == "shuffled_time" else packed

    def frame_builder(self, frame_builder: FrameBuilder) -> FrameBuilder:
        """Return the conversion of events to frames under the control."""
        if self.kind != "counts_only":
            return frame_builder
        if not isinstance(frame_builder.representation, Counts):
            raise ConfigError(
                "control",
                "counts_only spreads counts of events, and data.representation depends on their times",
                "set data.representation: counts",
            )
        # Steps by count and valid lengths would reveal the times of events.
        steps = Steps(frame_builder.steps.duration_us, frame_builder.steps.num_bins)
        return replace(
            frame_builder, steps=steps, representation=TimeAverage(frame_builder.representation), length_from="window"
        )

    def _shuffle_times(self, packed: Packed) -> Packed:
        """Permute the times of events in the window; t stays sorted, and events after the window do not change."""
        order = np.arange(packed.t.size)
        inside = np.flatnonzero((packed.t >= 0) & (packed.t < self.duration_us))
        bounds = np.searchsorted(inside, packed.offsets).tolist()
        for recording, (first, stop) in enumerate(pairwise(bounds)):
            window = () if packed.start is None else (int(packed.start[recording]),)
            rng = generator(self.seed, Stream.CONTROL, int(packed.index[recording]), *window)
            order[inside[first:stop]] = rng.permutation(inside[first:stop])
        y = None if packed.y is None else packed.y[order]
        return packed._replace(x=packed.x[order], y=y, p=packed.p[order])


def build_ablation(kind: Control, split: Split, targets: np.ndarray, seed: int, duration_us: int) -> Ablation:
    """Return the ablation of a control for a split.

    Args:
        kind: The control.
        split: The parts.
        targets: The class of each recording.
        seed: The run's seed.
        duration_us: Length of the window (us).

    Shape:
        targets: int64 `[R]`.
    """
    parts = {"shuffled_labels": (split.train, split.val), "permuted_test_labels": (split.test,)}.get(kind)
    if parts is None:
        return Ablation(kind, seed, duration_us)
    labels = targets.copy()
    for number, part in enumerate(parts):
        labels[part] = targets[generator(seed, Stream.CONTROL, number).permutation(part)]
    return Ablation(kind, seed, duration_us, labels)
