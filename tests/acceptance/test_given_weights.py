"""A row of a suite with weights from a file, as docs/benchmarks.md promises: evaluated, shown apart, checked."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from snnlab.files import load_arrays, write_npz
from snnlab.session import Session

from ..refusals import assert_error_has, assert_text_has
from .calling import call
from .conftest import Outcome

pytestmark = pytest.mark.long  # trains a suite, and checks its records several times

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
CHECK = (*OURS, "--check", "--records", "records")


class Given(NamedTuple):
    """A suite with given weights that was run and recorded, and what the commands printed."""

    root: Path
    trained: Outcome
    recorded: Outcome


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Given:
    root = tmp_path_factory.mktemp("given")
    (root / "mine" / "suite").mkdir(parents=True)
    (root / "mine" / "suite" / "points.yaml").write_text(SUITE)
    network = Session.composed("model=linear_counts", "data=yin_yang", "data.num_bins=8", "seed=11").built.network
    torch.save({"epoch": 3, "model_state_dict": network.state_dict()}, root / "theirs.pt")
    trained = call(root, *OURS)
    return Given(root, trained, call(root, "bench", "record", "outputs/suite_points", "--records", "records"))


def test_given_weights_are_evaluated_once_and_shown_in_a_table_of_their_own(given: Given) -> None:
    folder = given.root / "outputs" / "suite_points"
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


def test_a_record_has_the_answers_of_given_weights_and_not_the_weights(given: Given) -> None:
    row = given.root / "records" / "points" / "theirs"
    (entry,) = json.loads((row / "result.json").read_text())["runs"]
    assert entry["has_weights"] is False
    assert load_arrays(row / "predictions.npz")["answer"].shape == (1, 64)
    assert (row / "weights.safetensors").stat().st_size < 100
    assert call(given.root, *CHECK).status == 0


@pytest.mark.parametrize("harm", ["answer", "other weights", "no file"])
def test_a_check_compares_the_answers_of_the_file(given: Given, tmp_path: Path, harm: str) -> None:
    root = tmp_path / "copy"
    shutil.copytree(given.root, root)
    if harm == "answer":
        path = root / "records" / "points" / "theirs" / "predictions.npz"
        arrays = load_arrays(path)
        arrays["answer"][0, :3] = (arrays["answer"][0, :3] + 1) % 3
        write_npz(path, arrays)
    elif harm == "other weights":
        content = torch.load(root / "theirs.pt", weights_only=True)
        content["model_state_dict"] = {name: -value for name, value in content["model_state_dict"].items()}
        torch.save(content, root / "theirs.pt")
    else:
        (root / "theirs.pt").unlink()
    done = call(root, *CHECK, "methods=[theirs]")
    assert done.status == (2 if harm == "no file" else 1)
    assert_text_has(str(done.error) if harm == "no file" else done.out, "theirs")


def test_a_given_row_without_a_file_is_refused(given: Given, tmp_path: Path) -> None:
    (tmp_path / "mine" / "suite").mkdir(parents=True)
    (tmp_path / "mine" / "suite" / "points.yaml").write_text(SUITE.replace(', "model.weights.file=theirs.pt"', ""))
    done = call(tmp_path, *OURS, "--dry-run")
    assert done.status == 2
    assert_error_has(done.error, "suite.methods.theirs.role", "model.weights.file")
