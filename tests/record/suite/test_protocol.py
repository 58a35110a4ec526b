"""The protocol is made from the records, and says for each arm what is not the same for all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from snnlab.record.suite.table import read_table

from .making import make_run, make_suite


def clauses(folder: Path) -> dict[str, str]:
    return {clause.about: clause.said for clause in read_table(folder).parts[0].protocol}


def test_what_holds_for_all_is_said_once(tmp_path: Path):
    said = clauses(make_suite(tmp_path / "s", {"a": [0.9, 0.8, 0.7], "b": [0.7, 0.7, 0.7]}))
    assert said["runs"] == "6 of 6 completed and tested, 0 failed"
    assert said["seeds"].startswith("0, 1, 2; a seed changes initialisation")
    assert said["split"] == "stratified 0.1 of the training recordings, split_seed 0; hash def"
    assert said["sizes"] == "900 to train, 100 to validate, 200 to test"
    assert said["selection"] == "lowest val loss, of 5 epochs"
    assert said["tuning"] == "none: settings as they are written"
    assert said["clock"] == "320 ms in 8 steps of 40 ms"
    assert said["framing"].startswith("causal")
    assert said["input"] == "counts of events"
    assert said["augmentation"] == "none"
    assert said["readout"] == "li, mean over the steps"
    assert said["training"] == "cross_entropy, Adam lr 0.01, batches of 32"
    assert said["precision"] == "32-true, neurons by numba"
    assert said["devices"] == "a processor, 1 thread"
    assert said["commit"] == "c0ffee" * 6
    assert said["arms"] == "a: neuron=a; b: neuron=b"
    assert said["command"] == "snnlab bench suite=mine"
    assert said["energy"].startswith("estimate, not measured: 4.6 pJ a MAC and 0.9 pJ an AC")
    assert "recordings abc" in said["test set"]


def test_what_differs_is_said_for_each_arm(tmp_path: Path):
    suite = make_suite(tmp_path / "s", {"a": [0.9], "b": [0.8]}, seeds=(0,))
    (suite / "runs/digits/b").rename(suite / "before")
    make_run(suite / "runs/digits/b/0", config={"data": {"num_bins": 1}, "loss": {"over_time": "last"}})
    said = clauses(suite)
    assert said["clock"] == "a: 320 ms in 8 steps of 40 ms; b: 320 ms in 1 step of 320 ms"
    assert said["readout"] == "a: li, mean over the steps; b: li, last over the steps"


@pytest.mark.parametrize(
    ("data", "about", "expected"),
    [
        ({"frames": "binary"}, "input", "binary: whether there is an event"),
        ({"frames": {"type": "rate"}, "downsample": 2}, "input", "rate, downsample 2"),
        ({"bin_by": "count"}, "framing", "not causal: equal parts of the events need all of them"),
        ({"bin_by": "count"}, "clock", "320 ms in 8 steps of equally many events, which have no dt"),
        ({"bin_by": "count", "events_per_bin": 50}, "framing", "causal: a frame holds nothing after its step's end"),
        ({"overlap_ms": 5.0}, "framing", "not causal: a frame has the first 5 ms of the next step"),
        ({"frames": "voxel_grid"}, "framing", "not causal: a frame has events up to 0.5 steps after its end"),
        ({"dt": 10.0, "num_bins": None}, "clock", "320 ms in 32 steps of 10 ms"),
        (
            {"augment": [{"type": "affine", "shift": 2}], "mix": "eventmix"},
            "augmentation",
            "affine (shift 2), mixing eventmix",
        ),
    ],
)
def test_frames_and_their_clock_are_put_into_words(tmp_path: Path, data: dict[str, Any], about: str, expected: str):
    make_run(tmp_path / "x/0_0", config={"data": data})
    assert clauses(tmp_path)[about] == expected


def test_a_search_is_the_tuning_of_a_plain_run(tmp_path: Path):
    make_run(tmp_path / "x/0_0", more={"search": {"trials": 40, "val_size": 100}})
    assert clauses(tmp_path)["tuning"] == "40 trials, judged on 100 validation recordings"


def test_the_budget_says_how_near_each_arm_came(tmp_path: Path):
    matched = {"digits": {"a": {"value": 1000, "off": 1.0, "beyond": False}}}
    page = {"match": {"by": "params", "within": 0.1}}
    suite = make_suite(tmp_path / "s", {"a": [0.9]}, seeds=(0,), page=page, state={"match": matched})
    assert clauses(suite)["budget"] == "params of all arms within 10% of the first arm's; a 1 k (1.00 x)"


def test_the_size_of_a_batch_is_the_one_that_ran_where_the_settings_leave_it_open(tmp_path: Path):
    suite = make_suite(tmp_path / "s", {"a": [0.9]}, seeds=(0,))
    for path, old, new in (
        (suite / "runs/digits/a/0/config.yaml", "  batch_size: 32\n", ""),
        (suite / "runs/digits/a/0/result.json", '"number": 1', '"number": 2, "recordings_per_step": 48'),
    ):
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))
    (part,) = read_table(suite).parts
    assert dict(part.protocol)["training"].endswith("batches of 48")


def test_the_commit_of_an_older_run_is_that_of_its_working_folder(tmp_path: Path):
    suite = make_suite(tmp_path / "s", {"a": [0.9]}, seeds=(0,))
    path = suite / "runs/digits/a/0/result.json"
    page = json.loads(path.read_text())
    del page["provenance"]["working_folder"]
    path.write_text(json.dumps(page))
    assert clauses(suite)["commit"] == "c0ffee" * 6 + ", of the working folder"
