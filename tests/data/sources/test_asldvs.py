from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat

from snnlab.data.sources.recordings import ASLDVS, LETTERS
from snnlab.errors import DataError

from ...refusals import assert_raises

FILES = ["k/k_0001.mat", "k/k_0002.mat", "a/a_0003.mat", "Yin Bi - y/y_0001.mat"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for name in FILES:
        path = tmp_path / "ASLDVS" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        x, y = rng.integers(0, 240, (60, 1)).astype(np.uint8), rng.integers(0, 180, (60, 1)).astype(np.uint8)
        ts = 7_000_000 + np.sort(rng.integers(0, 100_000, (60, 1)), axis=0)
        savemat(path, {"ts": ts, "x": x, "y": y, "pol": rng.integers(0, 2, (60, 1)).astype(np.uint8)})
    return tmp_path


def test_letters_are_numbered_without_j_and_z(root: Path) -> None:
    letters = ASLDVS(str(root), download=False)
    assert len(LETTERS) == 24 == letters.num_classes
    assert [LETTERS[target] for target in letters.targets] == ["a", "k", "k", "y"]
    assert letters.targets.tolist() == [0, 9, 9, 23]
    assert [Path(letters.name(index)).name for index in range(3)] == ["a_0003.mat", "k_0001.mat", "k_0002.mat"]


def test_recordings_are_tonics_from_the_first_event_on(root: Path, tonic_reference: Any, same_events: Any) -> None:
    ours, theirs = ASLDVS(str(root), download=False), tonic_reference("ASLDVS", root)
    names = [Path(path) for path in theirs.data]
    for index in range(len(ours)):
        events, letter = theirs[names.index(Path(ours.name(index)))]
        assert "abcdefghijklmnopqrstuvwxyz"[letter] == LETTERS[ours.targets[index]]
        assert same_events(ours.read(index), events, first=True)


def test_a_damaged_file_is_named(root: Path) -> None:
    path = root / "ASLDVS/a/a_0003.mat"
    for content in (b"", path.read_bytes()[:200], b"no matrix" * 100):
        path.write_bytes(content)
        with assert_raises(DataError, "ASLDVS/a/a_0003.mat", "read"):
            ASLDVS(str(root), download=False).read(0)
    savemat(path, {"ts": np.arange(3), "x": np.arange(3)})
    with assert_raises(DataError, "ASLDVS/a/a_0003.mat", "read"):
        ASLDVS(str(root), download=False).read(0)


@pytest.mark.parametrize("compressed", [False, True])
def test_a_file_cut_anywhere_or_with_changed_bytes_is_read_or_named(root: Path, compressed: bool) -> None:
    """scipy itself accesses foreign memory on some of these."""
    path, rng = root / "ASLDVS/a/a_0003.mat", np.random.default_rng(4)
    savemat(path, {name: np.arange(50)[:, None] for name in ("ts", "x", "y", "pol")}, do_compression=compressed)
    whole = path.read_bytes()
    for number in range(60):
        damaged = np.frombuffer(whole, np.uint8).copy()
        damaged[rng.integers(100, damaged.size, 3)] = rng.integers(256, size=3)
        path.write_bytes(damaged.tobytes() if number % 3 else whole[: rng.integers(len(whole))])
        with suppress(DataError):
            ASLDVS(str(root), download=False).read(0)


def test_the_download_by_hand_is_described(tmp_path: Path) -> None:
    with assert_raises(DataError, "data.root", "ICCV2019_DVS_dataset.zip", "github.com/PIX2NVS"):
        ASLDVS(str(tmp_path))
