"""Runs of a folder that differ only in their seed are one row."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from snnlab.errors import RunFolderError
from snnlab.experiments.suite_reading import read
from snnlab.experiments.suite_table import read_table
from snnlab.experiments.verdicts import read_method
from snnlab.runs.runs_table import distinguishing_names

from ..refusals import assert_lines_have, assert_raises, assert_text_has
from .making import make_run


def test_runs_are_grouped_over_all_settings_but_the_seed(tmp_path: Path):
    for place, (tau, seed) in enumerate([(5.0, 0), (5.0, 1), (10.0, 0), (10.0, 1)]):
        layers = {"fc": {"type": "linear"}, "lif": {"type": "lif", "tau_mem": tau}}
        make_run(tmp_path / f"sweep/{place}_{seed}", seed, tau / 20, config={"model": {"layers": layers}})
    (part,) = read_table(tmp_path).parts
    assert part.dataset == "digits"
    assert [row.method for row in part.rows] == ["lif.tau_mem=10.0", "lif.tau_mem=5.0"]
    assert [list(row.seeds) for row in part.rows] == [[0, 1], [0, 1]]
    assert part.rows[0].values["test_accuracy"].mean == pytest.approx(0.5)


def test_runs_on_gpus_of_their_own_are_one_row(tmp_path: Path):
    for seed, devices in enumerate(([0], [1], 1)):
        make_run(tmp_path / f"x/{seed}_{seed}", seed, config={"trainer": {"devices": devices}})
    make_run(tmp_path / "x/3_0", 0, config={"trainer": {"devices": 2}})
    assert sorted(len(row.seeds) for row in read_table(tmp_path).parts[0].rows) == [1, 3]
    assert read_method_of(tmp_path / "x", 3) == [0, 1, 2]


def read_method_of(folder: Path, held_out: int) -> list[int]:
    shutil.rmtree(folder / f"{held_out}_0")
    return read_method(folder).seeds


def test_a_setting_that_an_older_run_does_not_know_is_as_null(tmp_path: Path):
    make_run(tmp_path / "x/0_0", 0)
    make_run(tmp_path / "x/1_1", 1, config={"optimizer": {"groups": None}})
    assert read_method(tmp_path / "x").seeds == [0, 1]
    make_run(tmp_path / "x/2_2", 2, config={"optimizer": {"groups": {"biases": {"lr": 1}}}})
    with assert_raises(RunFolderError, "x", "optimizer.groups"):
        read_method(tmp_path / "x")


def test_a_name_has_only_what_distinguishes_groups():
    settings = [
        {"model.layers.lif1.tau_mem": tau, "model.layers.lif2.tau_mem": tau, "optimizer.lr": lr, "a": 1, "b": tau + lr}
        for tau in (5, 10)
        for lr in (0.1, 0.2)
    ]
    assert distinguishing_names(settings) == ["b=5.1", "b=5.2", "b=10.1", "b=10.2"]
    apart = [{key: value for key, value in own.items() if key != "b"} for own in settings]
    assert distinguishing_names(apart)[0] == "tau_mem=5 optimizer.lr=0.1"
    assert distinguishing_names(apart[:1]) == ["all runs"]


def test_the_last_of_several_runs_of_a_seed_counts(tmp_path: Path):
    make_run(tmp_path / "x/2026-01-01_0", 0, 0.2)
    make_run(tmp_path / "x/2026-01-02_0", 0, 0.9)
    (row,) = read_table(tmp_path).parts[0].rows
    assert row.values["test_accuracy"].mean == 0.9
    assert_lines_have(row.flags, ("seed 0", "last"))


def test_a_run_in_progress_and_a_damaged_one_are_named(tmp_path: Path):
    make_run(tmp_path / "x/0_0", 0)
    (make_run(tmp_path / "x/1_1", 1) / "result.json").unlink()
    (make_run(tmp_path / "x/2_2", 2) / "config.yaml").write_text("{")
    found = read(tmp_path)
    assert [run.status for run in found.runs] == ["completed", "running"]
    assert_text_has(found.problems[0], "x/2_2: config.yaml")
    assert_lines_have(read_table(tmp_path).parts[0].rows[0].flags, ("seed 1 running",))


def test_datasets_have_a_table_each(tmp_path: Path):
    make_run(tmp_path / "x/0_0")
    make_run(tmp_path / "x/1_0", config={"data": {"type": "gestures"}})
    assert [part.dataset for part in read_table(tmp_path).parts] == ["digits", "gestures"]
