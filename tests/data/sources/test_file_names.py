"""Labels, persons and numbers in the names of files, of events or of sound."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from snnlab.data.events.packing import store_path
from snnlab.data.sources.folder import Folder
from snnlab.errors import ConfigError, DataError

from ...fixtures.sounds import write_words
from ...refusals import assert_lines_have, assert_raises

SENSOR = (20, 1, 1)
NAMES = "{label}_{group}_{number}"


def _folder(root: Path, names: str | None = NAMES, **settings: Any) -> Folder:
    return Folder(str(root), SENSOR, names=names, cochlea={}, time_origin="zero", **settings)


@pytest.fixture
def words(tmp_path: Path) -> Path:
    write_words(tmp_path)
    return tmp_path


def _stems(found: Folder, part: int) -> list[str]:
    return [Path(found.name(index)).stem for index in np.flatnonzero(found.split == part).tolist()]


def test_names_give_labels_and_numbers_for_testing_which_are_of_all_people(words: Path) -> None:
    found = _folder(words, test_numbers=[0, 3])
    assert (found.class_names, len(found), found.groups) == (["down", "up"], 20, None)
    assert _stems(found, 1) == sorted(
        f"{label}_{who}_{n}" for label in ("up", "down") for who in ("ann", "bo") for n in (0, 3)
    )
    assert found.targets.tolist() == [0] * 10 + [1] * 10


def test_people_for_testing_are_those_of_the_names(words: Path) -> None:
    found = _folder(words, test_groups=["bo"])
    assert {stem.split("_")[1] for stem in _stems(found, 1)} == {"bo"}
    assert {stem.split("_")[1] for stem in _stems(found, 0)} == {"ann"}
    assert found.groups is not None
    assert len(set(found.groups.tolist())) == 2


@pytest.mark.parametrize(
    ("written", "names"),
    [
        ("{person}/{label}-{number}", "{group}/{label}-{number}"),
        ("2024.{label}_{person}_{number}", "{any}.{label}_{group}_{number}"),
        ("x/{number}{label}.{person}", "{any}/{number}{label}.{group}"),
    ],
)
def test_a_pattern_may_have_folders_and_parts_that_say_nothing(written: str, names: str, tmp_path: Path) -> None:
    write_words(tmp_path, written)
    found = _folder(tmp_path, names, test_groups=["ann"])
    assert found.class_names == ["down", "up"]
    assert np.bincount(found.split).tolist() == [10, 10]


def test_a_persons_name_may_hold_the_mark_between_fields(tmp_path: Path) -> None:
    write_words(tmp_path, people=("anna_maria", "bo"))
    assert np.bincount(_folder(tmp_path, test_groups=["anna_maria"]).split).tolist() == [10, 10]


def test_files_of_other_names_are_named_or_left_out_and_counted(words: Path) -> None:
    (words / "notes.wav").write_bytes(b"")
    (words / "up_ann_x.wav").write_bytes(b"")
    (words / "readme.txt").write_text("no sound\n")
    with assert_raises(DataError, "data.names", "notes.wav", "up_ann_x.wav", "data.on_bad=skip"):
        _folder(words)
    found = _folder(words, on_bad="skip")
    assert len(found) == 20
    assert_lines_have(found.notes, ("20 recordings",), ("notes.wav", "up_ann_x.wav"))


def test_names_of_files_of_events_are_read_too(tmp_path: Path) -> None:
    for number in range(4):
        np.save(tmp_path / f"{'ab'[number % 2]}-{number}.npy", np.array([[1, 0, number, 1]]))
    found = Folder(str(tmp_path), (4, 4, 2), names="{label}-{number}", test_numbers=[2, 3])
    assert (found.class_names, found.split.tolist()) == (["a", "b"], [0, 1, 0, 1])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"names": "{group}_{number}"}, ("names", "{label}")),
        ({"names": "{label}_{label}"}, ("names", "{label}")),
        ({"names": "{label}_{speaker}"}, ("names", "{speaker}")),
        ({"names": "{label}_{any}", "test_groups": ["bo"]}, ("test_groups", "{group}")),
        ({"names": "{label}_{any}", "test_numbers": [0]}, ("test_numbers", "{number}")),
        ({"names": None, "test_numbers": [0]}, ("test_numbers", "{number}")),
        ({"test_numbers": [0], "test_groups": ["bo"]}, ("", "test_numbers", "test_groups")),
        ({"labels": "labels.csv"}, ("names", "labels")),
        ({"group_by": "group"}, ("group_by", "data.labels")),
    ],
    ids=str,
)
def test_settings_that_do_not_go_together_say_so(settings: dict[str, Any], words: Any, tmp_path: Path) -> None:
    write_words(tmp_path)
    (tmp_path / "labels.csv").write_text("path,label\nup_ann_0.wav,up\n")
    with assert_raises(ConfigError, *words):
        _folder(tmp_path, **settings)


@pytest.mark.parametrize("setting", [{"sort": True}, {"time_unit": "ms"}, {"columns": ["t", "x"]}])
def test_a_setting_of_columns_has_no_meaning_for_sound(setting: dict[str, Any], words: Path) -> None:
    with assert_raises(ConfigError, next(iter(setting)), "cochlea"):
        _folder(words, **setting)


def test_a_sensor_that_is_no_row_of_channels_is_refused(words: Path) -> None:
    with assert_raises(ConfigError, "sensor_size", "[70, 1, 1]"):
        Folder(str(words), (20, 2, 1), cochlea={})


def test_another_cochlea_has_another_store(words: Path, tmp_path: Path) -> None:
    paths = [
        store_path(Folder(str(words), size, names=NAMES, cochlea=cochlea), tmp_path)
        for size, cochlea in ((SENSOR, {}), (SENSOR, {"seed": 1}), (SENSOR, {"sample_rate": 24000}), ((30, 1, 1), {}))
    ]
    assert len(set(paths)) == 4
