"""Where a training gets lists of events in place of frames: `session/build_trainer.py` decides it for speed."""

from __future__ import annotations

from pathlib import Path

import pytest

from snnlab import train
from snnlab.data.events.frames import Batch, EventBatch
from snnlab.data.events.representation import FrameBuilder
from snnlab.event_frames import EventFrames

from ..cli.conftest import digits_store

__all__ = ["digits_store"]  # the fixture

# Three steps of a small network.
FEW = [f"+trainer.limit_{part}_batches={number}" for part, number in (("train", 2), ("val", 1), ("test", 1))]
FEW += [
    "plots=null",
    "monitors=null",
    "test=false",
    "trainer.max_epochs=1",
    "trainer.accelerator=cpu",
    "data.num_bins=40",
]
SMALL = ("model.layers.conv1.out_channels=2", "model.layers.conv2.out_channels=2")


@pytest.mark.long
def test_lists_are_made_unless_steps_are_split(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, digits_store: str
) -> None:
    frame, kinds = FrameBuilder.__call__, []

    def recorded(frame_builder: FrameBuilder, batch: EventBatch, **options: bool) -> Batch:
        made = frame(frame_builder, batch, **options)
        kinds.append(type(made.frames))
        return made

    monkeypatch.setattr(FrameBuilder, "__call__", recorded)
    places = (digits_store, f"output_dir={tmp_path}")
    for given, has_lists in (((), True), (("tbptt_steps=8",), False), (("checkpoint_segments=2",), False)):
        kinds.clear()
        done = train("experiment=saccade_digits", *FEW, *SMALL, *places, *given)
        assert done.provenance["numerics"]["sparse_input"] is True
        assert (set(kinds) == {EventFrames}) == has_lists, given
        assert (EventFrames in kinds) == has_lists, given
