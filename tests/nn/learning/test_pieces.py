"""Frames in pieces, and memory that does not grow with the steps."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from snnlab.data.events import Events
from snnlab.data.events.frames import EventBatch
from snnlab.data.events.representation import Binary, Counts, FrameBuilder, Region, Representation, Steps, VoxelGrid
from snnlab.event_frames import FramesInPieces

SCRIPT = Path(__file__).parents[3] / "scripts" / "bench_learning.py"


def recordings() -> EventBatch:
    rng, made = np.random.default_rng(0), []
    for number in (0, 300, 1200):
        t = rng.integers(-50, 1200, number)
        x, y = (rng.integers(0, 6, number).astype(np.int16) for _ in range(2))
        made.append(Events(t, x, y, rng.random(number) < 0.5))
    return EventBatch.of(made)


@pytest.mark.parametrize(
    ("representation", "steps"),
    [
        (Counts(), Steps(1000, 23)),
        (Binary(), Steps(1000, 23, "count")),
        (Counts(), Steps(1000, 23, overlap_us=60)),
        (VoxelGrid(), Steps(1000, 23)),
    ],
)
def test_frames_in_pieces_are_those_made_at_once(representation: Representation, steps: Steps) -> None:
    builder = FrameBuilder(Region((6, 6, 2)), steps, representation)
    whole, batch = builder(recordings()), builder(recordings(), in_pieces=True)
    assert isinstance(batch.frames, FramesInPieces)
    assert batch.frames.shape == whole.x.shape
    pieces = [*batch.frames.split(5)]
    assert [len(piece) for piece in pieces] == [5, 5, 5, 5, 3]
    assert torch.equal(torch.cat(pieces), whole.x)
    assert torch.equal(batch.x, whole.x)
    assert torch.equal(batch.lengths, whole.lengths)


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["sltt", "ottt", "eprop", "d_rtrl"])
def test_the_peak_of_a_training_step_does_not_grow_with_the_steps(rule: str) -> None:
    peaks = []
    for steps in ("100", "10000"):
        command = [sys.executable, str(SCRIPT), "--peak-of", rule, steps]
        peaks.append(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
    assert peaks[1] <= 1.1 * peaks[0]
