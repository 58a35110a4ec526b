"""DVS128 Gesture: on synthetic files in the format of tonic's copy, and on the genuine recordings where they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from snnlab.data.events import open_or_build
from snnlab.data.sources.recordings import DVSGesture
from snnlab.data.splits import make_split
from snnlab.errors import DataError

from ...refusals import assert_raises, assert_text_has

FILES = [
    "ibmGestureTrain/user02_lab/0.npy",
    "ibmGestureTrain/user02_lab/10.npy",
    "ibmGestureTrain/user10_fluorescent/3.npy",
    "ibmGestureTrain/user10_natural/3.npy",
    "ibmGestureTest/user24_led/7.npy",
]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for name in FILES:
        path = tmp_path / "DVSGesture" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        t = np.sort(rng.integers(0, 1450, 50))
        np.save(path, np.stack([*rng.integers(0, 128, (2, 50)), rng.integers(0, 2, 50), t], 1).astype(np.int32))
    return tmp_path


def test_recordings_come_by_part_person_light_and_gesture(root: Path) -> None:
    gestures = DVSGesture(str(root), download=False)
    assert [gestures.name(index).partition("DVSGesture/")[2] for index in range(5)] == FILES
    assert gestures.targets.tolist() == [0, 10, 3, 3, 7]
    assert gestures.groups is not None
    assert gestures.groups.tolist() == [2, 2, 10, 10, 24]
    assert gestures.split.tolist() == [0, 0, 0, 0, 1]
    assert gestures.class_names is not None
    assert len(gestures.class_names) == gestures.num_classes == 11
    assert_text_has(gestures.notes[0], "dvsgesture", "4 of 1,077 recordings")


def test_a_row_is_x_y_p_t_and_times_are_in_ms(root: Path) -> None:
    rows = np.load(root / "DVSGesture" / FILES[2])
    t, x, y, p = DVSGesture(str(root), download=False).read(2)
    assert y is not None
    assert t.tolist() == (1000 * rows[:, 3]).tolist()
    assert (x.tolist(), y.tolist(), p.astype(int).tolist()) == tuple(rows[:, column].tolist() for column in range(3))


def test_all_recordings_of_a_person_are_held_out_together(root: Path) -> None:
    gestures = DVSGesture(str(root), download=False)
    split = make_split(gestures.targets, gestures.split, 0.5, 0, gestures.groups)
    assert sorted([split.train.tolist(), split.val.tolist()]) == [[0, 1], [2, 3]]


def test_a_folder_without_recordings_names_the_expected_files(tmp_path: Path) -> None:
    with assert_raises(DataError, "data.root", "user01_fluorescent/0"):
        DVSGesture(str(tmp_path), download=False)


def test_a_folder_of_another_name_is_reported(root: Path) -> None:
    (root / "DVSGesture/ibmGestureTrain/user_x").mkdir()
    np.save(root / "DVSGesture/ibmGestureTrain/user_x/1.npy", np.zeros((0, 4)))
    with assert_raises(DataError, "DVSGesture/ibmGestureTrain/user_x", "user01_fluorescent"):
        DVSGesture(str(root), download=False)


def test_the_genuine_recordings_are_as_they_were_published(real_data: Path, tmp_path: Path) -> None:
    if not (real_data / "DVSGesture").is_dir():
        pytest.skip(f"no DVSGesture in {real_data}")
    gestures = DVSGesture(str(real_data), download=False)
    store = open_or_build(gestures, tmp_path)
    sizes = dict(zip(gestures.targets.tolist(), store.sizes.tolist(), strict=True))
    assert sizes == {0: 63_471, 3: 151_879, 6: 159_617, 9: 85_936}
    assert store.last_t.tolist() == [1_449_000] * 4
