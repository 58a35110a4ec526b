"""The planned runs of a suite."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from snnlab.config.overrides import merged
from snnlab.experiments.suite_plan import Cell, Plan
from snnlab.experiments.suite_settings import Choice, checked

from .conftest import SUITE


def plan(typed: list[str] | None = None, **values: Any) -> Plan:
    return Plan(Path("/s"), "s", checked({**SUITE, **values}), typed or [], None, ".", "")


def test_a_method_is_trained_on_its_datasets_only():
    arms: dict[str, Any] = {"a": {"datasets": ["patterns"]}, "b": []}
    cells = plan(arms=arms, seeds=[3]).cells()
    assert [(cell.dataset, cell.arm) for cell in cells] == [("digits", "b"), ("patterns", "a"), ("patterns", "b")]


def test_controls_are_of_the_first_method_that_is_no_baseline_and_only_where_that_is_selected():
    arms: dict[str, Any] = {"a": {"role": "baseline"}, "b": []}
    made = plan(arms=arms, controls=["counts_only"], seeds=[4, 5])
    assert [cell for cell in made.cells() if cell.control] == [
        Cell("digits", "b", 4, "counts_only"),
        Cell("patterns", "b", 4, "counts_only"),
    ]
    assert not [cell for cell in made.cells(Choice(arms=["a"])) if cell.control]
    assert not [cell for cell in made.cells(None, [5]) if cell.control]


def test_tuned_overrides_come_last_and_a_methods_own_after_the_common_ones():
    arms: dict[str, Any] = {"a": ["data.num_bins=1", "optimizer.lr=0.5"]}
    made = plan(["data.dt=5", "threads=3"], arms=arms, common=["optimizer.lr=0.1"])
    task = made.task(Cell("digits", "a", 1), {"optimizer.lr": 0.2}, 1, merged)
    said = [text for text in task.overrides if text.startswith(("data", "optimizer", "threads", "seed"))]
    assert said == ["data=saccade_digits", "threads=3", "data.num_bins=1", "optimizer.lr=0.2", "seed=1"]
    assert task.folder == "/s/runs/digits/a/1"


def test_a_control_has_a_folder_of_its_own():
    cell = Cell("digits", "a", 0, "counts_only")
    assert cell.folder == "controls/counts_only/digits/a/0"
    assert "control=counts_only" in plan().task(cell, {}, 1, merged).overrides
