"""Flags of a row: the limitations of its runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from snnlab.experiments.suite_table import read_table

from ..refusals import assert_lines_have
from .making import PROVENANCE, make_run, make_suite


def flags_of(folder: Path, method: str) -> Sequence[str]:
    return next(row.flags for row in read_table(folder).parts[0].rows if row.method == method)


def replaced(suite: Path, place: str, seed: int, **settings: Any) -> None:
    """Replace a run."""
    folder = suite / f"runs/digits/{place}"
    folder.rename(suite / "before")
    make_run(folder, seed, **settings)


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    return make_suite(tmp_path / "s", {"a": [0.9, 0.8], "b": [0.7, 0.6]}, seeds=(0, 1))


def test_a_row_without_limitations_has_no_flag(suite: Path):
    assert flags_of(suite, "a") == []


def test_changes_that_are_not_committed(suite: Path):
    replaced(suite, "a/1", 1, provenance={"git": {**PROVENANCE["git"], "dirty": True}})
    assert flags_of(suite, "a") == ["dirty tree"]


def test_code_of_no_repository(suite: Path):
    replaced(suite, "a/1", 1, provenance={"git": None})
    assert "no commit" in flags_of(suite, "a")


def test_versions_that_are_not_those_of_the_others(suite: Path):
    replaced(suite, "a/1", 1, provenance={"packages": {"torch": "2.0.0"}, "python": "3.12.0"})
    assert_lines_have(flags_of(suite, "a"), ("versions", "python, torch"))
    assert flags_of(suite, "b") == []


def test_other_test_recordings_whichever_way(suite: Path):
    replaced(suite, "a/1", 1, provenance={"data_fingerprint": "other"})
    assert_lines_have(flags_of(suite, "a"), ("other", "test"))
    (suite / "runs/digits/b/0/split.json").write_text(json.dumps({"train": [], "val": [], "test": [1, 2]}))
    assert_lines_have(flags_of(suite, "b"), ("other", "test"))


def test_each_seed_has_other_test_recordings(suite: Path):
    for method in ("a", "b"):
        replaced(suite, f"{method}/1", 1, provenance={"data_fingerprint": "permutation 1"})
        (suite / "before").rename(suite / method)
    assert flags_of(suite, "a") == flags_of(suite, "b") == ["test recordings differ by seed"]


def test_another_validation_split_is_no_other_test(suite: Path):
    replaced(suite, "a/1", 1, provenance={"split_hash": "other"})
    assert flags_of(suite, "a") == []


def test_a_test_of_a_part(suite: Path):
    replaced(suite, "a/0", 0, metrics={"test/recordings": 20.0})
    assert_lines_have(flags_of(suite, "a"), ("tested", "20 of 200"))


@pytest.mark.parametrize(
    ("limits", "flags"),
    [
        ({"limit_train_batches": 3}, ["trained on a part: limit_train_batches=3"]),
        ({"limit_train_batches": 1, "limit_val_batches": 0.5}, ["limit_train_batches=1", "limit_val_batches=0.5"]),
        ({"limit_train_batches": 1.0, "limit_val_batches": None}, []),
    ],
)
def test_a_training_with_a_part_of_its_recordings(suite: Path, limits: dict[str, Any], flags: list[str]):
    replaced(suite, "a/1", 1, config={"trainer": limits})
    found = flags_of(suite, "a")
    assert len(found) == len(flags)
    assert all(one.endswith(words) for one, words in zip(found, flags, strict=True))


def test_methods_that_were_not_tuned_where_others_were(tmp_path: Path):
    suite = make_suite(tmp_path / "s", {"a": [0.9], "b": [0.7]}, seeds=(0,), page={"tune": {"trials": 10}})
    state = json.loads((suite / "suite.json").read_text())
    state["cells"][0]["tuned"] = {"trials": 10, "val_size": 100, "values": {}}
    (suite / "suite.json").write_text(json.dumps(state))
    assert flags_of(suite, "a") == []
    assert flags_of(suite, "b") == ["untuned"]


def test_a_method_off_its_budget(tmp_path: Path):
    matched = {
        "digits": {"a": {"value": 10, "off": 1.0, "beyond": False}, "b": {"value": 5, "off": 0.5, "beyond": True}}
    }
    page = {"match": {"by": "wall_time", "within": 0.1}}
    suite = make_suite(tmp_path / "s", {"a": [0.9], "b": [0.7]}, seeds=(0,), page=page, state={"match": matched})
    assert flags_of(suite, "a") == []
    assert_lines_have(flags_of(suite, "b"), ("budget: 0.50 x", "wall time"))


def test_a_control_is_no_result(suite: Path):
    replaced(suite, "a/0", 0, more={"control": "shuffled_labels"})
    assert_lines_have(flags_of(suite, "a"), ("control shuffled_labels",))
