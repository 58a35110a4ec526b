"""The protocol is generated from the records, and states per method what differs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from snnlab.experiments.suite_table import read_table

from ..refusals import assert_text_has
from .making import make_run, make_suite


def protocol_texts(folder: Path) -> dict[str, str]:
    return {entry.about: entry.said for entry in read_table(folder).parts[0].protocol}


def test_what_holds_for_all_is_stated_once(tmp_path: Path):
    said = protocol_texts(make_suite(tmp_path / "s", {"a": [0.9, 0.8, 0.7], "b": [0.7, 0.7, 0.7]}))
    assert_text_has(said["runs"], "6 of 6 completed", "0 failed")
    assert_text_has(said["seeds"], "0, 1, 2", "initialization")
    assert_text_has(said["split"], "stratified 0.1", "split_seed 0")
    assert_text_has(said["sizes"], "900 to train", "100 to validate", "200 to test")
    assert_text_has(said["selection"], "lowest val", "5 epochs")
    assert_text_has(said["tuning"], "none")
    assert_text_has(said["clock"], "320 ms", "8 steps", "40 ms")
    assert said["framing"].startswith("causal")
    assert_text_has(said["input"], "counts")
    assert said["augmentation"] == "none"
    assert_text_has(said["readout"], "li, mean")
    assert_text_has(said["training"], "cross_entropy", "Adam", "lr 0.01", "batches of 32")
    assert_text_has(said["precision"], "32-true", "numba")
    assert said["devices"] == "a processor, 1 thread"
    assert said["commit"] == "c0ffee" * 6
    assert said["methods"] == "a: neuron=a; b: neuron=b"
    assert said["command"] == "snnlab bench suite=mine"
    assert_text_has(said["energy"], "estimate", "4.6 pJ a MAC", "0.9 pJ an AC")
    assert_text_has(said["test set"], "abc")


def test_differences_are_stated_per_method(tmp_path: Path):
    suite = make_suite(tmp_path / "s", {"a": [0.9], "b": [0.8]}, seeds=(0,))
    (suite / "runs/digits/b").rename(suite / "before")
    make_run(suite / "runs/digits/b/0", config={"data": {"num_bins": 1}, "loss": {"readout": "last"}})
    said = protocol_texts(suite)
    assert_text_has(said["clock"], "a: 320 ms", "8 steps", "b: 320 ms", "1 step")
    assert_text_has(said["readout"], "a: li, mean", "b: li, last")


@pytest.mark.parametrize(
    ("data", "about", "expected"),
    [
        ({"representation": "binary"}, "input", ("binary",)),
        ({"representation": {"type": "rate"}, "downsample": 2}, "input", ("downsample 2",)),
        ({"bin_by": "count"}, "framing", ("not causal",)),
        ({"bin_by": "count"}, "clock", ("320 ms", "8 steps", "no dt")),
        ({"bin_by": "count", "events_per_bin": 50}, "framing", ("causal: a frame",)),
        ({"overlap_ms": 5.0}, "framing", ("not causal", "first 5 ms")),
        ({"representation": "voxel_grid"}, "framing", ("not causal", "0.5 steps")),
        ({"dt": 10.0, "num_bins": None}, "clock", ("320 ms", "32 steps", "10 ms")),
        (
            {"augment": [{"type": "affine", "shift": 2}], "mix": "eventmix"},
            "augmentation",
            ("affine (shift 2)", "eventmix"),
        ),
    ],
)
def test_frames_and_time_steps_are_described(tmp_path: Path, data: dict[str, Any], about: str, expected: tuple):
    make_run(tmp_path / "x/0_0", config={"data": data})
    assert_text_has(protocol_texts(tmp_path)[about], *expected)


def test_a_search_is_the_tuning_of_a_plain_run(tmp_path: Path):
    make_run(tmp_path / "x/0_0", more={"search": {"trials": 40, "val_size": 100}})
    assert_text_has(protocol_texts(tmp_path)["tuning"], "40 trials", "100 validation")


def test_the_budget_says_how_near_each_method_came(tmp_path: Path):
    matched = {"digits": {"a": {"value": 1000, "off": 1.0, "beyond": False}}}
    page = {"match": {"by": "params", "within": 0.1}}
    suite = make_suite(tmp_path / "s", {"a": [0.9]}, seeds=(0,), page=page, state={"match": matched})
    assert_text_has(protocol_texts(suite)["budget"], "within 10%", "a 1 k", "1.00 x")


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
    assert_text_has(dict(part.protocol)["training"], "batches of 48")


def test_the_commit_of_an_older_run_is_that_of_its_working_folder(tmp_path: Path):
    suite = make_suite(tmp_path / "s", {"a": [0.9]}, seeds=(0,))
    path = suite / "runs/digits/a/0/result.json"
    page = json.loads(path.read_text())
    del page["provenance"]["working_folder"]
    path.write_text(json.dumps(page))
    assert_text_has(protocol_texts(suite)["commit"], "c0ffee" * 6, "working folder")
