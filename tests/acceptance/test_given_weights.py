"""A row of a suite with weights from a file, as docs/benchmarks.md promises: evaluated, and shown apart."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from snnlab.session import Session

from ..refusals import assert_error_has, assert_text_has
from .calling import call

pytestmark = pytest.mark.long  # trains a suite

SUITE = """# snnlab bench suite=points
# Points.
datasets:
  points: [data=yin_yang, data.num_train=64, data.num_val=32, data.num_test=64, data.num_bins=8]
methods:
  theirs: {overrides: [model=linear_counts, "model.weights.file=theirs.pt"], role: given, note: from a file}
  linear: [model=linear_counts]
seeds: [3, 4]
common: [trainer.max_epochs=1, trainer.accelerator=cpu, monitors=null, plots=null, threads=1]
match: {by: params, within: 0.1}
engine: here
"""
OURS = ("bench", "suite=points", "--config-dir", "mine")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("given")
    (root / "mine" / "suite").mkdir(parents=True)
    (root / "mine" / "suite" / "points.yaml").write_text(SUITE)
    network = Session.composed("model=linear_counts", "data=yin_yang", "data.num_bins=8", "seed=11").built.network
    torch.save({"epoch": 3, "model_state_dict": network.state_dict()}, root / "theirs.pt")
    assert call(root, *OURS).status == 0
    return root


def test_given_weights_are_evaluated_once_and_shown_in_a_table_of_their_own(root: Path) -> None:
    folder = root / "outputs" / "suite_points"
    cells = json.loads((folder / "suite.json").read_text())["cells"]
    assert [(one["method"], one["seed"]) for one in cells] == [("theirs", 3), ("linear", 3), ("linear", 4)]
    result = json.loads((folder / "runs/points/theirs/3/result.json").read_text())
    assert (result["status"], result["selection"]["epochs"], result["metrics"]["test/recordings"]) == (
        "completed",
        0,
        64,
    )
    table = json.loads((folder / "table.json").read_text())["datasets"][0]
    assert [row["method"] for row in table["rows"]] == ["linear"]
    assert [row["method"] for row in table["given"]] == ["theirs"]
    assert not table["neighbours"]
    text = (folder / "table.md").read_text()
    before, after = text.split("evaluated here", 1)
    assert "linear" in before
    assert "theirs" not in before
    assert_text_has(after, "theirs")


def test_a_given_row_without_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine" / "suite").mkdir(parents=True)
    (tmp_path / "mine" / "suite" / "points.yaml").write_text(SUITE.replace(', "model.weights.file=theirs.pt"', ""))
    done = call(tmp_path, *OURS, "--dry-run")
    assert done.status == 2
    assert_error_has(done.error, "suite.methods.theirs.role", "model.weights.file")
