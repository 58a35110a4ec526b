"""What `snnlab runs --help` and docs/runs.md promise: recorded runs are listed, sorted, compared, deleted."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ..refusals import assert_error_has, assert_text_has
from .conftest import Outcome

Snnlab = Callable[..., Outcome]


def _write(folder: Path, name: str, lr: float, metrics: dict[str, float], status: str | None = "completed") -> Path:
    """Write a run's folder, without a result where `status` is None."""
    run = folder / "digits" / name
    (run / "checkpoints").mkdir(parents=True)
    (run / "config.yaml").write_text(
        f"seed: 0\nmodel: {{layers: {{out: {{type: linear, out_features: '${{data.num_classes}}'}}}}}}\n"
        f"data: {{type: nmnist, num_classes: 10}}\noptimizer: {{lr: {lr}}}\n"
    )
    if status is not None:
        page: dict[str, Any] = {"schema_version": 1, "status": status, "seed": 0, "metrics": metrics}
        page |= {"selection": {"epoch": 3, "epochs": 12}, "timing": {"fit_s": 41.4}, "provenance": {}}
        (run / "result.json").write_text(json.dumps(page))
    return run


@pytest.fixture
def runs(workplace: Path) -> list[Path]:
    """Return four runs in `outputs`, the second the best and the fourth not ended."""
    outputs = workplace / "outputs"
    return [
        _write(outputs, "1_0", 0.1, {"val/accuracy": 0.8, "val/loss": 0.6, "test/accuracy": 0.7}),
        _write(outputs, "2_0", 0.01, {"val/accuracy": 0.9, "val/loss": 0.3, "test/accuracy": 0.85}),
        _write(outputs, "3_0", 0.001, {"val/accuracy": 0.2, "val/loss": 2.1}, "interrupted"),
        _write(outputs, "4_0", 0.1, {}, None),
    ]


def _rows(done: Outcome) -> list[str]:
    assert done.status == 0, done.err
    return [line.split()[-1].rsplit("/", 1)[-1] for line in done.out.splitlines() if "outputs/" in line]


def test_runs_are_listed_in_the_order_of_their_time(runs: list[Path], snnlab: Snnlab) -> None:
    done = snnlab("runs")
    assert _rows(done) == ["1_0", "2_0", "3_0", "4_0"]
    assert all(words in done.out for words in ("90.0%", "85.0%", "0.3000", "4 of 12", "interrupted", "not ended", "41"))


@pytest.mark.parametrize("command", [("runs",), ("report",), ("bench", "table")])
def test_a_folder_that_vanishes_while_runs_are_sought_is_left_out(
    runs: list[Path], snnlab: Snnlab, monkeypatch: pytest.MonkeyPatch, workplace: Path, command: tuple[str, ...]
) -> None:
    kept = _write(workplace, "5_0", 0.1, {"val/accuracy": 0.8, "val/loss": 0.6, "test/accuracy": 0.7})
    kept.parent.rename(workplace / "outputs" / "other")
    for name in ("listdir", "scandir"):
        listed = getattr(os, name)

        def without(folder: Any, listed: Callable[[Any], Any] = listed) -> Any:
            if folder in ("outputs/digits", Path("outputs/digits")):
                shutil.rmtree(folder, ignore_errors=True)
            return listed(folder)

        monkeypatch.setattr(os, name, without)
    done = snnlab(*command, "outputs")
    assert done.status == 0, done.err
    assert command == ("report",) or "80.0" in done.out or "70.0" in done.out


def test_a_control_is_marked(runs: list[Path], snnlab: Snnlab) -> None:
    with (runs[0] / "config.yaml").open("a") as file:
        file.write("control: shuffled_time\n")
    assert snnlab("runs").out.count("completed, control shuffled_time") == 1


def test_runs_of_a_grid_are_listed_too_and_a_long_folder_is_not_split(runs: list[Path], snnlab: Snnlab) -> None:
    grid = runs[0].parent / f"9_{'long_' * 20}sweep"
    for number in (2, 10):
        _write(grid.parent, "x", 0.1, {"val/accuracy": 0.5}).rename(runs[0].parent / "y")
        grid.mkdir(exist_ok=True)
        (runs[0].parent / "y").rename(grid / f"{number}_0")
    (grid / "grid.json").write_text("{}")
    done = snnlab("runs")
    assert _rows(done) == ["1_0", "2_0", "3_0", "4_0", "2_0", "10_0"]
    assert f"outputs/digits/{grid.name}/10_0" in done.out


