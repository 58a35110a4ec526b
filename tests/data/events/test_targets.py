"""Targets that are no classes: kept in the store, cut with the windows, laid over the steps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from snnlab.data.events import open_or_build
from snnlab.data.events.frames import EventBatch, step_labels
from snnlab.data.events.representation import REPRESENTATIONS, FrameBuilder, Region, Steps
from snnlab.errors import DataError
from snnlab.target_kinds import IGNORED, NO_END, gather_targets, kind_of

from ...refusals import assert_raises
from .toy_source import ToySource

VALUES = np.random.default_rng(0).normal(size=(37, 2)).astype(np.float32)
# Of recording 1 from 100 us on, of 4 twice with a gap, of 36 to its end.
SEGMENTS = np.array([[1, 100, 400, 2], [4, 0, 250, 1], [4, 500, NO_END, 0], [36, 0, NO_END, 3]])


def source(targets: np.ndarray) -> ToySource:
    made = ToySource()
    made.targets = targets
    return made


def labels(segments: np.ndarray, recordings: int, bins: int, duration_us: int) -> list[list[int]]:
    """Return the labels at the middles of the steps, one by one."""
    found = np.full((bins, recordings), IGNORED)
    for step in range(bins):
        for place, start, end, label in segments.tolist():
            if start <= (step + 0.5) * duration_us / bins < end:
                found[step, place] = label
    return found.tolist()


@pytest.mark.parametrize(("targets", "kind"), [(VALUES, "value"), (SEGMENTS, "steps")])
def test_they_are_kept_with_a_checksum_and_come_back_as_they_were(
    targets: np.ndarray, kind: str, tmp_path: Path
) -> None:
    store = open_or_build(source(targets), tmp_path)
    assert kind_of(store.targets) == kind
    assert store.targets.dtype == targets.dtype
    np.testing.assert_array_equal(store.targets, targets)
    changed = targets.copy()
    changed[0, -1] += 1
    other = open_or_build(source(changed), tmp_path)
    assert (other.path, other.fingerprint == store.fingerprint) == (store.path, False)


def test_a_store_of_classes_is_the_same_as_before_other_targets(tmp_path: Path) -> None:
    store = open_or_build(ToySource(), tmp_path)
    assert store.fingerprint == "cc152f258a3824ce8e15b2378d2c5a207b8dfa304562a1edbe6c73c27afb30cf"


@pytest.mark.parametrize(
    ("targets", "message_parts"),
    [
        (VALUES[:-1], ("toy", "finite")),
        (VALUES.astype(np.float64), ("toy", "finite")),
        (np.full((37, 1), np.nan, np.float32), ("toy", "finite")),
        (SEGMENTS[:, :3], ("toy", 4)),
        (SEGMENTS[::-1], ("toy", "out")),
        (np.array([[4, 0, 250, 1], [4, 249, 300, 0]]), ("toy", "overlap")),
        (np.array([[37, 0, 250, 1]]), ("toy", "outside", 36)),
    ],
)
def test_arrays_that_are_no_targets_are_refused(targets: np.ndarray, message_parts: tuple, tmp_path: Path) -> None:
    with assert_raises(DataError, *message_parts):
        open_or_build(source(targets), tmp_path)


def test_segments_go_with_their_recordings_in_any_order_and_more_than_once() -> None:
    found = gather_targets(SEGMENTS, np.array([4, 0, 1, 4]), None)
    assert found.tolist() == [
        [0, 0, 250, 1], [0, 500, NO_END, 0], [2, 100, 400, 2], [3, 0, 250, 1], [3, 500, NO_END, 0],
    ]  # fmt: skip
    assert gather_targets(SEGMENTS, np.zeros(0, np.int64), None).shape == (0, 4)
    cut = gather_targets(SEGMENTS, np.array([4, 4]), np.array([100, 600]))
    assert cut[:, :2].tolist() == [[0, -100], [0, 400], [1, -100]]  # the first is over at 600
    np.testing.assert_array_equal(gather_targets(VALUES, np.array([3, 3, 1]), None), VALUES[[3, 3, 1]])


def random_segments(rng: np.random.Generator, recordings: int) -> np.ndarray:
    """Return segments with gaps and without, some of one microsecond; the last one of a recording may have no end."""
    rows: list[list[int]] = []
    for recording in range(recordings):
        end = 0
        for _ in range(int(rng.integers(0, 30))):
            start = end + int(rng.integers(0, 3)) * int(rng.integers(0, 40))
            end = start + int(rng.integers(1, 80))
            rows.append([recording, start, end, int(rng.integers(0, 4))])
        if rows and rows[-1][0] == recording and rng.random() < 0.3:
            rows[-1][2] = NO_END
    return np.array(rows, np.int64).reshape(-1, 4)


@pytest.mark.parametrize("seed", range(10))
def test_windows_have_the_labels_of_their_steps_and_no_other_segments(seed: int) -> None:
    rng = np.random.default_rng(seed)
    targets, bins, duration_us = random_segments(rng, 6), int(rng.integers(1, 20)), int(rng.integers(1, 700))
    index, begins = rng.integers(0, 6, 9), rng.integers(0, 1500, 9)
    segments = gather_targets(targets, index, begins, duration_us)
    assert (segments[:, 1] < duration_us).all()
    assert (segments[:, 2] > 0).all()
    lengths = torch.from_numpy(rng.integers(0, bins + 1, 9))
    found = step_labels(torch.from_numpy(segments), lengths, bins, duration_us)
    expected = np.full((bins, 9), IGNORED)
    for place, (recording, begin) in enumerate(zip(index.tolist(), begins.tolist(), strict=True)):
        for step in range(int(lengths[place])):
            for _, start, end, label in targets[targets[:, 0] == recording].tolist():
                # Twice the bins times the moments: whole numbers, without rounding.
                middle = (2 * step + 1) * duration_us + 2 * bins * begin
                if 2 * bins * start <= middle < 2 * bins * end:
                    expected[step, place] = label
    assert found.tolist() == expected.tolist()


def test_windows_of_an_hour_hold_only_their_own_segments(tmp_path: Path) -> None:
    start = np.arange(108_000) * 33_333  # 30 labels a second
    hour = source(np.stack([np.zeros_like(start), start, start + 33_333, start % 5], 1))
    begins = np.arange(32) * 100_000_000
    packed = open_or_build(hour, tmp_path).gather(np.zeros(32, np.int64), begins, 500_000)
    assert 15 * 32 <= len(packed.targets) <= 17 * 32
    labels = step_labels(torch.from_numpy(packed.targets), torch.full((32,), 1000), 1000, 500_000)
    assert (labels != IGNORED).all()


def test_frames_carry_labels_of_steps_up_to_each_length(tmp_path: Path) -> None:
    store = open_or_build(source(SEGMENTS), tmp_path)
    packed = store.gather(np.array([4, 1]), np.array([100, 0]), 500)
    batch = EventBatch.from_packed(packed)
    for lengths in ("window", "recording"):
        frame_builder = FrameBuilder(
            Region((7, 5, 2)), Steps(500, 5), REPRESENTATIONS.build("counts", {}, "data"), lengths
        )
        done = frame_builder(batch)
        assert done.x.shape[:2] == done.targets.shape == (5, 2)
        expected = np.array(labels(packed.targets, 2, 5, 500))
        expected[np.arange(5)[:, None] >= done.lengths.numpy()] = IGNORED
        assert done.targets.tolist() == expected.tolist()
