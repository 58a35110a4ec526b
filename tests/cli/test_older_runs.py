"""Runs, a search and a suite that commit dd700d9 recorded: later versions open them with the same results.

They count as another user's: copied and not signed. `tests/fixtures/runs_dd700d9/make.py` made them.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from snnlab import load
from snnlab.kernels import function
from snnlab.runs.recorded import read_run
from snnlab.training.checkpoints import weights_hash

from .conftest import Outcome

Snnlab = Callable[..., Outcome]
RECORDED = Path(__file__).parents[1] / "fixtures" / "runs_dd700d9"
RUNS = ("conv_lif", "conv_lif_on_events", "learned_alif", "ddp", "weight_average", "eager")
KILLED_AT = {"epoch": 2, "batch": 3}


@pytest.fixture
def copy_of(tmp_path: Path) -> Callable[[str], Path]:
    """Return a function that copies one of the folders to where it can be written."""

    def copy(name: str) -> Path:
        return Path(shutil.copytree(RECORDED / name, tmp_path / name))

    return copy


def accuracy(run: Path) -> float:
    return read_run(run).metrics["test/accuracy"]


@pytest.mark.parametrize(("name", "part"), [*((name, "test") for name in RUNS), ("weight_average", "val")])
def test_its_network_gives_the_recorded_answers(
    name: str, part: str, copy_of: Callable[[str], Path], tmp_path: Path
) -> None:
    run = load(copy_of(name))
    values = run.evaluate(part, out=tmp_path / "again")
    before = {key: array for key, array in run.predictions.items() if key.startswith(f"{part}_")}
    with np.load(tmp_path / "again" / "predictions.npz") as after:
        assert {f"{part}_recording", f"{part}_target", f"{part}_readout", f"{part}_answers"} <= set(before)
        for key, array in before.items():
            assert after[key].shape == array.shape, key
            if array.dtype.kind == "f":
                np.testing.assert_allclose(after[key], array, rtol=1e-5, atol=1e-6, err_msg=key)
            else:
                assert np.array_equal(after[key], array), key
    metrics = {
        key: value for key, value in run.metrics.items() if key.startswith(f"{part}/") and key in values["metrics"]
    }
    assert len(metrics) > 5
    assert {key: values["metrics"][key] for key in metrics} == pytest.approx(metrics, rel=1e-5)


@pytest.mark.parametrize("name", [*RUNS, "suite"])
def test_its_page_can_be_drawn(name: str, tmp_path: Path, snnlab: Snnlab) -> None:
    done = snnlab("report", str(RECORDED / name), "--out", str(tmp_path / "page.html"))
    assert (done.status, done.out.strip()) == (0, str(tmp_path / "page.html")), done.err
    page = (tmp_path / "page.html").read_text()
    assert ("shuffled_labels" if name == "suite" else f"{accuracy(RECORDED / name):.1%}") in page


@pytest.mark.parametrize("last_written", ["search.json", "study.db"])
def test_the_page_of_the_search_has_its_trials_whatever_a_copy_made_of_names_and_times(
    last_written: str, copy_of: Callable[[str], Path], snnlab: Snnlab
) -> None:
    search = copy_of("search")
    for name in ("search.json", "study.db"):
        os.utime(search / name, (0, 2.0 if name == last_written else 1.0))
    done = snnlab("report", str(search))
    assert done.status == 0, done.err
    page = (search / "report.html").read_text()
    with (search / "trials.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3
    assert all(f"{float(row['val/loss']):.4g}" in page for row in rows)
    assert ("<h2>Test" in page) == (last_written == "search.json")


def test_all_are_listed(snnlab: Snnlab) -> None:
    done = snnlab("runs", "list", str(RECORDED))
    assert done.status == 0, done.err
    lines = {line.split()[-1].rpartition("/")[2]: line for line in done.out.splitlines() if line.strip()}
    assert {*RUNS, "killed"} <= set(lines)
    assert all("completed" in lines[name] for name in RUNS)
    assert "completed" not in lines["killed"]


def test_the_killed_one_resumes_with_its_best_epoch(copy_of: Callable[[str], Path], snnlab: Snnlab) -> None:
    run = copy_of("killed")
    best = run / "checkpoints" / "best.ckpt"
    chosen, epochs = weights_hash(best), (run / "metrics.csv").read_text().splitlines()
    done = snnlab("train", f"resume={run}")
    assert done.status == 0, done.err
    ended, whole = read_run(run), read_run(RECORDED / "never_killed")
    assert ended.status == "completed"
    assert (ended.selection["epoch"], ended.selection["epochs"]) == (0, 4)
    assert weights_hash(best) == chosen
    assert (run / "metrics.csv").read_text().splitlines()[: len(epochs)] == epochs
    # Of the later epochs only the last digits depend on the kernels.
    for name, values in whole.epochs().items():
        np.testing.assert_allclose(ended.epochs()[name], values, rtol=1e-3, atol=1e-6, err_msg=name)
    assert ended.metrics == pytest.approx(whole.metrics, rel=1e-3)
    (entry,) = ended.resumed
    assert {key: entry[key] for key in KILLED_AT} == KILLED_AT
    others = function.KERNEL_VERSION != function.FIRST_KERNEL_VERSION
    assert entry.get("kernels") == ([function.FIRST_KERNEL_VERSION, function.KERNEL_VERSION] if others else None)


def test_the_table_of_the_suite_has_the_accuracies_of_its_runs(snnlab: Snnlab) -> None:
    done = snnlab("bench", "table", str(RECORDED / "suite"), "--format", "csv")
    assert done.status == 0, done.err
    rows = {row["method"]: row for row in csv.DictReader(done.out.splitlines())}
    assert set(rows) == {"lif", "counts"}
    for method, row in rows.items():
        runs = RECORDED / "suite" / "runs" / "patterns" / method
        assert float(row["test_accuracy"]) == pytest.approx(np.mean([accuracy(runs / seed) for seed in "01"]))
    assert snnlab("bench", "table", str(RECORDED / "suite")).status == 0


def test_they_hold_no_name_of_the_machine() -> None:
    for path in RECORDED.rglob("*"):
        if path.is_file() and path.suffix != ".py":
            assert not any(root in path.read_bytes() for root in (b"/home/", b"/root/", b"/tmp/", b"/work/")), path
    pages = [json.loads(path.read_text()) for path in RECORDED.rglob("result.json")]
    assert {page["provenance"]["device"] for page in pages} == {"a processor"}
