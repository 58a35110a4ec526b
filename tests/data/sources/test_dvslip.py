from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from snnlab.data.sources.recordings import WORDS, DVSLip
from snnlab.errors import DataError

from ...refusals import assert_raises

FILES = ["train/accused/0.npy", "train/young/0.npy", "train/young/1.npy", "test/action/0.npy", "test/years/3.npy"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for name in FILES:
        events = np.zeros(30, [("t", "<i4"), ("x", "u1"), ("y", "u1"), ("p", "u1")])
        events["t"] = 500 + np.sort(rng.integers(0, 1_000_000, 30))
        events["x"], events["y"] = rng.integers(0, 128, (2, 30))
        events["p"] = rng.integers(0, 2, 30)
        path = tmp_path / "DVSLip/DVS-Lip" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, events)
    return tmp_path


def test_there_are_100_words_in_order() -> None:
    assert len(WORDS) == 100 == DVSLip.num_classes
    assert list(WORDS) == sorted(WORDS)


def test_recordings_come_by_part_word_and_name(root: Path) -> None:
    words = DVSLip(str(root), download=False)
    assert words.targets.tolist() == [0, 99, 99, 1, 98]
    assert words.split.tolist() == [0, 0, 0, 1, 1]
    assert words.groups is None


@pytest.mark.parametrize("train", [True, False])
def test_recordings_are_tonics_from_the_first_event_on(
    root: Path, tonic_reference: Any, same_events: Any, train: bool
) -> None:
    ours, theirs = DVSLip(str(root), download=False), tonic_reference("DVSLip", root, train=train)
    names = [Path(path) for path in theirs.data]
    assert len(names) == (3 if train else 2)
    for index in np.flatnonzero(ours.split == (0 if train else 1)).tolist():
        events, target = theirs[names.index(Path(ours.name(index)))]
        assert target == ours.targets[index]
        assert same_events(ours.read(index), events, first=True)


def test_the_download_by_hand_is_described(tmp_path: Path) -> None:
    archive = {"name": "DVS-Lip.zip", "md5": "1" * 32, "url": None}
    with assert_raises(DataError, "data.root", "DVS-Lip.zip"):
        DVSLip(str(tmp_path), archives=[archive])
