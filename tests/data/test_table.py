from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from snnlab.data.sources.label_table import Entry, discover_table
from snnlab.data.splits import TEST, TRAIN, VAL
from snnlab.errors import DataError

from ..refusals import assert_lines_have, assert_raises


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def table(root: Path, text: str) -> Path:
    touch(root, "a.npy", "b.npy")
    (root / "labels.csv").write_text(text)
    return root / "labels.csv"


def test_a_table_lists_recordings_and_parts_of_them(tmp_path: Path) -> None:
    head = "path, label, start_ms, end_ms, group, split\n"
    path = table(
        tmp_path, head + "a.npy, wave, 0, 500, anna, train\na.npy, clap, 500.5,, anna, Train\nb.npy,wave,,,,test\n"
    )
    assert discover_table(tmp_path, path).entries == [
        Entry(tmp_path / "a.npy", "wave", 0.0, 500.0, "anna", TRAIN),
        Entry(tmp_path / "a.npy", "clap", 500.5, math.inf, "anna", TRAIN),
        Entry(tmp_path / "b.npy", "wave", part=TEST),
    ]


def test_unused_columns_are_named(tmp_path: Path) -> None:
    found = discover_table(tmp_path, table(tmp_path, "camera,label,path,,value\nleft,1,a.npy,,3\n"))
    assert len(found.entries) == 1
    assert_lines_have(found.notes, ("columns", "camera, value"))
    assert discover_table(tmp_path, table(tmp_path, "label,path,split\n1,a.npy,val\n")).notes == []


@pytest.mark.parametrize("name", ["user", "Subject", "person", "participant", "speaker", "session"])
def test_an_unused_column_of_people_is_an_error(name: str, tmp_path: Path) -> None:
    text = f"path,label,{name}\na.npy,1,anna\nb.npy,2,ben\n"
    with assert_raises(DataError, "data.labels", "group", "data.group_by", name, name):
        discover_table(tmp_path, table(tmp_path, text))
    assert [entry.group for entry in discover_table(tmp_path, table(tmp_path, text), group_by=name).entries] == [
        "anna",
        "ben",
    ]
    assert [entry.group for entry in discover_table(tmp_path, table(tmp_path, text), group_by="path").entries] == [
        None
    ] * 2
    # If the table has a split or groups itself, no group can be divided.
    by_hand = f"path,label,{name},split\na.npy,1,anna,train\nb.npy,2,ben,val\n"
    assert_lines_have(discover_table(tmp_path, table(tmp_path, by_hand)).notes, ("columns", name))
    by_group = f"path,label,{name},group\na.npy,1,anna,x\n"
    assert_lines_have(discover_table(tmp_path, table(tmp_path, by_group)).notes, ("columns", name))


def test_a_missing_column_to_group_by_is_named(tmp_path: Path) -> None:
    with assert_raises(DataError, "data.group_by", "user"):
        discover_table(tmp_path, table(tmp_path, "path,label,user\na.npy,1,anna\n"), group_by="usr")


def test_the_names_of_parts(tmp_path: Path) -> None:
    rows = "".join(
        f"a.npy,1,{10 * n},{10 * n + 5},{word}\n" for n, word in enumerate(("train", "VALID", "val", "test"))
    )
    found = discover_table(tmp_path, table(tmp_path, "path,label,start_ms,end_ms,split\n" + rows))
    assert [entry.part for entry in found.entries] == [TRAIN, VAL, VAL, TEST]


@pytest.mark.parametrize(
    ("text", "message_parts"),
    [
        ("", ("data.labels", "column")),
        ("path,lable\na.npy,1\n", ("data.labels", "lable")),
        ("path,label,start\na.npy,1,0\n", ("data.labels", "start_ms")),
        ("path,label\n", ("data.labels", "recordings")),
        ("path,label\na.npy,1\nc.npy,1\n", ("labels.csv, line 3", 3, "c.npy")),
        ("path,label\n,1\n", ("labels.csv, line 2", 2)),
        ("path,label\na.npy,\n", ("labels.csv, line 2", 2)),
        ("path,label,end_ms\na.npy,1,soon\n", ("labels.csv, line 2", 2, "end_ms")),
        ("path,label,start_ms,end_ms\na.npy,1,5,5\n", ("labels.csv, line 2", 2, "start_ms", 5, 0, "end_ms")),
        ("path,label,split\na.npy,1,vla\n", ("labels.csv, line 2", 2)),
    ],
)
def test_a_table_that_cannot_be_used_is_named_by_its_line(text: str, message_parts: tuple, tmp_path: Path) -> None:
    with assert_raises(DataError, *message_parts):
        discover_table(tmp_path, table(tmp_path, text))


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    with assert_raises(DataError, "data.labels", "none.csv"):
        discover_table(tmp_path, tmp_path / "none.csv")


def test_a_table_of_values_needs_no_labels(tmp_path: Path) -> None:
    path = table(tmp_path, "path,value_x,end_ms,value_y,note\na.npy,1.5,,-2e3,7\na.npy,0,50,1,8\n")
    assert discover_table(tmp_path, path, "value").entries == [
        Entry(tmp_path / "a.npy", "", values={"value_x": 1.5, "value_y": -2000.0}),
        Entry(tmp_path / "a.npy", "", end_ms=50.0, values={"value_x": 0.0, "value_y": 1.0}),
    ]


