"""SHD, SSC and N-TIDIGITS18: on small files in the genuine layouts."""

from __future__ import annotations

import hashlib
import pickle
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from snnlab.data.events import open_or_build
from snnlab.data.sources.spike_files import NTIDIGITS, SHD, SSC
from snnlab.data.splits import make_split
from snnlab.errors import DataError

from ...refusals import assert_raises, assert_text_has


def ragged(rows: list[np.ndarray]) -> np.ndarray:
    """Return rows of different lengths as h5py takes them."""
    array = np.empty(len(rows), object)
    array[:] = rows
    return array


def write(path: Path, labels: list[int], speakers: list[int], keys: list[str], seed: int = 0) -> None:
    """Write spikes as the Heidelberg data sets have them: times in s as float16."""
    rng = np.random.default_rng(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    sizes = rng.integers(20, 40, len(labels)).tolist()
    with h5py.File(path, "w") as file:
        for name, kind in (("times", np.float16), ("units", np.uint16)):
            rows = [np.sort(rng.random(n) * 1.3) if name == "times" else rng.integers(0, 700, n) for n in sizes]
            data = ragged([row.astype(kind) for row in rows])
            file.create_dataset(f"spikes/{name}", data=data, dtype=h5py.vlen_dtype(np.dtype(kind)))
        file["labels"] = np.array(labels, np.uint16)
        file["extra/speaker"] = np.array(speakers, np.uint16)
        file["extra/keys"] = np.array(keys, "S12")


@pytest.fixture
def shd(tmp_path: Path) -> Path:
    keys = [f"digit{number}" for number in range(20)]
    write(tmp_path / "SHD/shd_train.h5", [0, 19, 3, 3, 5, 6], [0, 0, 7, 7, 11, 11], keys)
    write(tmp_path / "SHD/shd_test.h5", [4, 4, 5], [4, 0, 11], keys, seed=1)
    return tmp_path


def test_shd_has_its_classes_and_official_test(shd: Path) -> None:
    digits = SHD(str(shd), download=False)
    assert digits.targets.tolist() == [0, 19, 3, 3, 5, 6, 4, 4, 5]
    assert digits.split.tolist() == [0] * 6 + [1] * 3
    assert digits.class_names is not None
    assert digits.class_names[:2] == ["digit0", "digit1"]
    assert_text_has(digits.notes[0], "shd", "6 of 8,156 recordings")
    assert digits.name(7) == f"{shd / 'SHD/shd_test.h5'} (1)"


def test_speakers_of_shd_are_held_out_whole_although_the_test_has_them_too(shd: Path) -> None:
    digits = SHD(str(shd), download=False)
    assert digits.groups is not None
    assert digits.groups.tolist() == [0, 0, 1, 1, 2, 2, 4, 3, 5]
    split = make_split(digits.targets, digits.split, 0.3, 0, digits.groups)
    assert split.val.tolist() in ([0, 1], [2, 3], [4, 5])
    assert split.test.tolist() == [6, 7, 8]


@pytest.mark.parametrize("train", [True, False])
def test_spikes_of_shd_are_tonics(shd: Path, tonic_reference: Any, same_events: Any, train: bool) -> None:
    ours, theirs = SHD(str(shd), download=False), tonic_reference("SHD", shd, train=train)
    first = 0 if train else 6
    for index in range(len(theirs)):
        events, target = theirs[index]
        assert target == ours.targets[first + index]
        assert same_events(ours.read(first + index), events)
        assert ours.read(first + index).y is None


def test_ssc_marks_its_official_validation_part(tmp_path: Path, tonic_reference: Any, same_events: Any) -> None:
    keys = [f"word{number}" for number in range(35)]
    for seed, (name, labels) in enumerate({"train": [0, 34, 2], "valid": [1, 1], "test": [7]}.items()):
        write(tmp_path / f"SSC/ssc_{name}.h5", labels, [0] * len(labels), keys, seed)
    words = SSC(str(tmp_path), download=False)
    assert words.split.tolist() == [0, 0, 0, 2, 2, 1]
    assert words.targets.tolist() == [0, 34, 2, 1, 1, 7]
    assert words.groups is None
    assert words.class_names == keys
    theirs = tonic_reference("SSC", tmp_path, split="valid")
    assert all(same_events(words.read(3 + index), theirs[index][0]) for index in range(2))


def test_a_damaged_file_is_named(shd: Path) -> None:
    path = shd / "SHD/shd_test.h5"
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with assert_raises(DataError, "SHD/shd_test.h5", "fetch"):
        SHD(str(shd), download=False)
    with h5py.File(path, "w") as file:
        file["labels"] = np.zeros(3)
    with assert_raises(DataError, "SHD/shd_test.h5", "read"):
        SHD(str(shd), download=False)


@pytest.mark.long
def test_one_file_is_open_at_a_time_and_pickling_leaves_it_out(shd: Path, tmp_path: Path) -> None:
    digits = SHD(str(shd), download=False)
    before = digits.read(8)
    assert len(pickle.dumps(digits)) < 5000
    assert pickle.loads(pickle.dumps(digits)).read(8).t.tolist() == before.t.tolist()
    here, there = (open_or_build(digits, tmp_path / str(workers), workers=workers) for workers in (0, 2))
    assert here.fingerprint == there.fingerprint


def test_the_fingerprint_follows_the_files(shd: Path) -> None:
    before = SHD(str(shd), download=False).fingerprint()
    assert SHD(str(shd), download=False).fingerprint() == before
    write(shd / "SHD/shd_test.h5", [4, 4, 5], [4, 0, 11], ["x"] * 20, seed=2)
    assert SHD(str(shd), download=False).fingerprint() != before


@pytest.fixture
def tidigits(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    (tmp_path / "NTIDIGITS18").mkdir()
    called = {
        "train": ["man-ah-a-1", "man-ah-b-z", "man-ah-a-1z3", "woman-ah-a-o", "woman-ce-a-9"],
        "test": ["man-bc-a-123", "man-bc-a-o", "woman-ah-a-2"],
    }
    with h5py.File(tmp_path / "NTIDIGITS18/n-tidigits.hdf5", "w") as file:
        for part, names in called.items():
            file[f"{part}_labels"] = np.array(names, "S20")
            for name in names:
                file[f"{part}_timestamps/{name}"] = (0.2 + np.sort(rng.random(50))).astype(np.float32)
                file[f"{part}_addresses/{name}"] = rng.integers(0, 64, 50).astype(np.int32)
    return tmp_path


def test_single_digits_alone_are_used_with_their_speakers(tidigits: Path) -> None:
    digits = NTIDIGITS(str(tidigits), download=False)
    assert digits.targets.tolist() == [1, 10, 0, 9, 0, 2]
    assert digits.split.tolist() == [0, 0, 0, 0, 1, 1]
    assert digits.groups is not None
    assert digits.groups.tolist() == [0, 0, 1, 2, 3, 4]
    assert digits.class_names == tuple("o123456789z")
    assert digits.name(2).endswith("n-tidigits.hdf5 (train/woman-ah-a-o)")


@pytest.mark.parametrize("train", [True, False])
def test_spikes_of_ntidigits_are_tonics_from_the_first_on(
    tidigits: Path, tonic_reference: Any, same_events: Any, train: bool
) -> None:
    ours = NTIDIGITS(str(tidigits), download=False)
    theirs = tonic_reference("NTIDIGITS18", tidigits, train=train, single_digits=True)
    first = 0 if train else 4
    for index in range(len(theirs)):
        events, target = theirs[index]
        assert target == ours.targets[first + index]
        assert same_events(ours.read(first + index), events, first=True)
    theirs.data.close()


def test_packed_files_are_fetched_and_a_smaller_one_of_the_users_stays(shd: Path, tmp_path: Path) -> None:
    archives = []
    for part in ("train", "test"):
        packed = Path(shutil.make_archive(str(tmp_path / f"shd_{part}.h5"), "zip", shd / "SHD", f"shd_{part}.h5"))
        md5 = hashlib.md5(packed.read_bytes()).hexdigest()
        archives.append({"name": packed.name, "md5": md5, "url": packed.as_uri()})
    fetched = SHD(str(tmp_path / "new"), archives=archives)
    assert fetched.read(8).t.tolist() == SHD(str(shd), download=False).read(8).t.tolist()
    before = fetched.fingerprint()
    assert SHD(str(tmp_path / "new"), archives=[node | {"md5": "0" * 32} for node in archives]).fingerprint() == before
