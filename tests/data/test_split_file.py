"""A split that a file gives."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from snnlab.data.splits import read_split
from snnlab.errors import DataError

from ..refusals import assert_raises, assert_text_has

NAMES = ["data/a/0.npy", "data/a/1.npy", "data/b/0.npy", "data/b/2.npy"]
NO_TEST = np.zeros(4, np.uint8)


def _write(tmp_path: Path, text: str, name: str = "split.csv") -> Path:
    path = tmp_path / name
    path.write_text(text)
    return path


def test_a_table_names_recordings_by_the_end_of_their_path_or_their_number(tmp_path: Path) -> None:
    path = _write(tmp_path, "recording,split\na/0.npy,train\n2.npy, test\n1,val\n")
    split = read_split(path, NAMES, NO_TEST)
    assert (split.train.tolist(), split.val.tolist(), split.test.tolist()) == ([0], [1], [3])
    assert_text_has(split.rule, "split.csv")


def test_the_record_of_a_run_is_such_a_file(tmp_path: Path) -> None:
    first = read_split(_write(tmp_path, "recording,split\n0,train\n1,train\n2,val\n3,test\n"), NAMES, NO_TEST)
    again = read_split(_write(tmp_path, json.dumps(first.as_record()), "split.json"), NAMES, NO_TEST)
    assert again.hash == first.hash


def test_bad_recordings_are_in_no_part_of_a_split_file(tmp_path: Path) -> None:
    path = _write(tmp_path, "recording,split\n0,train\n1,train\n2,val\n3,test\n")
    assert read_split(path, NAMES, NO_TEST, bad=[1, 3]).as_record() | {"hash": ""} == {
        "rule": read_split(path, NAMES, NO_TEST).rule,
        "hash": "",
        "train": [0],
        "val": [2],
        "test": [],
    }


def test_the_datasets_test_recordings_are_for_testing_only(tmp_path: Path) -> None:
    parts = np.array([0, 0, 1, 1], np.uint8)
    with assert_raises(DataError, "data.split_file", "data/b/0.npy", "data.test_groups"):
        read_split(_write(tmp_path, "recording,split\n0,train\n2,val\n"), NAMES, parts)
    split = read_split(_write(tmp_path, "recording,split\n0,train\n1,val\n3,test\n"), NAMES, parts)
    assert split.test.tolist() == [3]


def test_a_group_is_not_divided(tmp_path: Path) -> None:
    path = _write(tmp_path, "recording,split\n0,train\n1,val\n2,train\n3,test\n")
    with assert_raises(DataError, "data.split_file", "data/a/0.npy", "train", "val", "data.on_bad=skip"):
        read_split(path, NAMES, NO_TEST, groups=np.array([0, 0, 1, 2]))
    with assert_raises(DataError, "data.split_file", "data/a/0.npy", "train", "test", 2):
        read_split(path, NAMES, NO_TEST, groups=np.array([0, 1, 1, 0]))
    kept = read_split(path, NAMES, NO_TEST, groups=np.array([0, 0, 1, 2]), on_bad="skip")
    assert (kept.train.tolist(), kept.val.tolist(), kept.test.tolist()) == ([2], [1], [3])
    assert "1 recordings" in kept.rule
    two = _write(tmp_path, "recording,split\n0,train\n1,val\n2,val\n3,test\n", "two.csv")
    kept = read_split(two, NAMES, NO_TEST, groups=np.array([0, 1, 2, 1]), on_bad="skip")
    assert (kept.train.tolist(), kept.val.tolist(), kept.test.tolist()) == ([0], [2], [3])
    with assert_raises(DataError, "data.split_file", "training"):
        read_split(two, NAMES, NO_TEST, groups=np.array([1, 1, 2, 1]), on_bad="skip")
    assert read_split(path, NAMES, NO_TEST, groups=np.array([0, 1, 0, 2])).train.tolist() == [0, 2]
    assert read_split(path, NAMES, NO_TEST, [1], groups=np.array([0, 0, 1, 2])).val.size == 0  # what is bad is in none


@pytest.mark.parametrize(
    ("text", "message_parts"),
    [
        ("recording,part\n0,train\n", ("data.split_file", "recording", "split")),
        ("recording,split\n0,train\n1,trian\n", ("data.split_file", "split", "trian")),
        ("recording,split\n0,train\n0.npy,val\n", ("data.split_file", "0.npy", "2")),
        ("recording,split\n0,train\na/7.npy,val\n", ("data.split_file", "a/7.npy", "a/1.npy")),
        ("recording,split\n0,train\n4,val\n", ("data.split_file", "3", "4")),
        ("recording,split\n0,train\na/0.npy,val\n", ("data.split_file", "data/a/0.npy", "twice")),
        ("recording,split\n0,val\n", ("data.split_file", "training")),
    ],
)
def test_invalid_columns_are_named(tmp_path: Path, text: str, message_parts: tuple) -> None:
    with assert_raises(DataError, *message_parts):
        read_split(_write(tmp_path, text), NAMES, NO_TEST)


@pytest.mark.parametrize(
    ("text", "message_parts"),
    [
        ("{}", ("lists", "train", "val", "test")),
        ("[]", ("lists", "train", "val", "test")),
        ('{"train": [0, 0], "val": [], "test": []}', ("twice",)),
        ('{"train": [0], "val": [0], "test": []}', ("twice",)),
        ('{"train": [9], "val": [], "test": []}', (9, 4)),
    ],
)
def test_lists_that_cannot_be_used_are_named(tmp_path: Path, text: str, message_parts: tuple) -> None:
    with assert_raises(DataError, "data.split_file", *message_parts):
        read_split(_write(tmp_path, text, "split.json"), NAMES, NO_TEST)


def test_a_missing_file_in_a_table_is_named(tmp_path: Path) -> None:
    with assert_raises(DataError, "data.split_file", tmp_path / "none.csv"):
        read_split(tmp_path / "none.csv", NAMES, NO_TEST)


def test_the_mistakes_of_all_lines_are_reported_together(tmp_path: Path) -> None:
    path = _write(tmp_path, "recording,split\n0,train\n1,trian\n99,test\n2,\n")
    with assert_raises(DataError, "data.split_file", path, "3 lines", "line 3", "trian", "line 4", 99, "line 5"):
        read_split(path, [f"{number}.npy" for number in range(9)], np.zeros(9, np.uint8))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", "[" * 100_000),
        ("a.json", '{"train": [1000000000000000000000000], "val": [], "test": []}'),
        ("a.csv", "recording,split\n" + 5000 * "9" + ",train\n"),
        ("a.csv", 'recording,split\n"' + 200_000 * "a" + '",train\n'),
    ],
)
def test_a_split_file_of_another_form_is_refused(tmp_path: Path, name: str, text: str) -> None:
    path = _write(tmp_path, text, name)
    with pytest.raises(DataError) as caught:
        read_split(path, ["0.npy", "1.npy"], np.zeros(2, np.uint8))
    assert caught.value.key == "data.split_file"