@pytest.mark.parametrize(
    ("text", "message_parts"),
    [
        (
            "path,label\na.npy,1\n",
            ("data.labels", "value_NAME"),
        ),
        ("path,values\na.npy,1\n", ("data.labels", "values")),
        ("path,value\na.npy,fast\n", ("labels.csv, line 2", 2)),
        ("path,value\na.npy,\n", ("labels.csv, line 2", 2)),
        ("path,value\na.npy,inf\n", ("labels.csv, line 2", 2)),
        ("path,value\na.npy,1e39\n", ("labels.csv, line 2", 2, "1e39")),
        ("path,value\na.npy,1\na.npy,2\n", ("", "line", 3, "a.npy", 2)),
        ("path,value,value\na.npy,1,2\n", ("data.labels", "column")),
    ],
)
def test_values_that_cannot_be_used_are_named_by_their_line(text: str, message_parts: tuple, tmp_path: Path) -> None:
    with assert_raises(DataError, *message_parts):
        discover_table(tmp_path, table(tmp_path, text), "value")


def test_a_table_of_values_without_labels_names_the_setting(tmp_path: Path) -> None:
    with assert_raises(DataError, "data.labels", "data.targets=value"):
        discover_table(tmp_path, table(tmp_path, "path,value_x\na.npy,1\n"))


@pytest.mark.parametrize(
    ("lines", "message_parts"),
    [
        ("a.npy,1,50,90,,\nb.npy,1,0,90,,\na.npy,2,0,51,,\n", ("", "line", 2, 50, 4, 51)),
        ("a.npy,1,0,,,\na.npy,2,90,,,\n", ("", "line", 3, 2)),
        ("a.npy,1,0,50,anna,\na.npy,2,50,90,ben,\n", ("", "line", 3, 2)),
        ("a.npy,1,0,50,,train\na.npy,2,50,90,,test\n", ("", "line", 3, 2)),
    ],
)
def test_labels_over_time_that_contradict_each_other_are_named(
    lines: str, message_parts: tuple, tmp_path: Path
) -> None:
    text = "path,label,start_ms,end_ms,group,split\n" + lines
    with assert_raises(DataError, *message_parts):
        discover_table(tmp_path, table(tmp_path, text), "steps")


def test_the_gaps_of_all_lines_are_reported_together(tmp_path: Path) -> None:
    rows = ["a.npy,wave", "b.npy,", ",wave", "c.npy,clap", "b.npy,", *[f"d{number}.npy,clap" for number in range(12)]]
    path = table(tmp_path, "path,label\n" + "".join(f"{row}\n" for row in rows))
    with assert_raises(DataError, "data.labels", path, "16 lines", "line 3, 6", "line 4", "line 5", "c.npy", "5 more"):
        discover_table(tmp_path, path)


@pytest.mark.parametrize("targets", ["class", "steps"])
@pytest.mark.parametrize(("name", "word"), [("end_ms", "1e300"), ("start_ms", "9.3e15"), ("start_ms", "-1e300")])
def test_a_time_that_no_recording_reaches_is_refused(tmp_path: Path, targets: Any, name: str, word: str) -> None:
    path = table(tmp_path, f"path,label,{name}\na.npy,1,{word}\n")
    with assert_raises(DataError, f"{path}, line 2", name, word):
        discover_table(tmp_path, path, targets)


def test_rows_are_separated_as_spreadsheets_do(tmp_path: Path) -> None:
    for mark in ";\t":
        path = table(tmp_path, f"path{mark}label{mark}end_ms\na.npy{mark}wave, slow{mark}5\n")
        assert discover_table(tmp_path, path).entries == [Entry(tmp_path / "a.npy", "wave, slow", end_ms=5.0)]


def test_all_mistakes_of_a_table_are_in_one_list(tmp_path: Path) -> None:
    head = "path,label,start_ms,end_ms,split\n"
    rows = "a.npy,1,0,50,\na.npy,2,40,90,\nb.npy,1,5,soon,vla\na.npy,1,0,50,\n,,,,\n"
    with assert_raises(DataError, "data.labels", "4 lines", "line 3", 40, 50, "line 4", "soon", "vla", "line 5", "6"):
        discover_table(tmp_path, table(tmp_path, head + rows), "steps")


def test_skipped_rows_are_counted_and_of_two_that_contradict_the_later_goes(tmp_path: Path) -> None:
    head = "path,label,start_ms,end_ms\n"
    rows = "a.npy,1,0,50\na.npy,2,40,90\na.npy,3,50,70\nb.npy,1,soon,\na.npy,4,0,50\n"
    found = discover_table(tmp_path, table(tmp_path, head + rows), "steps", on_bad="skip")
    assert [(entry.label, entry.start_ms, entry.end_ms) for entry in found.entries] == [("1", 0, 50), ("3", 50, 70)]
    assert_lines_have(found.notes, ("data.on_bad=skip", "3 lines", "line 3", "line 5", "line 6"))


def test_a_table_of_which_no_row_can_be_used_says_why(tmp_path: Path) -> None:
    with assert_raises(DataError, "data.labels", "no recordings", "line 2", "c.npy"):
        discover_table(tmp_path, table(tmp_path, "path,label\nc.npy,1\n"), on_bad="skip")


def test_overlaps_and_time_without_a_label_are_named(tmp_path: Path) -> None:
    head = "path,label,start_ms,end_ms\n"
    rows = "a.npy,1,10,100\na.npy,2,20,30\na.npy,3,90,130\na.npy,4,150,\nb.npy,1,7,9\n"
    notes = discover_table(tmp_path, table(tmp_path, head + rows)).notes
    assert_lines_have(
        notes,
        ("more than once", "20 ms", "1 file", "a.npy", "20 to 30"),
        ("without a label", "37 ms", "2 files", "a.npy", "130 to 150"),
    )
    assert discover_table(tmp_path, table(tmp_path, head + "a.npy,1,0,10\na.npy,2,10,\n")).notes == []
