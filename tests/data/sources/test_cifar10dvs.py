"""CIFAR10-DVS: on files of AEDAT 4, beside which are the columns that a stand-in for the package aedat gives tonic."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from snnlab.data.sources.recordings import CIFAR10DVS

from ...fixtures.camera_files import COLUMNS, write_aedat4

START = 1_605_537_493_718_345


@pytest.fixture
def root(tmp_path: Path, stand_in_aedat: None) -> Path:
    rng = np.random.default_rng(0)
    for name in ("truck", "airplane"):
        (tmp_path / "CIFAR10DVS" / name).mkdir(parents=True)
        for number in range(12):
            events = np.zeros(50, COLUMNS)
            events["t"] = START + np.sort(rng.integers(0, 1_300_000, 50))
            events["x"], events["y"] = rng.integers(0, 128, (2, 50))
            events["p"] = rng.random(50) < 0.5
            path = tmp_path / "CIFAR10DVS" / name / f"cifar10_{name}_{number}.aedat4"
            write_aedat4(path, events, number % 2)
            np.save(path.with_suffix(".npy"), events)
    return tmp_path


def test_the_last_of_each_class_by_name_are_for_testing(root: Path) -> None:
    pictures = CIFAR10DVS(str(root), download=False, test_rule="last")
    assert pictures.targets.tolist() == [0] * 12 + [9] * 12
    assert [Path(pictures.name(index)).name for index in np.flatnonzero(pictures.split).tolist()] == [
        "cifar10_airplane_9.aedat4",
        "cifar10_truck_9.aedat4",
    ]
    assert [Path(pictures.name(index)).stem[17:] for index in range(4)] == ["0", "1", "10", "11"]


def test_recordings_are_tonics_from_the_first_event_on(root: Path, tonic_reference: Any, same_events: Any) -> None:
    ours, theirs = CIFAR10DVS(str(root), download=False), tonic_reference("CIFAR10DVS", root)
    names = [Path(path) for path in theirs.data]
    for index in range(len(ours)):
        events, target = theirs[names.index(Path(ours.name(index)))]
        assert target == ours.targets[index]
        assert same_events(ours.read(index), events, first=True)
