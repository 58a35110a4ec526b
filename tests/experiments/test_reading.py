"""Unreadable files are named, and the rest is shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from snnlab.errors import RunFolderError
from snnlab.experiments.suite_reading import read, steps_of
from snnlab.experiments.suite_table import read_table

from ..refusals import assert_lines_have, assert_raises, assert_text_has
from .making import make_suite


def test_a_half_written_result_is_named_and_the_rest_is_shown(tmp_path: Path):
    suite = make_suite(tmp_path / "s", {"a": [0.9, 0.8, 0.7]})
    path = suite / "runs/digits/a/1/result.json"
    path.write_text(path.read_text()[:50])
    table = read_table(suite)
    (row,) = table.parts[0].rows
    assert list(row.seeds) == [0, 2]
    assert row.values["test_accuracy"].mean == pytest.approx(0.8)
    assert [said for said in table.problems if said.startswith("runs/digits/a/1: result.json: ")]
    assert any(flag.startswith("seed 1 damaged") for flag in row.flags)


def test_a_run_without_its_settings_is_named_and_left_out(tmp_path: Path):
    suite = make_suite(tmp_path / "s", {"a": [0.9, 0.8, 0.7]})
    (suite / "runs/digits/a/0/config.yaml").write_text("{")
    (suite / "runs/digits/a/1/config.yaml").unlink()
    table = read_table(suite)
    assert list(table.parts[0].rows[0].seeds) == [2]
    assert_lines_have(table.problems, *((f"runs/digits/a/{seed}: config.yaml",) for seed in (0, 1)))


def test_a_run_of_another_schema_is_named_and_left_out(tmp_path: Path):
    suite = make_suite(tmp_path / "s", {"a": [0.9, 0.8]}, seeds=(0, 1))
    path = suite / "runs/digits/a/0/result.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema_version": 7}))
    table = read_table(suite)
    assert_lines_have(table.problems, ("runs/digits/a/0: result.json", 7, 1))
    assert list(table.parts[0].rows[0].seeds) == [1]


def test_a_half_written_suite_json_loses_only_its_own_content(tmp_path: Path):
    suite = make_suite(tmp_path / "s", {"a": [0.9, 0.8]}, seeds=(0, 1))
    (suite / "suite.json").write_text("{")
    table = read_table(suite)
    assert_text_has(table.problems[0], "suite.json")
    assert list(table.parts[0].rows[0].seeds) == [0, 1]


def test_what_was_not_trained_is_missing_and_what_failed_says_why(tmp_path: Path):
    failed = {"dataset": "digits", "method": "a", "seed": 1, "control": None, "folder": "runs/digits/a/1"}
    state = {"cells": [{**failed, "status": "failed", "error": "a loss that is no number", "wall_s": None}]}
    suite = make_suite(tmp_path / "s", {"a": [0.9]}, state=state)
    first, second, third = read(suite).runs
    assert (first.status, second.status, third.status) == ("completed", "failed", "missing")
    table = read_table(suite)
    assert table.parts[0].rows[0].flags == ["1 of 3 failed", "seed 2 missing"]
    runs = next(entry.said for entry in table.parts[0].protocol if entry.about == "runs")
    assert_text_has(runs, "1 of 3 completed", "1 failed: a seed 1")


def test_a_method_of_some_datasets_is_not_missing_on_the_others(tmp_path: Path):
    methods = {"a": {"overrides": []}, "b": {"overrides": [], "datasets": ["other"]}}
    page = {"datasets": {"digits": [], "other": []}, "methods": methods}
    suite = make_suite(tmp_path / "s", {"a": [0.9, 0.9, 0.9]}, page=page)
    parts = {part.dataset: [row.method for row in part.rows] for part in read_table(suite).parts}
    assert parts == {"digits": ["a"], "other": ["a", "b"]}


def test_a_suite_of_another_version_is_refused(tmp_path: Path):
    suite = make_suite(tmp_path / "s", {"a": [0.9]}, page={"schema": 9})
    with assert_raises(RunFolderError, "s/suite.yaml", 1):
        read_table(suite)


def test_a_folder_without_runs_is_refused(tmp_path: Path):
    with assert_raises(RunFolderError, tmp_path, "suite"):
        read_table(tmp_path)


@pytest.mark.parametrize(
    ("settings", "steps"),
    [
        ({"data.num_bins": 20}, 20),
        ({"data.duration_ms": 40.0, "data.dt": 0.5}, 80),
        ({"data.num_bins": "${oc.env:BINS}"}, None),
        ({}, None),
    ],
)
def test_steps_are_those_of_the_settings(settings: dict[str, object], steps: int | None):
    assert steps_of(settings) == steps
