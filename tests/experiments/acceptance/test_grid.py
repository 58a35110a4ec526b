"""What docs/search.md and the `--help` of train and report promise of grids, `snnlab train -m`: table and pages."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from snnlab.experiments import workers
from snnlab.training.module import SpikingModule

from ...acceptance.calling import call
from ...cli.browser import clicks, in_a_browser, seen
from ...refusals import assert_error_has, assert_text_has
from .conftest import FAST, Outcome

Snnlab = Callable[..., Outcome]
SWEPT = ("optimizer.lr=0.001,0.1", "seed=0,1")
KEPT = ("plots=null", "monitors=null", "logger=none", "hydra.sweep.dir=outputs/mine")
GRID = ("-m", *FAST, "neuron.tau_mem=5,10", "logger=none", "plots=null", "threads=1")


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory, digits_store: str) -> Path:
    """Return the folder of a grid: four runs, of two learning rates and two seeds."""
    root = tmp_path_factory.mktemp("grid")
    done = call(root, "train", "-m", *FAST, digits_store, *SWEPT, *KEPT)
    assert done.status == 0, done.err
    assert Path(done.out.splitlines()[-1]) == root / "outputs" / "mine"
    return root / "outputs" / "mine"


def test_a_grid_ends_with_a_table_over_every_key_but_the_seed(snnlab: Snnlab, grid: Path):
    head, *rows = (line.split(",") for line in (grid / "table.csv").read_text().splitlines())
    found = [dict(zip(head, row, strict=True)) for row in rows]
    assert [(row["optimizer.lr"], row["test/accuracy_n"]) for row in found] == [("0.001", "2"), ("0.1", "2")]
    assert_text_has(snnlab("runs", str(grid)).out, "4 runs", "mean ± sd")


def test_the_same_grid_repeats_no_run_and_another_one_needs_another_folder(grid: Path, digits_store: str):
    kept = ("train", "-m", *FAST, digits_store, *KEPT)
    before = {path: path.stat().st_mtime_ns for path in grid.glob("*/result.json")}
    (grid / "3_1" / "result.json").unlink()  # as after a kill in the test of the last one
    again = call(grid.parents[1], *kept, *SWEPT)
    assert again.status == 0, again.err
    after = {path: path.stat().st_mtime_ns for path in grid.glob("*/result.json")}
    assert {path for path in after if after[path] != before[path]} == {grid / "3_1" / "result.json"}
    for others, named in ((("optimizer.lr=0.001,0.3", "seed=0,1"), "2_0"), (("seed=0,1",), "0_0")):
        refused = call(grid.parents[1], *kept, *others)
        assert refused.status == 2
        assert_error_has(refused.error, "outputs/mine", "hydra.sweep.dir=FOLDER", named)


def test_a_grid_is_checked_completely_before_its_first_run(workplace: Path, snnlab: Snnlab):
    done = snnlab("train", "-m", *FAST, "neuron=lif,liff")
    assert done.status == 2
    assert done.err.count("neuron=liff:") == 1
    assert not list(workplace.iterdir())


def test_a_page_of_a_grid_plots_the_results_against_the_swept_settings(snnlab: Snnlab, grid: Path):
    done = snnlab("report", str(grid))
    assert done.status == 0, done.err
    text = (grid / "report.html").read_text()
    assert_text_has(text, "4 runs", "4 completed")
    assert re.search('alt="[^"]*accuracy[^"]*optimizer.lr', text)


def test_a_folder_of_runs_has_a_table_with_the_settings_that_differ(snnlab: Snnlab, grid: Path, tmp_path: Path):
    for name in ("0_0", "2_0"):
        shutil.copytree(grid / name, tmp_path / name)
    done = snnlab("report", str(tmp_path), "--out", str(tmp_path / "all.html"))
    assert done.status == 0, done.err
    text = (tmp_path / "all.html").read_text()
    heads = re.findall("<th>(.*?)</th>", text)
    assert heads[:3] == ["run", "status", "val/accuracy"]
    assert heads[-1] == "optimizer.lr"
    assert_text_has(text, "2 runs", "2 completed")


@in_a_browser
def test_a_table_sorts_by_a_click(snnlab: Snnlab, grid: Path):
    snnlab("report", str(grid))
    shown, complaints = seen(grid / "report.html", clicks("val/loss"))
    assert complaints == ""
    assert 'aria-sort="descending"' in shown
    table = next(part for part in shown.split("<table") if 'aria-sort="descending"' in part)
    losses = [float(re.findall("<td>(.*?)</td>", row)[3].split()[0]) for row in re.findall("<tr>(<td>.*?)</tr>", table)]
    assert len(losses) == 2  # means over the seeds
    assert losses == sorted(losses, reverse=True)
    assert losses != sorted(losses)


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "table.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_launcher_trains_the_same_runs_and_resumes_them(
    workplace: Path, snnlab: Snnlab, digits_store: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(workers, "ProcessWorker", lambda threads: workers.InProcessWorker())
    given = (*GRID, "test=false", digits_store, "launcher=joblib", "workers=2", "hydra.sweep.dir=outputs/mine")
    done = snnlab("train", *given)
    assert done.status == 0, done.err
    assert "2 of 2" in done.err
    folder = workplace / "outputs" / "mine"
    assert Path(done.out.splitlines()[-1]) == folder
    assert sorted(path.parent.name for path in folder.glob("*/result.json")) == ["0_0", "1_0"]
    assert [(row["neuron.tau_mem"], row["runs"], row["missing"]) for row in rows(folder)] == [
        ("5", "1", "0"),
        ("10", "1", "0"),
    ]
    before = (folder / "1_0" / "result.json").stat().st_mtime_ns
    again = snnlab("train", *given)
    assert again.status == 0
    assert (folder / "1_0" / "result.json").stat().st_mtime_ns == before


def test_a_stopped_grid_continues(workplace: Path, snnlab: Snnlab, digits_store: str, monkeypatch: pytest.MonkeyPatch):
    given = ("-m", *FAST, "seed=0,1", "logger=none", "plots=null", "test=false", digits_store)
    where = "hydra.sweep.dir=outputs/mine"
    genuine, stops = SpikingModule.training_step, iter([False] * 3 + [True])

    def stopped(*arguments: Any) -> Any:
        if next(stops, False):
            raise KeyboardInterrupt
        return genuine(*arguments)

    monkeypatch.setattr(SpikingModule, "training_step", stopped)
    assert snnlab("train", *given, where).status == 130
    states = [json.loads(path.read_text())["status"] for path in sorted(workplace.glob("outputs/mine/*/result.json"))]
    assert states == ["completed", "interrupted"]
    first = workplace / "outputs" / "mine" / "0_0" / "result.json"
    before = first.read_bytes()
    done = snnlab("train", *given, where)
    assert done.status == 0, done.err
    assert first.read_bytes() == before
    assert [row["runs"] for row in rows(workplace / "outputs" / "mine")] == ["2"]


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["joblib", "submitit", "ray"])
def test_every_launcher_trains_all(workplace: Path, snnlab: Snnlab, digits_store: str, launcher: str):
    pytest.importorskip(launcher)
    where = ["submitit.cluster=local"] if launcher == "submitit" else []
    done = snnlab("train", *GRID, digits_store, f"launcher={launcher}", *where)
    assert done.status == 0, done.err
    folder = Path(done.out.splitlines()[-1])
    states = [json.loads(path.read_text())["status"] for path in folder.glob("*/result.json")]
    assert states == ["completed"] * 2
    assert [row["runs"] for row in rows(folder)] == ["1", "1"]


def test_a_number_of_folds_is_a_run_for_each_and_ends_with_all_held_out_recordings(
    workplace: Path, snnlab: Snnlab, digits_store: str
):
    done = snnlab("train", "-m", *FAST, digits_store, *KEPT, "data.folds=3", "selection=last")
    assert done.status == 0, done.err
    folder = workplace / "outputs" / "mine"
    held = [json.loads((run / "result.json").read_text())["metrics"] for run in sorted(folder.glob("?_*"))]
    total = sum(round(metrics["val/recordings"]) for metrics in held)
    right = round(sum(metrics["val/accuracy"] * metrics["val/recordings"] for metrics in held))
    assert len(held) == 3
    assert_text_has(done.out, "mean ± sd over folds", f"3 folds: {right:,} of {total:,}", "95 % interval")
    assert_text_has(snnlab("runs", str(folder)).out, f"{right:,} of {total:,}")
