"""Controls: the same training with labels or times made worthless, which says what a figure owes to them.

Axes: N events, R recordings, T steps.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

import numpy as np

from snnlab.data.events import Packed
from snnlab.data.events.representation import Counts, Framing, Spread, Steps
from snnlab.data.splits import Split
from snnlab.errors import ConfigError
from snnlab.seeds import Stream, generator

Control = Literal["shuffled_labels", "permuted_test_labels", "shuffled_time", "counts_only"]
MEANING: dict[Control, str] = {
    "shuffled_labels": "training and validation labels are shuffled, so test accuracy should be chance",
    "permuted_test_labels": "test labels are shuffled, so test accuracy should be chance and all before it the same",
    "shuffled_time": "events of a recording have each other's times, so what happens together where is lost",
    "counts_only": "each step has the mean of all steps, so how many events each pixel has is all that is left",
}
"""What a control does, in words."""


@dataclass(frozen=True)
class Controlled:
    """One control, as it is done to batches of recordings.

        shuffled_labels       labels of training recordings are permuted among these, those of validation likewise
        permuted_test_labels  labels of test recordings are permuted among these
        shuffled_time         the times in the window are permuted among a recording's events, the same in each epoch
        counts_only           x[t] = (sum over the window) / T in each step t

    Permuted times keep how many events come when: their rise and fall is still there to be read. `counts_only` takes
    that too. Its counts are spread evenly, as fractions, and not at random times, since those would be noise that
    a network must first average away, and would make another input of a recording with each seed.

    Args:
        kind: Which.
        seed: The run's seed.
        duration_us: Length of the window (us).
        labels: The label of each recording, genuine or not; None: they are the store's.

    Shape:
        labels: int64 `[R]`.
    """

    kind: Control
    seed: int
    duration_us: int
    labels: np.ndarray | None = None

    @property
    def meaning(self) -> str:
        """What it does, in words."""
        return MEANING[self.kind]

    def packed(self, packed: Packed) -> Packed:
        """Return recordings with the labels or the times that the control gives them."""
        if self.labels is not None:
            return packed._replace(targets=self.labels[packed.index])
        return self._shuffled(packed) if self.kind == "shuffled_time" else packed

    def framing(self, framing: Framing) -> Framing:
        """Return how events become frames under the control.

        Raises:
            ConfigError: if there are no counts that could be spread.
        """
        if self.kind != "counts_only":
            return framing
        if not isinstance(framing.kind, Counts):
            raise ConfigError(
                "control",
                "counts_only spreads counts of events, and data.frames looks at their times",
                "set data.frames: counts",
            )
        # Not the steps by count nor the lengths, which tell when events were.
        steps = Steps(framing.steps.duration_us, framing.steps.num_bins)
        return replace(framing, steps=steps, kind=Spread(framing.kind), lengths="window")

    def _shuffled(self, packed: Packed) -> Packed:
        """Permute which event of the window has which time; t stays in order, and events after the window stay."""
        order = np.arange(packed.t.size)
        inside = np.flatnonzero((packed.t >= 0) & (packed.t < self.duration_us))
        bounds = np.searchsorted(inside, packed.offsets).tolist()
        for place, (first, stop) in enumerate(pairwise(bounds)):
            window = () if packed.start is None else (int(packed.start[place]),)
            rng = generator(self.seed, Stream.CONTROL, int(packed.index[place]), *window)
            order[inside[first:stop]] = rng.permutation(inside[first:stop])
        y = None if packed.y is None else packed.y[order]
        return packed._replace(x=packed.x[order], y=y, p=packed.p[order])


def controlled(kind: Control, split: Split, targets: np.ndarray, seed: int, duration_us: int) -> Controlled:
    """Return a control of a split.

    Args:
        kind: Which.
        split: The parts.
        targets: The class of each recording.
        seed: The run's seed.
        duration_us: Length of the window (us).

    Shape:
        targets: int64 `[R]`.
    """
    parts = {"shuffled_labels": (split.train, split.val), "permuted_test_labels": (split.test,)}.get(kind)
    if parts is None:
        return Controlled(kind, seed, duration_us)
    labels = targets.copy()
    for number, part in enumerate(parts):
        labels[part] = targets[generator(seed, Stream.CONTROL, number).permutation(part)]
    return Controlled(kind, seed, duration_us, labels)
