"""Disturbances of events: their rates and places, and equal events for equal seed, repetition and recording."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from snnlab.data.event_disturbances import EVENT_DISTURBANCES
from snnlab.data.events import Events, Packed

SIZE, DURATION = (20, 10, 2), 400.0


def recording(number: int = 5000, seed: int = 0) -> Events:
    rng = np.random.default_rng(seed)
    return Events(
        np.sort(rng.integers(0, int(1000 * DURATION), number)),
        rng.integers(0, 20, number).astype(np.int16),
        rng.integers(0, 10, number).astype(np.int16),
        rng.integers(0, 2, number).astype(bool),
    )


def rows(events: Events) -> np.ndarray:
    assert events.y is not None
    return events.y


def disturbed(name: str, level: float, events: Events, seed: int = 0) -> Events:
    kind: Any = EVENT_DISTURBANCES.get(name, "")
    return kind(level, SIZE, DURATION).apply(events, np.random.default_rng(seed))


def test_a_part_of_the_events_is_lost():
    events = recording()
    kept = disturbed("events_lost", 0.3, events)
    assert kept.t.size == kept.x.size == rows(kept).size == kept.p.size
    assert kept.t.size / events.t.size == pytest.approx(0.7, abs=0.03)
    assert {*zip(kept.t, kept.x, strict=True)} <= {*zip(events.t, events.x, strict=True)}


def test_background_events_have_their_rate_over_the_whole_window_and_sensor():
    events = disturbed("events_added", 10.0, recording(1))
    added = events.t.size - 1
    assert added == pytest.approx(10.0 * 200 * 0.4, rel=0.15)  # Hz x pixels x s
    assert events.t.max() > 0.95 * 1000 * DURATION
    assert len({*zip(events.x, rows(events), strict=True)}) > 180


def test_hot_pixels_are_few_and_fire_at_a_hundred_hertz():
    events = disturbed("hot_pixels", 0.02, recording(0))
    pixels, counts = np.unique(events.x.astype(int) + 20 * rows(events).astype(int), return_counts=True)
    assert len(pixels) == 4  # 2 % of 200
    assert counts.mean() == pytest.approx(40, rel=0.3)


def test_a_clock_scales_the_times_of_a_recording():
    events = recording()
    drifted = disturbed("clock_drift", 0.1, events, seed=3)
    scale = np.exp(0.1 * np.random.default_rng(3).standard_normal())
    assert np.array_equal(drifted.t, np.floor(events.t * scale).astype(np.int64))
    assert abs(scale - 1) > 0.01


@pytest.mark.parametrize("name", list(EVENT_DISTURBANCES))
def test_events_depend_on_seed_repetition_and_recording_alone(name: str):
    kind: Any = EVENT_DISTURBANCES.get(name, "")
    parts = [recording(300, seed) for seed in range(2)]

    def packed(order: list[int]) -> Packed:
        t, x, y, p = (np.concatenate([np.asarray(parts[one][at]) for one in order]) for at in range(4))
        numbers = np.array(order)
        return Packed(t, x, y, p, np.arange(len(order) + 1) * 300, numbers, numbers)

    pipeline = kind(kind.levels[-1], SIZE, DURATION).pipeline
    both, alone = pipeline.augment(packed([0, 1]), 7, 2), pipeline.augment(packed([1]), 7, 2)
    assert np.array_equal(both.t[both.offsets[1] :], alone.t)
    assert np.all(np.diff(alone.t) >= 0)
    assert not np.array_equal(pipeline.augment(packed([1]), 7, 3).t, alone.t)
    assert not np.array_equal(pipeline.augment(packed([1]), 8, 2).t, alone.t)
