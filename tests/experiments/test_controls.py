"""Verdicts of controls: equal runs pass, deviations fail, luck has no verdict."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from snnlab.experiments.controls import judge_controls, renaming_p_value
from snnlab.experiments.suite_plan import RunSpec
from snnlab.experiments.suite_state import RunState, SuiteState
from snnlab.files import load_arrays, write_json
from snnlab.runs.recorded import read_run

from ..refusals import assert_text_has
from .conftest import write_run

REFERENCE = RunSpec("digits", "a", 0)
PERMUTED = RunSpec("digits", "a", 0, "permuted_test_labels")


@pytest.fixture
def suite_state(tmp_path: Path) -> SuiteState:
    """Return a suite of a control with permuted test labels and its reference run, equal before the test."""
    for cell, accuracy in ((REFERENCE, 0.9), (PERMUTED, 0.25)):
        folder = tmp_path / cell.folder
        write_run(folder, accuracy, 4, **{"val/accuracy": 0.8})
        save(folder, 1.0)
    return SuiteState(tmp_path, {cell: RunState("completed") for cell in (REFERENCE, PERMUTED)})


def save(folder: Path, weight: float) -> None:
    (folder / "checkpoints").mkdir(exist_ok=True)
    torch.save({"state_dict": {"network.fc.weight": torch.full((2, 2), weight)}}, folder / "checkpoints" / "best.ckpt")


def change(folder: Path, part: str, key: str, value: Any) -> None:
    page: Any = read_run(folder).content
    page[part][key] = value
    write_json(folder / "result.json", page)


def test_what_is_the_same_before_the_test_passes(suite_state: SuiteState):
    (said,) = judge_controls(suite_state, [])
    assert said["passed"] is True
    assert_text_has(said["said"], "epoch 3", "25.0%", "90.0%")


@pytest.mark.parametrize(
    ("breaks", "words"),
    [
        (lambda folder: change(folder, "selection", "epoch", 1), ("chosen",)),
        (lambda folder: change(folder, "metrics", "val/accuracy", 0.81), ("validation",)),
        (lambda folder: save(folder, 1.5), ("weights",)),
    ],
)
def test_test_labels_that_change_what_comes_before_fail(
    suite_state: SuiteState, breaks: Callable[[Path], None], words: tuple
):
    breaks(suite_state.folder / PERMUTED.folder)
    (said,) = judge_controls(suite_state, [])
    assert said["passed"] is False
    assert_text_has(said["said"], *words)


def test_a_verdict_stands_until_one_of_the_two_is_trained_again(suite_state: SuiteState):
    suite_state.controls = judge_controls(suite_state, [])
    save(suite_state.folder / PERMUTED.folder, 1.5)
    assert judge_controls(suite_state, []) == suite_state.controls
    for trained in (REFERENCE, PERMUTED):
        assert judge_controls(suite_state, [trained])[0]["passed"] is False


def test_renaming_classes_gives_the_p_value_of_an_accuracy():
    targets = np.repeat(np.arange(4), 10)
    assert renaming_p_value(targets, np.eye(4)[targets]) == pytest.approx(1 / 24, abs=0.01)
    assert renaming_p_value(targets, np.eye(4)[(targets + 1) % 4]) == pytest.approx(
        9 / 24, abs=0.02
    )  # never right: 9 of 24
    assert renaming_p_value(targets % 2, np.eye(2)[targets % 2]) == pytest.approx(0.5, abs=0.02)
    many = np.repeat(np.arange(10), 10)
    assert renaming_p_value(many, np.eye(10)[many]) < 0.01


SHUFFLED = RunSpec("digits", "a", 0, "shuffled_labels")
SHUFFLED_TIME = RunSpec("digits", "a", 0, "shuffled_time")


def shuffled(tmp_path: Path, accuracy: float, classes: int, repeats: int = 1) -> dict[str, Any]:
    """Return the verdict of a control of shuffled labels whose network has this test accuracy."""
    for cell, right in ((REFERENCE, 0.9), (SHUFFLED, accuracy)):
        write_run(tmp_path / cell.folder, right, classes)
        path = tmp_path / cell.folder / "predictions.npz"
        arrays = load_arrays(path)
        np.savez(path, **{**arrays, "test_recording": np.arange(len(arrays["test_target"])) // repeats})
    (said,) = judge_controls(SuiteState(tmp_path, {cell: RunState("completed") for cell in (REFERENCE, SHUFFLED)}), [])
    return said


def test_shuffled_labels_at_chance_pass(tmp_path: Path):
    assert shuffled(tmp_path, 0.27, 4)["passed"] is True


def test_far_below_chance_is_no_pass(tmp_path: Path):
    said = shuffled(tmp_path, 0.025, 2)
    assert said["passed"] is None
    assert_text_has(said["said"], "cannot", "run")


def test_far_above_chance_fails_where_renamed_classes_do_not_explain_it(tmp_path: Path):
    assert shuffled(tmp_path, 0.9, 8)["passed"] is False
    assert shuffled(tmp_path / "two", 0.9, 2)["passed"] is None


def test_windows_of_a_recording_are_no_more_evidence_than_the_recording(tmp_path: Path):
    assert shuffled(tmp_path, 0.4, 4)["passed"] is not True
    assert shuffled(tmp_path / "windows", 0.4, 4, repeats=20)["passed"] is True


def test_what_timing_is_worth_has_an_interval(tmp_path: Path):
    for cell, right in ((REFERENCE, 0.9), (SHUFFLED_TIME, 0.5)):
        write_run(tmp_path / cell.folder, right, 4)
    (said,) = judge_controls(
        SuiteState(tmp_path, {cell: RunState("completed") for cell in (REFERENCE, SHUFFLED_TIME)}), []
    )
    assert said["passed"] is None
    low, high = re.findall(r"95 % interval ([-+.0-9]+) to ([-+.0-9]+)", said["said"])[0]
    assert 25 < float(low) < 40 < float(high) < 55
