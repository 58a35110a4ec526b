from __future__ import annotations

import json
import pickle
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from toy_source import ToySource

from snnlab.data.events import Events, Store, open_or_build
from snnlab.errors import DataError, StoreError

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
    assert len(data) < 1000
    assert _equal(pickle.loads(data)[0], store[0])


@pytest.mark.parametrize("key", ["t", "x", "y", "p"])
def test_a_truncated_or_missing_column_is_refused_with_a_hint(tmp_path: Path, key: str) -> None:
    source = ToySource()
    path = open_or_build(source, tmp_path).path
    column = path / f"{key}.bin"
    column.write_bytes(column.read_bytes()[:-1])
    with assert_raises(StoreError, path, "delete", key):
        open_or_build(source, tmp_path)
    column.unlink()
    with assert_raises(StoreError, path, key):
        open_or_build(source, tmp_path)


@pytest.mark.parametrize("file", ["offsets.npy", "targets.npy", "last_t.npy", "manifest.json"])
def test_a_truncated_page_or_array_is_refused(tmp_path: Path, file: str) -> None:
    path = open_or_build(ToySource(), tmp_path).path
    (path / file).write_bytes((path / file).read_bytes()[:-9])
    with assert_raises(StoreError, path, file):
        Store.open(path)


def test_a_manifest_of_another_format_or_source_is_refused(tmp_path: Path) -> None:
    source = ToySource()
    path = open_or_build(source, tmp_path).path
    page = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps(page | {"format": 99}))
    with assert_raises(StoreError, path, "format", 99):
        Store.open(path)
    (path / "manifest.json").write_text(json.dumps(page | {"source": {"size": 1}}))
    with assert_raises(StoreError, path, "fingerprint"):
        open_or_build(source, tmp_path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("recordings", "40"),
        ("recordings", -1),
        ("recordings", None),
        ("events", 1.5),
        ("sensor_size", []),
        ("sensor_size", [7, 5]),
        ("sensor_size", [7, "5", 2]),
        ("sensor_size", [7, 0, 2]),
        ("sensor_size", [7, 5, 10**30]),
        ("dtypes", []),
        ("dtypes", {"t": "<i8"}),
        ("dtypes.offsets", "nonsense"),
        ("dtypes.t", 3),
        ("dtypes.more", "<i8"),
        ("sha256", {}),
        ("sha256", "x"),
        ("sha256.t", None),
        ("bad", 7),
        ("bad", [1]),
        ("bad", [[0]]),
        ("bad", [["0", "reason"]]),
        ("bad", [[10**30, "reason"]]),
        ("content", None),
        ("source", [[]]),
        ("versions", 1),
    ],
)
def test_a_manifest_of_another_form_is_refused(tmp_path: Path, key: str, value: object) -> None:
    path = open_or_build(ToySource(), tmp_path).path
    page = json.loads((path / "manifest.json").read_text())
    entry, _, inner = key.partition(".")
    page[entry] = page[entry] | {inner: value} if inner else value
    (path / "manifest.json").write_text(json.dumps(page))
    with assert_raises(StoreError, path, f"manifest.json: {entry}", "delete"):
        Store.open(path)


@pytest.mark.parametrize("text", ["[]", "7", "null", "{}", '{"format": 2}', '{"format": 2, "source": ' + "[" * 10**5])
def test_a_manifest_of_nothing_or_nested_deep_is_refused(tmp_path: Path, text: str) -> None:
    path = open_or_build(ToySource(), tmp_path).path
    (path / "manifest.json").write_text(text)
    with assert_raises(StoreError, path, "delete"):
        Store.open(path)


@pytest.mark.parametrize("key", ["offsets", "targets", "split", "groups", "last_t", "hashes"])
def test_an_array_with_a_damaged_header_is_refused(tmp_path: Path, key: str) -> None:
    path = open_or_build(ToySource(), tmp_path).path
    whole = (path / f"{key}.npy").read_bytes()
    for place in range(10, whole.index(b"}")):
        damaged = bytearray(whole)
        damaged[place] = b"({'\x00\xff"[place % 5]
        (path / f"{key}.npy").write_bytes(damaged)
        with suppress(StoreError):  # a space more changes nothing
            Store.open(path)


def test_a_last_time_that_no_event_has_is_refused(tmp_path: Path) -> None:
    """Windows up to it would take all memory."""
    path = open_or_build(ToySource(), tmp_path).path
    last_t = np.load(path / "last_t.npy")
    last_t[3] = 2**60
    np.save(path / "last_t.npy", last_t)
    with assert_raises(StoreError, path, "last_t.npy"):
        Store.open(path)


def test_a_source_whose_targets_changed_under_its_fingerprint_is_refused(tmp_path: Path) -> None:
    path = open_or_build(ToySource(), tmp_path).path
    changed = ToySource()
    changed.targets = changed.targets[::-1].copy()
    with assert_raises(StoreError, path, "targets"):
        open_or_build(changed, tmp_path)


@pytest.mark.parametrize("file", ["t.bin", "p.bin", "targets.npy", "split.npy"])
def test_verify_finds_a_flipped_bit(tmp_path: Path, file: str) -> None:
    path = open_or_build(ToySource(), tmp_path).path
    data = bytearray((path / file).read_bytes())
    data[-1] ^= 1
    (path / file).write_bytes(data)
    with assert_raises(StoreError, path, "checksum", file.split(".")[0]):
        Store.open(path).verify()


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


def test_another_split_is_as_if_it_had_been_packed(tmp_path: Path) -> None:
    source, other = ToySource(), ToySource(version=2)
    other.split, other.groups = (np.arange(37) % 3 == 0).astype(np.uint8), None
    store = open_or_build(source, tmp_path / "one")
    # The same events: of the other, only the split and the groups.
    other.read = source.read  # type: ignore[method-assign]
    expected = open_or_build(other, tmp_path / "other")
    found = store.with_split(other.split, None)
    assert found.fingerprint == expected.fingerprint != store.fingerprint
    assert found.groups is None
    np.testing.assert_array_equal(found.split, other.split)
    found.verify()
    assert store.with_split(source.split, source.groups).fingerprint == store.fingerprint


def test_an_error_from_changed_events_is_reported_as_a_damaged_copy(tmp_path: Path) -> None:
    store = open_or_build(ToySource(), tmp_path)

    def raising(places: list[int]) -> None:
        with store.report_damage(lambda: np.array(places)):
            raise DataError("", "check data.sensor_size")

    with assert_raises(DataError, "", "data.sensor_size"):
        raising([0, 5])
    content = bytearray((store.path / "x.bin").read_bytes())
    content[2 * int(store.sizes[:5].sum())] = 200
    (store.path / "x.bin").write_bytes(content)
    store = open_or_build(ToySource(), tmp_path)
    with assert_raises(StoreError, store.path, 5, 0):
        raising([0, 5])
    with assert_raises(DataError, "", "data.sensor_size"):
        raising([0, 6])
