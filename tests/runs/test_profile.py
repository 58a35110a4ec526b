from __future__ import annotations

from typing import Any

from snnlab.runs.profile import as_text

from ..refusals import assert_text_has

RECORD: dict[str, Any] = {
    "device": "cpu",
    "steps": 20,
    "samples_per_step": 32.0,
    "step_ms": 101.0,
    "layers_ms": {"conv1": {"forward": 30.0, "backward": 20.0}, "lif1": {"forward": 25.0, "backward": 15.0}},
    "loss_and_metrics_ms": {"forward": 1.0, "backward": 1.0},
    "reading_ms": 2.0,
    "frames_ms": 3.0,
    "optimizer_ms": 2.0,
    "rest_ms": 1.0,
}


def test_the_table_has_a_row_per_part_and_their_sum() -> None:
    lines = as_text(RECORD).splitlines()
    assert_text_has(lines[0], "20 steps", "32 samples", "101.0 ms")
    rows = [line.split() for line in lines]
    assert ["conv1", "30.00", "20.00", "50.00", "50.0%"] in rows
    assert ["data:", "frames", "3.00", "3.0%"] in rows
    assert ["a", "step", "100.00"] in rows


def test_it_fits_80_columns_without_colours() -> None:
    text = as_text(RECORD)
    assert max(map(len, text.splitlines())) <= 80
    assert "\x1b" not in text
    assert "…" not in text