def test_the_best_comes_last(runs: list[Path], snnlab: Snnlab) -> None:
    assert _rows(snnlab("runs", "--sort", "val/accuracy")) == ["4_0", "3_0", "1_0", "2_0"]
    assert _rows(snnlab("runs", "outputs", "--sort", "val/accuracy")) == ["4_0", "3_0", "1_0", "2_0"]
    assert _rows(snnlab("runs", "list", "--sort=val/loss")) == ["4_0", "3_0", "1_0", "2_0"]


def test_runs_are_filtered_by_setting_or_result(runs: list[Path], snnlab: Snnlab) -> None:
    assert _rows(snnlab("runs", "list", "outputs", "--where", "optimizer.lr=1e-1")) == ["1_0", "4_0"]
    assert _rows(snnlab("runs", "--where", "optimizer.lr=0.1,status=completed,data.type=nmnist")) == ["1_0"]
    assert len(_rows(snnlab("runs", "--where", "model.layers.out.out_features=10"))) == 4  # by a reference
    assert_text_has(snnlab("runs", "--where", "data.type=shd").out, "4 runs", "none")


def test_two_runs_are_compared(runs: list[Path], snnlab: Snnlab) -> None:
    done = snnlab("runs", "compare", *map(str, runs[:2]))
    assert done.status == 0, done.err
    assert "optimizer.lr" in done.out
    assert "val/accuracy" in done.out
    assert "data.type" not in done.out
    assert_text_has(snnlab("runs", "compare", str(runs[0]), str(runs[3])).out, "settings: no")


def test_deleting_removes_runs(runs: list[Path], snnlab: Snnlab) -> None:
    assert snnlab("runs", "delete", str(runs[0]), str(runs[3])).status == 0
    assert _rows(snnlab("runs")) == ["2_0", "3_0"]


@pytest.mark.parametrize(
    ("arguments", "facts"),
    [
        (["--sort", "val/acuracy"], ("runs list", "val/acuracy", "val/accuracy")),
        (["--where", "status"], ("--where", "KEY=VALUE")),
        (["delete", "outputs/digits/1_0", "outputs/digits"], ("outputs/digits", "folder")),
    ],
)
def test_a_mistake_is_named_and_nothing_is_deleted(
    runs: list[Path], snnlab: Snnlab, arguments: list[str], facts: tuple
) -> None:
    done = snnlab("runs", *arguments)
    assert done.status == 2
    assert_error_has(done.error, *facts)
    assert all(run.is_dir() for run in runs)


def test_a_damaged_result_has_a_row_and_an_error_with_its_fix(runs: list[Path], snnlab: Snnlab) -> None:
    (runs[1] / "result.json").write_text("{")
    done = snnlab("runs")
    assert _rows(done) == ["1_0", "2_0", "3_0", "4_0"]
    (row,) = (line for line in done.out.splitlines() if "/2_0" in line)
    assert row.split()[0] == "damaged"
    (line,) = done.err.splitlines()
    assert line.startswith("outputs/digits/2_0/result.json: ")
    assert "snnlab train resume=outputs/digits/2_0" in line


def test_a_run_of_another_version_hides_no_other(runs: list[Path], snnlab: Snnlab) -> None:
    path = runs[1] / "result.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema_version": 7}))
    done = snnlab("runs")
    assert _rows(done) == ["1_0", "2_0", "3_0", "4_0"]
    assert re.search(r"\b7\b", done.err)


@pytest.mark.parametrize("text", ["seed: [1, 2", "- a list\n", "seed: 0\n", "", "data: nmnist\nmodel: {layers: {}}\n"])
def test_a_damaged_configuration_hides_no_other_run(runs: list[Path], snnlab: Snnlab, text: str) -> None:
    (runs[1] / "config.yaml").write_text(text)
    done = snnlab("runs", "--sort", "val/loss")
    assert _rows(done) == ["4_0", "3_0", "1_0", "2_0"]
    assert "outputs/digits/2_0/config.yaml: " in done.err
    assert snnlab("runs", "compare", str(runs[0]), str(runs[1])).status == 2


def test_an_empty_folder_has_no_runs(workplace: Path, snnlab: Snnlab) -> None:
    (workplace / "outputs").mkdir()
    assert_text_has(snnlab("runs").out, "no", "outputs")


def test_a_folder_with_a_configuration_of_something_else_is_not_deleted(workplace: Path, snnlab: Snnlab) -> None:
    site = workplace / "site"
    (site / "checkpoints").mkdir(parents=True)
    (site / "config.yaml").write_text("title: my pages\n")
    (site / "index.html").write_text("mine")
    done = snnlab("runs", "delete", "site")
    assert done.status == 2
    assert_error_has(done.error, "site")
    (site / "checkpoints").rmdir()
    assert snnlab("runs", "delete", "site").status == 2
    assert (site / "index.html").read_text() == "mine"
    assert_text_has(snnlab("runs", "list", ".").out, "no")


