from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from toy_source import ToySource

from snnlab.data.events import Events, open_or_build
from snnlab.errors import StoreError

from ...refusals import assert_raises


def _equal(one: Events, other: Events) -> bool:
    return all(a is b if a is None or b is None else np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("sensor_size", [(7, 5, 2), (7, 5, 3), (7, 1, 1)])
def test_packed_recordings_are_read_back(tmp_path: Path, sensor_size: tuple[int, int, int]) -> None:
    source = ToySource(sensor_size=sensor_size)
    store = open_or_build(source, tmp_path)
    assert len(store) == len(source)
    assert all(_equal(store[i], source.read(i)) for i in range(len(source)))
    assert _equal(store[-1], source.read(len(source) - 1))
    assert store.num_events == sum(source.read(i).t.size for i in range(len(source)))
    assert store.sensor_size == sensor_size
    np.testing.assert_array_equal(store.targets, source.targets)
    np.testing.assert_array_equal(store.split, source.split)
    np.testing.assert_array_equal(store.groups, source.groups)
    assert [column.dtype for column in store[0] if column is not None][:2] == [np.int64, np.int16]
    store.verify()


def test_columns_are_read_only_views_of_the_maps(tmp_path: Path) -> None:
    store = open_or_build(ToySource(), tmp_path)
    assert not store[0].t.flags.writeable
    assert not store[0].t.flags.owndata


def test_gather_concatenates_in_the_given_order(tmp_path: Path) -> None:
    store = open_or_build(ToySource(), tmp_path)
    indices = np.array([5, 3, 0, 5, 36])
    packed = store.gather(indices)
    for place, index in enumerate(indices):
        chunk = slice(packed.offsets[place], packed.offsets[place + 1])
        assert packed.y is not None
        found = Events(packed.t[chunk], packed.x[chunk], packed.y[chunk], packed.p[chunk])
        assert _equal(found, store[index])
    np.testing.assert_array_equal(packed.targets, store.targets[indices])
    np.testing.assert_array_equal(packed.index, indices)
    assert packed.targets.dtype == packed.index.dtype == packed.offsets.dtype == np.int64
    assert packed.t.flags.writeable
    assert packed.t.flags.c_contiguous


def test_places_outside_the_store_are_refused(tmp_path: Path) -> None:
    store = open_or_build(ToySource(), tmp_path)
    for bad in (-1, 37):
        with pytest.raises(IndexError):
            store.gather(np.array([0, bad]))
    with pytest.raises(IndexError):
        store[37]
    with pytest.raises(TypeError):
        store.gather(np.ones(37, bool))


def test_a_store_of_nothing_and_recordings_of_nothing_work(tmp_path: Path) -> None:
    for source in (ToySource(0), ToySource(3, empty=True), ToySource(0, (7, 1, 1), grouped=False)):
        store = open_or_build(source, tmp_path / str(len(source)) / str(source.sensor_size[1]))
        store.verify()
        assert store.num_events == 0
        assert store.gather(np.arange(len(source))).t.size == 0
        assert store.count_outside(np.arange(len(source)), 1) == 0


def test_a_pickled_store_carries_its_path_and_no_events(tmp_path: Path) -> None:
    store = open_or_build(ToySource(), tmp_path)
    data = pickle.dumps(store)
    assert len(data) < 2000
    assert _equal(pickle.loads(data)[0], store[0])


@pytest.mark.parametrize("file", ["t.bin", "y.bin", "offsets.npy", "last_t.npy", "hashes.npy", "manifest.json"])
@pytest.mark.parametrize("damage", ["cut", "missing", "other"])
def test_a_damaged_store_is_packed_again(tmp_path: Path, file: str, damage: str) -> None:
    source, journal = ToySource(), tmp_path / "journal"
    path = open_or_build(source, tmp_path / "stores").path
    whole = {one.name: one.read_bytes() for one in path.iterdir()}
    if damage == "missing":
        (path / file).unlink()
    else:
        (path / file).write_bytes(whole[file][:-9] if damage == "cut" else b"x")
    source.journal = journal
    open_or_build(source, tmp_path / "stores").verify()
    assert {one.name: one.read_bytes() for one in path.iterdir()} == whole
    assert len(journal.read_text().split()) == 37


def test_other_targets_are_those_of_the_source(tmp_path: Path) -> None:
    changed = ToySource(journal=tmp_path / "journal")
    changed.targets = changed.targets[::-1].copy()
    before = open_or_build(ToySource(), tmp_path / "stores")
    after = open_or_build(changed, tmp_path / "stores")
    assert (after.path, after.targets.tolist()) == (before.path, changed.targets.tolist())
    assert after.fingerprint != before.fingerprint
    assert not (tmp_path / "journal").exists()


@pytest.mark.parametrize("file", ["t.bin", "p.bin"])
def test_verify_finds_a_flipped_bit(tmp_path: Path, file: str) -> None:
    path = open_or_build(ToySource(), tmp_path).path
    data = bytearray((path / file).read_bytes())
    data[-1] ^= 1
    (path / file).write_bytes(data)
    with assert_raises(StoreError, path, "checksum", file.split(".")[0]):
        open_or_build(ToySource(), tmp_path).verify()


@pytest.mark.parametrize("seed", range(3))
def test_windows_are_cut_and_counted_as_a_plain_loop_does(seed: int, tmp_path: Path) -> None:
    store, rng = open_or_build(ToySource(), tmp_path), np.random.default_rng(seed)
    index, begins = rng.integers(0, 37, 20), rng.integers(0, 1200, 20)
    for start_us, duration_us in (
        (None, None),
        (None, int(rng.integers(1, 1100))),
        (begins, int(rng.integers(1, 900))),
    ):
        packed = store.gather(index, start_us, duration_us)
        total = 0
        for place, recording in enumerate(index.tolist()):
            begin = 0 if start_us is None else int(start_us[place])
            t, x, *_ = store[recording]
            inside = (t >= begin) & (t < begin + (duration_us or 10**9))
            chunk = slice(packed.offsets[place], packed.offsets[place + 1])
            np.testing.assert_array_equal(packed.t[chunk], t[inside] - begin)
            np.testing.assert_array_equal(packed.x[chunk], x[inside])
            total += int(inside.sum())
        assert store.count(index, start_us, duration_us) == packed.t.size == total


def test_another_split_packs_nothing_and_has_another_fingerprint(tmp_path: Path) -> None:
    source = ToySource()
    store = open_or_build(source, tmp_path)
    source.split, source.groups = (np.arange(37) % 3 == 0).astype(np.uint8), None
    source.journal = tmp_path / "journal"
    found = open_or_build(source, tmp_path)
    assert (found.path, found.groups) == (store.path, None)
    assert found.fingerprint != store.fingerprint
    assert not source.journal.exists()
