"""A user's own recordings: folders and tables of synthetic files."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from snnlab.data.events import open_or_build
from snnlab.data.sources.folder import Folder
from snnlab.errors import ConfigError, DataError
from snnlab.target_kinds import NO_END

from ...refusals import assert_lines_have, assert_raises, assert_text_has

SENSOR = (16, 12, 2)


def write(path: Path, seed: int, at: int = 0, ms: int = 100) -> None:
    """Write 400 events in a band of rows at `at`."""
    rng = np.random.default_rng(seed)
    t = np.sort(rng.integers(0, 1000 * ms, 400)) + 7_000_000
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, np.array([rng.integers(0, 16, 400), at + rng.integers(0, 4, 400), t, rng.integers(0, 2, 400)]).T)


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    for number in range(10):
        for at, name in ((0, "up"), (8, "down")):
            write(tmp_path / "mine" / name / f"{number}.npy", 2 * number + at, at)
    return tmp_path / "mine"


def table(root: Path, *lines: str) -> Path:
    for number in range(4):
        write(root / f"{number}.npy", number, ms=1000)
    (root / "labels.csv").write_text("\n".join(["path,label,start_ms,end_ms,group,split", *lines]) + "\n")
    return root


def test_folders_become_classes_in_order_and_a_fifth_of_each_is_for_testing(classes: Path) -> None:
    folder = Folder(str(classes), SENSOR)
    assert (folder.class_names, folder.num_classes, len(folder)) == (["down", "up"], 2, 20)
    assert np.bincount(folder.targets[folder.split == 1]).tolist() == [2, 2]
    assert folder.groups is None
    assert_lines_have(folder.notes, ("20 recordings", classes, 4, "0 down, 1 up"))
    assert (Folder(str(classes), SENSOR).split == folder.split).all()


def test_numbers_are_classes_in_the_order_of_their_values(tmp_path: Path) -> None:
    for name in ("10", "9", "2"):
        write(tmp_path / name / "a.npy", 0)
        write(tmp_path / name / "b.npy", 1)
    assert Folder(str(tmp_path), SENSOR).class_names == ["2", "9", "10"]


def test_parts_of_a_recording_begin_at_0_and_hold_their_events_alone(tmp_path: Path) -> None:
    lines = ("0.npy,a,0,250,,", "0.npy,b,250,,,", "1.npy,a,,,,", "2.npy,b,,,,", "3.npy,a,,,,")
    folder = Folder(str(table(tmp_path, *lines)), SENSOR, labels="labels.csv", test_fraction=0.3)
    first, second = folder.read(0), folder.read(1)
    whole = np.load(tmp_path / "0.npy")[:, 2]
    t = whole - whole[0]
    assert first.t.tolist() == t[t < 250_000].tolist()
    assert (second.t + 250_000).tolist() == t[t >= 250_000].tolist()
    assert_text_has(folder.name(1), tmp_path / "0.npy", "inf")


def test_parts_of_one_recording_and_members_of_a_group_stay_together(tmp_path: Path) -> None:
    parts = [f"{n}.npy,{label},{50 * k},{50 * k + 50},," for n in range(4) for k, label in enumerate("abab")]
    folder = Folder(str(table(tmp_path, *parts)), SENSOR, labels="labels.csv", test_fraction=0.25)
    assert folder.groups is not None
    assert [np.unique(folder.split[folder.groups == group]).size for group in range(4)] == [1, 1, 1, 1]
    people = ["0.npy,a,,,anna,", "1.npy,b,,,anna,", "2.npy,a,,,ben,", "3.npy,b,,,ben,"]
    folder = Folder(str(table(tmp_path, *people)), SENSOR, labels="labels.csv", test_fraction=0.5)
    assert folder.groups is not None
    assert folder.groups.tolist() == [0, 0, 1, 1]
    assert sorted(folder.split.tolist()) == [0, 0, 1, 1]
    assert folder.split[0] == folder.split[1]


def test_a_tables_own_split_is_kept(tmp_path: Path) -> None:
    lines = ["0.npy,a,,,,train", "1.npy,b,,,,train", "2.npy,a,,,,test", "3.npy,b,,,,test"]
    assert Folder(str(table(tmp_path, *lines)), SENSOR, labels="labels.csv").split.tolist() == [0, 0, 1, 1]
    lines[1] = "1.npy,b,,,,"
    with assert_raises(DataError, "data.labels", 1, 4):
        Folder(str(table(tmp_path, *lines)), SENSOR, labels="labels.csv")


def test_a_part_without_events_is_named_with_the_time_of_the_last_event(tmp_path: Path) -> None:
    lines = ("0.npy,a,5000,6000,,", "1.npy,b,,,,", "2.npy,a,,,,")
    folder = Folder(str(table(tmp_path, *lines)), SENSOR, labels="labels.csv", test_fraction=0)
    with assert_raises(DataError, "0.npy (5000 to 6000 ms)", 0, 5000, 6000):
        folder.read(0)


@pytest.mark.parametrize(
    "change",
    [
        lambda root: write(root / "up" / "0.npy", 99),
        lambda root: write(root / "up" / "new.npy", 1),
        lambda root: (root / "up" / "0.npy").rename(root / "down" / "x.npy"),
    ],
)
def test_other_recordings_have_another_fingerprint(change: Callable[[Path], Any], classes: Path) -> None:
    before = Folder(str(classes), SENSOR).fingerprint()
    change(classes)
    assert Folder(str(classes), SENSOR).fingerprint() != before


@pytest.mark.parametrize("setting", [{"time_unit": "ms"}, {"sort": True}, {"time_origin": "zero"}])
def test_another_reading_has_another_fingerprint(setting: dict[str, Any], classes: Path) -> None:
    assert Folder(str(classes), SENSOR, **setting).fingerprint() != Folder(str(classes), SENSOR).fingerprint()


@pytest.mark.long
def test_it_can_be_pickled_and_packs_the_same_in_reading_processes(classes: Path, tmp_path: Path) -> None:
    folder = Folder(str(classes), SENSOR)
    folder.read(3)
    assert pickle.loads(pickle.dumps(folder)).fingerprint() == folder.fingerprint()
    here, there = (open_or_build(folder, tmp_path / str(workers), workers=workers) for workers in (0, 2))
    assert here.fingerprint == there.fingerprint


@pytest.mark.parametrize("part", ["", "0,250"])
def test_an_unsorted_file_is_refused_with_a_hint(part: str, tmp_path: Path) -> None:
    start, _, end = part.partition(",")
    root = table(tmp_path, f"0.npy,a,{start},{end},,", "1.npy,b,,,,", "2.npy,a,,,,")
    rows = np.load(root / "0.npy")
    np.save(root / "0.npy", rows[::-1])
    settings: dict[str, Any] = {"labels": "labels.csv", "test_fraction": 0}
    with assert_raises(DataError, "0.npy", 0, 1, "data.sort=true", "data.columns"):
        Folder(str(root), SENSOR, **settings).read(0)
    assert Folder(str(root), SENSOR, sort=True, **settings).read(0).t[0] == 0


def test_values_are_targets_with_names_and_no_strata(tmp_path: Path) -> None:
    table(tmp_path)
    lines = [f"{n}.npy,{n / 2},{-n}" for n in range(4)]
    (tmp_path / "values.csv").write_text("\n".join(["path,value_x,value_y", *lines]))
    folder = Folder(str(tmp_path), SENSOR, labels="values.csv", test_fraction=0.25, targets="value")
    assert folder.targets.dtype == np.float32
    assert folder.targets.tolist() == [[n / 2, -n] for n in range(4)]
    assert (folder.class_names, folder.num_classes) == (["x", "y"], 2)
    assert folder.split.sum() == 1
    assert "values: 0 x, 1 y" in folder.notes[0]
    store = open_or_build(folder, tmp_path / "stores")
    np.testing.assert_array_equal(store.targets, folder.targets)
    (tmp_path / "values.csv").write_text("\n".join(["path,value_x,value_y", *lines[:-1], "3.npy,9,9"]))
    changed = Folder(str(tmp_path), SENSOR, labels="values.csv", test_fraction=0.25, targets="value")
    assert open_or_build(changed, tmp_path / "stores").fingerprint != store.fingerprint


def test_labels_over_time_are_segments_of_whole_recordings(tmp_path: Path) -> None:
    lines = ("2.npy,b,400,,,", "0.npy,a,0,250,,", "2.npy,a,100.5,400,,", "1.npy,b,,,,", "3.npy,a,,,,")
    folder = Folder(str(table(tmp_path, *lines)), SENSOR, labels="labels.csv", test_fraction=0.25, targets="steps")
    assert [folder.name(place) for place in range(4)] == [str(tmp_path / f"{n}.npy") for n in (2, 0, 1, 3)]
    assert folder.targets.tolist() == [
        [0, 100_500, 400_000, 0], [0, 400_000, NO_END, 1], [1, 0, 250_000, 0], [2, 0, NO_END, 1], [3, 0, NO_END, 0],
    ]  # fmt: skip
    assert (folder.class_names, folder.num_classes, folder.groups) == (["a", "b"], 2, None)
    assert folder.split.sum() == 1
    assert folder.read(1).t.size == 400
    np.testing.assert_array_equal(open_or_build(folder, tmp_path / "stores").targets, folder.targets)


def test_another_choice_of_test_recordings_packs_nothing(tmp_path: Path) -> None:
    root, stores = people(tmp_path / "mine"), tmp_path / "stores"
    settings: dict[str, Any] = {"labels": "labels.csv", "group_by": "user"}
    contents = set()
    for tested in ("p1", "p2", "p3"):
        folder = Folder(root, SENSOR, **settings, test_groups=[tested])
        store = open_or_build(folder, stores)
        np.testing.assert_array_equal(store.split, folder.split)
        assert store.groups is not None
        assert store.groups.tolist() == [0, 0, 1, 2]
        contents.add(store.fingerprint)
        store.verify()
    assert open_or_build(Folder(root, SENSOR, labels="labels.csv", group_by="path"), stores).groups is None
    assert len(contents) == 3
    assert len([path for path in stores.iterdir() if path.is_dir()]) == 1
    # As if it had been packed so from the beginning.
    alone = open_or_build(Folder(root, SENSOR, **settings, test_groups=["p3"]), tmp_path / "alone")
    assert alone.fingerprint in contents


@pytest.mark.parametrize(("before", "after"), [("1234556", "1234564"), ("123456.1", "123456.4"), ("0.1", "0.12345678")])
def test_an_edited_table_has_another_fingerprint(before: str, after: str, tmp_path: Path) -> None:
    root = table(tmp_path, f"0.npy,a,{before},,,", "1.npy,b,,,,", "2.npy,a,,,,")
    first = Folder(str(root), SENSOR, labels="labels.csv", test_fraction=0).fingerprint()
    (root / "labels.csv").write_text((root / "labels.csv").read_text().replace(before, after))
    assert Folder(str(root), SENSOR, labels="labels.csv", test_fraction=0).fingerprint() != first


def test_parts_of_a_file_stay_together_where_only_some_of_them_have_a_group(tmp_path: Path) -> None:
    lines = [
        f"{n}.npy,{label},{50 * k},{50 * k + 50},{'anna' if (n, k) in ((0, 0), (1, 1)) else ''},"
        for n in range(4)
        for k, label in enumerate("abab")
    ]
    folder = Folder(str(table(tmp_path, *lines)), SENSOR, labels="labels.csv", test_fraction=0.3)
    assert folder.groups is not None
    assert folder.groups.tolist() == [0] * 8 + [1] * 4 + [2] * 4  # anna's two files are one group
    assert len(set(zip(folder.groups.tolist(), folder.split.tolist(), strict=True))) == 3


def test_the_table_in_the_root_folder_comes_before_one_in_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    root = table(tmp_path / "mine", "0.npy,a,,,,", "1.npy,b,,,,", "2.npy,a,,,,")
    (tmp_path / "here" / "labels.csv").write_text("path,label\n0.npy,x\n1.npy,y\n")
    monkeypatch.chdir(tmp_path / "here")
    assert Folder(str(root), SENSOR, labels="labels.csv").class_names == ["a", "b"]
    (root / "labels.csv").unlink()
    other = Folder(str(root), SENSOR, labels="labels.csv", test_fraction=0)
    assert other.class_names == ["x", "y"]
    assert_text_has(other.notes[0], "2 recordings", root, "labels.csv")


PEOPLE = [f"{n}.npy,{label},{who}" for n, (label, who) in enumerate(zip("abab", ("p1", "p1", "p2", "p3"), strict=True))]


def people(root: Path) -> str:
    table(root)
    (root / "labels.csv").write_text("\n".join(["path,label,user", *PEOPLE]) + "\n")
    return str(root)


def test_recordings_are_grouped_by_the_column_that_is_named(tmp_path: Path) -> None:
    folder = Folder(people(tmp_path), SENSOR, labels="labels.csv", group_by="user", test_fraction=0.3)
    assert folder.groups is not None
    assert folder.groups.tolist() == [0, 0, 1, 2]
    assert Folder(people(tmp_path), SENSOR, labels="labels.csv", group_by="path").groups is None


def test_named_groups_are_held_out_for_testing(tmp_path: Path) -> None:
    root = people(tmp_path)
    folder = Folder(root, SENSOR, labels="labels.csv", group_by="user", test_groups=["p1"])
    assert folder.split.tolist() == [1, 1, 0, 0]
    assert not folder.has_no_test_part
    assert Folder(root, SENSOR, labels="labels.csv", group_by="user").has_no_test_part
    with assert_raises(ConfigError, "test_groups", "data.labels"):
        Folder(root, SENSOR, test_groups=["p1"])
    with assert_raises(ConfigError, "group_by", "data.labels"):
        Folder(root, SENSOR, group_by="user")


def test_polarities_that_are_named_are_read(tmp_path: Path) -> None:
    write(tmp_path / "up" / "a.npy", 0)
    rows = np.load(tmp_path / "up" / "a.npy")
    rows[:, 3] += 1
    np.save(tmp_path / "up" / "a.npy", rows)
    with assert_raises(DataError, "up/a.npy", 2):
        Folder(str(tmp_path), SENSOR, test_fraction=0).read(0)
    folder = Folder(str(tmp_path), SENSOR, test_fraction=0, polarity_values=[1, 2])
    assert folder.read(0).p.tolist() == (rows[:, 3] == 2).tolist()
    assert folder.fingerprint() != Folder(str(tmp_path), SENSOR, test_fraction=0).fingerprint()
    with assert_raises(ConfigError, "polarity_values", 3, "sensor_size", 2):
        Folder(str(tmp_path), SENSOR, polarity_values=[1, 2, 3])


def long_file(root: Path, *lines: str) -> Folder:
    """Return the segments of a file of ten seconds, 60 % for training, 20 % each for validation and testing."""
    write(root / "long.npy", 0, ms=10_000)
    (root / "labels.csv").write_text("\n".join(["path,label,start_ms,end_ms,group,split", *lines]) + "\n")
    return Folder(str(root), SENSOR, "labels.csv", split_by_time=[0.6, 0.2, 0.2])


def test_a_long_file_is_divided_by_time_and_what_overlaps_a_later_part_is_left_out(tmp_path: Path) -> None:
    rows = [f"long.npy,{'ab'[n % 2]},{1000 * n},{1000 * n + (1001 if n == 5 else 1000)},," for n in (9, *range(9))]
    folder = long_file(tmp_path, *rows)
    starts = [float(folder.name(index).rpartition("(")[2].split()[0]) for index in range(len(folder))]
    parts = {
        part: sorted(start for start, own in zip(starts, folder.split, strict=True) if own == part)
        for part in (0, 1, 2)
    }
    assert parts == {0: [0, 1000, 2000, 3000, 4000], 2: [6000, 7000], 1: [8000, 9000]}
    assert_lines_have(folder.notes[2:], ("data.split_by_time", "1 segments"))
    # What is alike stays together: a part of a file is a group.
    assert folder.groups is not None
    assert len({*zip(folder.groups.tolist(), folder.split.tolist(), strict=True)}) == np.unique(folder.groups).size == 3


@pytest.mark.parametrize(
    ("rows", "facts"),
    [
        (["long.npy,a,0,100,,", "long.npy,b,100,200,,"], ("long.npy", 2, 3)),
        (["long.npy,a,0,,,", "long.npy,b,100,,,", "long.npy,b,200,,,"], ("long.npy", 3)),
        (["long.npy,a,0,100,ann,", "long.npy,b,100,200,ann,"], ("groups", "data.group_by=path")),
        (["long.npy,a,0,100,,train", "long.npy,b,100,200,,train"], ("split",)),
    ],
    ids=["few", "overlapping", "groups", "split"],
)
def test_segments_that_time_cannot_divide_are_refused(
    rows: list[str], facts: tuple[object, ...], tmp_path: Path
) -> None:
    with assert_raises(DataError, "data.split_by_time", *facts):
        long_file(tmp_path, *rows)


def test_a_single_long_file_is_refused_with_the_setting_that_divides_it(tmp_path: Path) -> None:
    root = table(tmp_path, "0.npy,a,0,100,,", "0.npy,b,200,300,,")
    with assert_raises(DataError, "", "data.split_by_time"):
        Folder(str(root), SENSOR, "labels.csv")


@pytest.mark.parametrize(
    ("settings", "facts"),
    [
        ({"split_by_time": [0.5, 0.5]}, ("split_by_time", 0.5)),
        ({"split_by_time": [0.5, 0.2, 0.2]}, ("split_by_time", 1)),
        ({"split_by_time": [0.6, 0.2, 0.2], "labels": None}, ("split_by_time", "data.labels")),
        ({"split_by_time": [0.6, 0.2, 0.2], "targets": "steps"}, ("split_by_time", "data.targets=steps")),
        ({"split_by_time": [0.6, 0.2, 0.2], "test_groups": ["ann"]}, ("split_by_time", "test_groups")),
    ],
    ids=["two", "sum", "folders", "steps", "groups"],
)
def test_settings_that_cannot_divide_by_time_are_refused(
    settings: dict[str, Any], facts: tuple[object, ...], tmp_path: Path
) -> None:
    root = table(tmp_path, "0.npy,a,0,100,ann,", "0.npy,b,200,300,ann,")
    with assert_raises(ConfigError, "", *facts):
        with_table: dict[str, Any] = {"labels": "labels.csv"} | settings
        Folder(str(root), SENSOR, **with_table)
