"""Bad input files on the user's path: data=folder, packing, frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import pytest
import torch

from snnlab.data.data_settings import build_dataset, read_settings
from snnlab.data.dataset import Dataset
from snnlab.data.events import Store, open_or_build
from snnlab.data.events.frames import EventBatch, frames_of_batch
from snnlab.errors import DataError

from ..refusals import assert_raises

ROWS, LINE = [10, 8, 2], [10, 1, 2]
Write = Callable[[Path], object]


def table(events: Sequence[Sequence[float]] | np.ndarray, kind: Any = np.int64) -> Write:
    """Return a function that writes a .npy of events, each x, y, t, p."""
    return lambda path: np.save(path, np.asarray(events, kind).reshape(-1, 4))


def cut(write: Write, last: int) -> Write:
    """Return a function that writes the same file without its last bytes."""

    def written(path: Path) -> None:
        write(path)
        path.write_bytes(path.read_bytes()[:-last])

    return written


def hdf5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        for number, name in enumerate("xytp"):
            file[name] = np.array(GOOD)[:, number]


GOOD = [[1, 2, 100 * n, n % 2] for n in range(20)]
EARLIER = [GOOD[1], GOOD[0], GOOD[2]]
BELOW_0 = [[1, 2, t, 1] for t in (-300, -100, 200)]
# A counter of microseconds in 32 bits wraps after 71.6 minutes.
WRAPPED = [[1, 2, t, 1] for t in (2**32 - 20, 2**32 - 10, 0, 10)]


class Refused(NamedTuple):
    name: str
    write: Write
    message_parts: tuple[object, ...]
    settings: dict[str, Any] = {}  # noqa: RUF012


class Accepted(NamedTuple):
    name: str
    write: Write
    in_frames: int
    settings: dict[str, Any] = {}  # noqa: RUF012


REFUSED = {
    "empty npy": Refused("bad.npy", lambda path: path.touch(), ("read",)),
    "empty npz": Refused("bad.npz", lambda path: path.touch(), ("read",)),
    "empty h5": Refused("bad.h5", lambda path: path.touch(), ("read",)),
    "truncated npy": Refused("bad.npy", cut(table(GOOD), 9), ("read",)),
    "truncated npz": Refused("bad.npz", cut(lambda path: np.savez(path, a=np.array(GOOD)), 30), ("read",)),
    "truncated h5": Refused("bad.h5", cut(hdf5, 100), ("read",)),
    "truncated bin": Refused("bad.bin", lambda path: path.write_bytes(bytes(12)), ("byte", 10)),
    "truncated csv": Refused("bad.csv", lambda path: path.write_text("x,y,t,p\n1,2,3,0\n1,2,"), ("read",)),
    "unsorted": Refused("bad.npy", table(EARLIER), ("t", 1, "data.sort=true")),
    "negative times": Refused("bad.npy", table(BELOW_0), (-300, 0), {"time_origin": "zero"}),
    "wrapping times": Refused("bad.npy", table(WRAPPED, np.uint32), ("t", 2, 32)),
    "endless times": Refused("bad.npy", table([[1, 2, 2**62 + 2000, 1]]), ("t", "data.time_unit")),
    "no times": Refused("bad.npy", table([[1, 2, np.nan, 1]], float), ("t", "finite", 0)),
    "x outside": Refused("bad.npy", table([[10, 2, 0, 1]]), ("x", "10..10", "data.sensor_size")),
    "y outside": Refused("bad.npy", table([[1, 8, 0, 1]]), ("y", "8..8", "0..7")),
    "x below 0": Refused("bad.npy", table([[-1, 2, 0, 1], [1, 2, 1, 1]]), ("x", "-1..1")),
    "x that wraps in 16 bits": Refused("bad.npy", table([[65_537, 2, 0, 1]]), ("x", "65537..65537")),
    "x in half pixels": Refused("bad.npy", table([[1.5, 2, 0, 1]], float), ("x", "data.columns")),
    "no y": Refused("bad.csv", lambda path: path.write_text("x,t,p\n1,2,0\n"), ("y", "x, t, p")),
    "polarities in words": Refused("bad.csv", lambda path: path.write_text("x,y,t,p\n1,2,0,on\n"), ("read",)),
    "a column twice": Refused("bad.csv", lambda path: path.write_text("x,y,t,p,x\n1,2,0,1,3\n"), ("x", "twice")),
    "a column by two of its names": Refused(
        "bad.csv", lambda path: path.write_text("x,y,t,p,timestamp\n1,2,0,1,3\n"), ("t", "timestamp")
    ),
}
ACCEPTED = {
    "zero events": Accepted("odd.npy", table([]), 0),
    "zero events in a bin": Accepted("odd.bin", lambda path: path.touch(), 0),
    "zero lines": Accepted("odd.csv", lambda path: path.touch(), 0),
    "one event": Accepted("odd.npy", table([[9, 7, 12_345, 1]]), 1),
    "unsorted": Accepted("odd.npy", table(EARLIER), 3, {"sort": True}),
    "negative times": Accepted("odd.npy", table(BELOW_0), 3),
    "many events in one cell": Accepted("odd.npy", table(np.tile([3, 4, 50, 1], (70_000, 1))), 70_000),
    "events after the window": Accepted("odd.npy", table([[1, 2, 0, 1], [1, 2, 2_000, 1], [1, 2, 9_999, 1]]), 1),
    "unsigned columns": Accepted("odd.npy", table(GOOD[:3], np.uint8), 3),
    "no y": Accepted(
        "odd.csv",
        lambda path: path.write_text("x,t,p\n1,2,0\n9,3,1\n"),
        2,
        {"sensor_size": LINE, "columns": ["x", "t", "p"]},
    ),
}


def prepare(root: Path, **settings: Any) -> tuple[Dataset, dict[str, Any]]:
    """Return the dataset of a folder with two classes of good recordings and any other files, and its YAML."""
    height = settings.get("sensor_size", ROWS)[1]
    for name in ("a/0", "a/1", "b/0", "b/1"):
        path = root / f"{name}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        good = np.array(GOOD)
        np.save(path, good if height > 1 else good[:, [0, 2, 3]])
    node = {"type": "folder", "root": str(root), "sensor_size": ROWS, "num_classes": 2, "duration_ms": 2.0}
    node |= {"num_bins": 4, **settings}
    return build_dataset(node), node


def frames(store: Store, node: dict[str, Any], places: list[int]) -> torch.Tensor:
    common, _, _ = read_settings(node)
    batch = EventBatch.from_packed(store.gather(np.array(places)))
    return frames_of_batch(batch, num_bins=common.steps, duration_us=common.duration_us, sensor_size=common.size).x


def place_of(dataset: Dataset, path: Path) -> int:
    return [dataset.name(index) for index in range(len(dataset))].index(str(path))


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_bad_files_are_named_and_can_be_skipped(case: Refused, tmp_path: Path) -> None:
    bad = tmp_path / "mine" / "a" / case.name
    bad.parent.mkdir(parents=True)
    case.write(bad)
    dataset, node = prepare(tmp_path / "mine", **case.settings)
    with assert_raises(DataError, "", bad, *case.message_parts) as caught:
        open_or_build(dataset, tmp_path / "stores")
    assert str(caught.value).startswith(f"{bad}: ")
    store = open_or_build(dataset, tmp_path / "stores", on_bad="skip")
    place = place_of(dataset, bad)
    assert list(store.bad) == [place]
    others = [index for index in range(len(store)) if index != place]
    assert frames(store, node, others).sum((0, 2, 3, 4)).tolist() == [20] * 4


@pytest.mark.parametrize("case", ACCEPTED.values(), ids=ACCEPTED)
def test_unusual_valid_recordings_are_counted_exactly(case: Accepted, tmp_path: Path) -> None:
    odd = tmp_path / "mine" / "a" / case.name
    odd.parent.mkdir(parents=True)
    case.write(odd)
    dataset, node = prepare(tmp_path / "mine", **case.settings)
    store = open_or_build(dataset, tmp_path / "stores")
    place = place_of(dataset, odd)
    x = frames(store, node, [0, place])
    assert not store.bad
    assert float(x[:, 1].sum()) == case.in_frames
    assert case.in_frames < 1000 or float(x.max()) == case.in_frames
    store.verify()


def test_labels_are_words_or_numbers(tmp_path: Path) -> None:
    root = tmp_path / "mine"
    prepare(root)
    lines = ["path,label", "a/0.npy,Ümlaut", "a/1.npy,two words", "b/0.npy,Ümlaut", "b/1.npy,two words"]
    (root / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    dataset, _ = prepare(root, labels="labels.csv")
    assert dataset.class_names == ["two words", "Ümlaut"]
    assert open_or_build(dataset, tmp_path / "stores").targets.tolist() == [1, 0, 1, 0]


def test_files_of_one_name_in_two_classes_are_two_recordings(tmp_path: Path) -> None:
    dataset, _ = prepare(tmp_path / "mine")
    assert len({dataset.name(index) for index in range(4)}) == len(dataset) == 4
    assert open_or_build(dataset, tmp_path / "stores").targets.tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("last", "message_parts"),
    [
        ("a/0.npy,a,,", (2,)),
        ("./a/0.npy,b,,", (2, "b", "a")),
        ("b/0.npy,a,1,2", None),
    ],
)
def test_a_recording_that_is_named_twice_in_the_table_is_refused(
    tmp_path: Path, last: str, message_parts: tuple | None
) -> None:
    root = tmp_path / "mine"
    prepare(root)
    lines = ["path,label,start_ms,end_ms", "a/0.npy,a,,", "b/0.npy,b,0,1", last, "b/1.npy,b,,"]
    (root / "labels.csv").write_text("\n".join(lines) + "\n")
    if message_parts is None:
        assert len(prepare(root, labels="labels.csv")[0]) == 4
        return
    with assert_raises(DataError, "", "labels.csv, line 4", root / "a" / "0.npy", *message_parts):
        prepare(root, labels="labels.csv")


def test_a_column_that_is_named_twice_in_the_table_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "mine"
    prepare(root)
    (root / "labels.csv").write_text("path,label,label\na/0.npy,a,b\n")
    with assert_raises(DataError, "data.labels", "labels.csv"):
        prepare(root, labels="labels.csv")
