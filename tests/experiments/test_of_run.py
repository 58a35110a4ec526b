"""The page of a run, from the content of its folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from snnlab.runs.early_exit import StepTime
from snnlab.runs.recorded import read_run
from snnlab.runs.report_pages import RunWeights, TimeAxis, run_page

from ..refusals import assert_text_has
from .making import make_run


def page(folder: Path, config: dict[str, Any] | None = None) -> str:
    return run_page(
        read_run(folder),
        config or {},
        {},
        list("abcd"),
        TimeAxis(StepTime(40.0), "not asked"),
        RunWeights({}, "no file"),
    ).html()


@pytest.mark.parametrize(
    "command", ["snnlab train --config-dir mine model=x", ["snnlab", "train", "--config-dir", "mine", "model=x"]]
)
def test_it_says_again_what_was_typed_with_the_folder_of_files(tmp_path: Path, command: Any):
    run = make_run(tmp_path / "x" / "1_0", provenance={"command": command})
    again = page(run).partition("<h2>Commands</h2>")[2]
    assert_text_has(again, "snnlab train --config-dir mine model=x", "snnlab reproduce")


def test_a_run_of_a_grid_is_called_by_what_it_is(tmp_path: Path):
    run = make_run(
        tmp_path / "conv_lif_nmnist" / "2026-11-27_06-08-12_sweep" / "0_1", 1, more={"name": "conv_lif_nmnist"}
    )
    assert "<h1>conv_lif_nmnist, seed 1</h1>" in page(run)


def test_a_run_on_a_part_of_the_recordings_says_so(tmp_path: Path):
    text = page(make_run(tmp_path / "x" / "1_0"), {"trainer": {"limit_test_batches": 4}})
    assert_text_has(text, "completed, limited")
    assert "trainer.limit_test_batches=4" in text