def test_a_run_in_training_is_not_deleted_nor_those_named_with_it(
    runs: list[Path], snnlab: Snnlab, tmp_path: Path
) -> None:
    locks = "f = open(sys.argv[1], 'w'); fcntl.flock(f, fcntl.LOCK_EX); print(1, flush=True); time.sleep(60)"
    code = f"import fcntl, sys, time; {locks}"
    holder = subprocess.Popen([sys.executable, "-c", code, str(runs[3] / ".lock")], stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None
        holder.stdout.readline()
        done = snnlab("runs", "delete", str(runs[0]), str(runs[3]))
        assert (done.status, done.out) == (2, "")
        assert_error_has(done.error, "outputs/digits/4_0", "trained", runs[3])
        assert all(run.is_dir() for run in runs)
    finally:
        holder.kill()
        holder.communicate()
    assert snnlab("runs", "delete", str(runs[3])).status == 0


def test_the_working_folder_is_not_deleted(runs: list[Path], snnlab: Snnlab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(runs[0] / "checkpoints")
    assert_error_has(snnlab("runs", "delete", "..").error, "..", "working")
    assert runs[0].is_dir()


def test_a_run_whose_result_is_damaged_can_be_deleted(runs: list[Path], snnlab: Snnlab) -> None:
    (runs[0] / "result.json").write_text("{")
    assert snnlab("runs", "delete", str(runs[0])).status == 0
    assert not runs[0].exists()


def _cells(done: Outcome) -> list[list[str]]:
    """Return the cells of the rows; two spaces are between two."""
    assert done.status == 0, done.err
    return [re.split(" {2,}", line.strip()) for line in done.out.splitlines() if "outputs/" in line]


def test_columns_show_the_differing_settings(runs: list[Path], snnlab: Snnlab) -> None:
    rows, rates = _cells(snnlab("runs")), (0.1, 0.01, 0.001, 0.1)
    assert [row[-4:-1] for row in rows] == [["digits", "nmnist", f"optimizer.lr={lr}"] for lr in rates]
    for number, run in enumerate(runs):
        text = (run / "config.yaml").read_text().replace("lr: 0.01}", "lr: 0.1}").replace("lr: 0.001}", "lr: 0.1}")
        layers = "".join(f"lif{k}: {{type: lif, tau_mem: {5 + number}}}, " for k in range(2))
        (run / "config.yaml").write_text(text.replace("layers: {", f"layers: {{{layers}"))
    assert [row[-2] for row in _cells(snnlab("runs"))] == [f"tau_mem={5 + number}" for number in range(4)]


@pytest.mark.parametrize(
    ("settings", "mark"),
    [
        ("trainer: {fast_dev_run: true}", "completed, fast_dev_run"),
        ("trainer: {limit_test_batches: 4}", "completed, limited"),
        ("trainer: {limit_train_batches: 1.0, limit_val_batches: 0.1}", "completed, limited"),
        ("mode: overfit", "completed, overfit"),
        ("trainer: {limit_train_batches: 1.0}", "completed"),
    ],
)
def test_a_partial_training_is_marked(runs: list[Path], snnlab: Snnlab, settings: str, mark: str) -> None:
    with (runs[1] / "config.yaml").open("a") as file:
        file.write(f"{settings}\n")
    assert [row[0] for row in _cells(snnlab("runs"))] == ["completed", mark, "interrupted", "not ended"]
    assert snnlab("report", "outputs").status == 0
    assert f"<td>{mark}</td>" in (runs[0].parents[1] / "report.html").read_text()


def test_tags_are_shown_and_filter_runs(runs: list[Path], snnlab: Snnlab) -> None:
    assert " tags " not in snnlab("runs").out
    for run, tags in zip(runs, ("[paper, first]", "[paper]", "[]", "null"), strict=True):
        with (run / "config.yaml").open("a") as file:
            file.write(f"tags: {tags}\n")
    done = snnlab("runs")
    assert " tags " in done.out
    assert_text_has(done.out, "paper, first")
    assert _rows(snnlab("runs", "--where", "tags=paper")) == ["1_0", "2_0"]
    assert _rows(snnlab("runs", "--where", "tags=first,status=completed")) == ["1_0"]
    assert_text_has(snnlab("runs", "--where", "tags=pap").out, "none")
