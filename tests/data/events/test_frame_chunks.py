"""Frames made in pieces of time are bit for bit those of the whole."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from snnlab.data.events.frames import EventBatch
from snnlab.data.events.representation import REPRESENTATIONS, FrameBuilder, Region, Steps, frame_chunks

W, H, DURATION, STEPS = 6, 5, 1000, 7


def _recording(rows: bool = True) -> EventBatch:
    """Return a recording with events later than the window."""
    rng = np.random.default_rng(0)
    t, x, y, p = (rng.integers(0, top, 400) for top in (DURATION + 200, W, H, 2))
    columns = [np.sort(t), x.astype(np.int16), y.astype(np.int16), p.astype(bool), np.array([0, 400]), np.zeros(1, int)]
    t, x, y, p, offsets, index = (torch.from_numpy(column) for column in columns)
    return EventBatch(t, x, y if rows else None, p, offsets, index, index)


@pytest.mark.parametrize("size", [1, 3, STEPS, 20])
@pytest.mark.parametrize(
    ("kind", "settings", "steps", "region"),
    [
        ("counts", {}, {}, {}),
        ("counts", {"merge": True}, {}, {"crop": (1, 1, 4, 4), "downsample": 2}),
        ("counts", {}, {"overlap_us": 200}, {}),
        ("counts", {}, {"bin_by": "count", "events_per_bin": 30}, {}),
        ("binary", {}, {}, {"hot": torch.arange(W * H) % 4 == 0}),
        ("rate", {}, {}, {}),
        ("signed", {}, {}, {}),
        ("voxel_grid", {}, {}, {}),
        ("time_surface", {"tau": 0.1}, {}, {}),
        ("decaying_surface", {"tau": 0.1}, {}, {}),
    ],
)
def test_chunks_equal_the_whole(
    kind: str, settings: dict[str, Any], steps: dict[str, Any], region: dict[str, Any], size: int
) -> None:
    frame_builder = FrameBuilder(
        Region((W, H, 2), **region),
        Steps(DURATION, STEPS, **steps),
        REPRESENTATIONS.build(kind, settings, "representation"),
    )
    batch = _recording()
    chunks = list(frame_chunks(frame_builder, batch, size))
    assert [len(chunk) for chunk in chunks[:-1]] == [size] * (len(chunks) - 1)
    assert torch.cat(chunks).equal(frame_builder(batch).x)


def test_chunks_of_a_sensor_without_rows() -> None:
    frame_builder = FrameBuilder(
        Region((W, 1, 1)), Steps(DURATION, STEPS), REPRESENTATIONS.build("counts", {}, "frames")
    )
    batch = _recording(rows=False)
    assert torch.cat(list(frame_chunks(frame_builder, batch, 2))).equal(frame_builder(batch).x)
