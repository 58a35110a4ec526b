"""The planned runs of a suite."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from snnlab.config.merging import merge_overrides
from snnlab.experiments.suite_plan import RunSpec, SuitePlan
from snnlab.experiments.suite_settings import SuiteSelection, parse_settings

from .conftest import SUITE


def plan(typed: list[str] | None = None, **values: Any) -> SuitePlan:
    return SuitePlan(Path("/s"), "s", parse_settings({**SUITE, **values}), typed or [], None, ".", "")


def test_a_method_is_trained_on_its_datasets_only():
    methods: dict[str, Any] = {"a": {"datasets": ["patterns"]}, "b": []}
    run_specs = plan(methods=methods, seeds=[3]).run_specs()
    assert [(cell.dataset, cell.method) for cell in run_specs] == [
        ("digits", "b"),
        ("patterns", "a"),
        ("patterns", "b"),
    ]


def test_controls_are_of_the_first_method_that_is_no_baseline_and_only_where_that_is_selected():
    methods: dict[str, Any] = {"a": {"role": "baseline"}, "b": []}
    made = plan(methods=methods, controls=["counts_only"], seeds=[4, 5])
    assert [cell for cell in made.run_specs() if cell.control] == [
        RunSpec("digits", "b", 4, "counts_only"),
        RunSpec("patterns", "b", 4, "counts_only"),
    ]
    assert not [cell for cell in made.run_specs(SuiteSelection(methods=["a"])) if cell.control]
    assert not [cell for cell in made.run_specs(None, [5]) if cell.control]


def test_tuned_overrides_come_last_and_a_methods_own_after_the_common_ones():
    methods: dict[str, Any] = {"a": ["data.num_bins=1", "optimizer.lr=0.5"]}
    made = plan(["data.dt=5", "threads=3"], methods=methods, common=["optimizer.lr=0.1"])
    task = made.task(RunSpec("digits", "a", 1), {"optimizer.lr": 0.2}, 1, merge_overrides)
    said = [text for text in task.overrides if text.startswith(("data", "optimizer", "threads", "seed"))]
    assert said == ["data=saccade_digits", "threads=3", "data.num_bins=1", "optimizer.lr=0.2", "seed=1"]
    assert task.folder == "/s/runs/digits/a/1"


def test_a_control_has_a_folder_of_its_own():
    cell = RunSpec("digits", "a", 0, "counts_only")
    assert cell.folder == "controls/counts_only/digits/a/0"
    assert "control=counts_only" in plan().task(cell, {}, 1, merge_overrides).overrides
