from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from snnlab.data.sources.recordings import PokerDVS
from snnlab.errors import DataError

from ...refusals import assert_raises


@pytest.fixture
def root(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for part, number in (("pips_train", 3), ("pips_test", 1)):
        for suit in ("cl", "he", "di", "sp"):
            (tmp_path / "POKERDVS" / part / suit).mkdir(parents=True)
            for pip in range(number):
                t = 1000 + np.sort(rng.integers(0, 25_000, 40))
                rows = np.stack([t, *rng.integers(0, 35, (2, 40)), rng.integers(0, 2, 40)], 1)
                np.save(tmp_path / "POKERDVS" / part / suit / f"{pip}.npy", rows)
    return tmp_path


def test_pips_come_by_part_and_suit(root: Path) -> None:
    pips = PokerDVS(str(root), download=False)
    assert pips.targets.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 0, 1, 2, 3]
    assert pips.split.tolist() == [0] * 12 + [1] * 4
    assert pips.notes == []


@pytest.mark.parametrize("train", [True, False])
def test_recordings_are_tonics_from_the_first_event_on(
    root: Path, tonic_reference: Any, same_events: Any, train: bool
) -> None:
    ours, theirs = PokerDVS(str(root), download=False), tonic_reference("POKERDVS", root, train=train)
    left = [ours.read(index) for index in np.flatnonzero(ours.split == (0 if train else 1)).tolist()]
    labels = ours.targets[ours.split == (0 if train else 1)].tolist()
    for number in range(len(theirs)):  # in any order of its folders
        events, target = theirs[number]
        found = [place for place, one in enumerate(left) if same_events(one, events, first=True)]
        assert [labels[place] for place in found] == [target]
    assert len(theirs) == len(left)


def test_a_copy_without_test_recordings_is_refused(root: Path) -> None:
    (root / "POKERDVS/pips_test").rename(root / "POKERDVS/elsewhere")
    with assert_raises(DataError, "data.root", "pips_test"):
        PokerDVS(str(root), download=False)
