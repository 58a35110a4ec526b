"""Each kind of file, written as its own tools write it: the recording that comes back is the one that went in."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from expelliarmus import Wizard

from snnlab.data.events import SensorSize
from snnlab.data.formats import ReadOptions, read_file
from snnlab.errors import DataError

from ..fixtures.camera_files import events, write_aedat2, write_aedat4, write_es
from ..refusals import assert_raises

SENSOR = (10, 8, 2)
DAVIS = (240, 180, 2)
GEN3, GEN4 = (640, 480, 2), (1280, 720, 2)
T, X, Y, P = [5, 7, 7, 9000], [0, 9, 3, 1], [0, 7, 2, 6], [1, 0, 1, 0]
ZERO = ReadOptions(time_origin="zero")


def table() -> np.ndarray:
    return np.array([X, Y, T, P]).T


def named() -> np.ndarray:
    events = np.zeros(4, [("timestamp", "<u4"), ("x", "<u2"), ("y", "<u2"), ("polarity", "?")])
    events["timestamp"], events["x"], events["y"], events["polarity"] = T, X, Y, P
    return events


def hdf5(path: Path, group: str, **arrays: object) -> None:
    with h5py.File(path, "w") as file:
        above = file.create_group(group) if group else file
        for name, values in arrays.items():
            above[name] = values


def evt3(path: Path) -> None:
    """Write words of 16 bits: 0 a row, 8 and 6 the upper and lower half of the time, 2 a column with its polarity."""
    words = []
    for t, x, y, p in zip(T, X, Y, P, strict=True):
        words += [0x0000 | y, 0x8000 | t >> 12, 0x6000 | t & 0xFFF, 0x2000 | p << 11 | x]
    path.write_bytes(b"% evt 3.0\n% end\n" + struct.pack(f"<{len(words)}H", *words))


def prophesee(path: Path, encoding: str) -> None:
    events = np.zeros(4, [("t", "<i8"), ("x", "<i2"), ("y", "<i2"), ("p", "u1")])
    events["t"], events["x"], events["y"], events["p"] = T, X, Y, P
    Wizard(encoding=encoding).save(fpath=path, arr=events)


def nmnist(path: Path) -> None:
    t = np.array(T)
    path.write_bytes(np.stack([X, Y, np.array(P) << 7 | t >> 16, t >> 8 & 255, t & 255], 1).astype(np.uint8).tobytes())


CAMERA = events(T, X, Y, P)
HEAD = "t,x,y,p\n"
LINES = "".join(f"{t},{x},{y},{p}\n" for t, x, y, p in zip(T, X, Y, P, strict=True))
UNNAMED = "".join(f"{x} {y} {t} {p}\n" for t, x, y, p in zip(T, X, Y, P, strict=True))
WRITERS: dict[str, Callable[[Path], object]] = {
    "table.npy": lambda path: np.save(path, table()),
    "floats.npy": lambda path: np.save(path, table().astype(np.float64)),
    "named.npy": lambda path: np.save(path, named()),
    "columns.npz": lambda path: np.savez(path, t=T, x=X, y=Y, p=P, fps=30),
    "one.npz": lambda path: np.savez_compressed(path, events=table()),
    "named.csv": lambda path: path.write_text(HEAD + LINES),
    "bom.csv": lambda path: path.write_text("\ufeff" + HEAD.replace(",", " , ") + LINES),
    "semicolons.csv": lambda path: path.write_text((HEAD + LINES).replace(",", ";")),
    "unnamed.txt": lambda path: path.write_text(UNNAMED),
    "root.h5": lambda path: hdf5(path, "", t=T, x=X, y=Y, p=P, frames=np.zeros((2, 3))),
    "group.hdf5": lambda path: hdf5(path, "events", ts=T, xs=X, ys=Y, ps=P),
    "camera.h5": lambda path: hdf5(path, "CD", events=named()),
    "nmnist.bin": nmnist,
    "camera.dat": lambda path: prophesee(path, "dat"),
    "evt2.raw": lambda path: prophesee(path, "evt2"),
    "evt3.raw": evt3,
    "davis.aedat": lambda path: write_aedat2(path, CAMERA),
    "plain.aedat4": lambda path: write_aedat4(path, CAMERA, size=SENSOR[:2], packet=3),
    "lz4.aedat4": lambda path: write_aedat4(path, CAMERA, 1, SENSOR[:2], packet=3),
    "dvs.es": lambda path: write_es(path, CAMERA),
    "atis.es": lambda path: write_es(path, CAMERA, is_atis=True),
}


@pytest.mark.parametrize("name", WRITERS)
def test_written_files_are_read(name: str, tmp_path: Path) -> None:
    WRITERS[name](tmp_path / name)
    t, x, y, p = read_file(tmp_path / name, ZERO, {"davis.aedat": DAVIS, "evt2.raw": GEN3}.get(name, SENSOR))
    assert y is not None
    assert (t.tolist(), x.tolist(), y.tolist(), p.tolist()) == (T, X, Y, [bool(on) for on in P])


def test_columns_may_come_in_another_order(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.array([[3, 0.5, 1, 99, 2], [4, 1.5, 0, 99, 6]]))
    reading = ReadOptions("ms", "zero", columns=("x", "t", "p", "-", "y"))
    t, x, y, p = read_file(path, reading, SENSOR)
    assert y is not None
    assert (t.tolist(), x.tolist(), y.tolist(), p.tolist()) == ([500, 1500], [3, 4], [2, 6], [True, False])


def test_a_sensor_without_rows_has_three_columns_or_two(tmp_path: Path) -> None:
    np.save(tmp_path / "three.npy", np.array([[3, 10, 1], [4, 20, 0]]))
    np.save(tmp_path / "two.npy", np.array([[3, 10], [4, 20]]))
    assert read_file(tmp_path / "three.npy", ZERO, (10, 1, 2)).p.tolist() == [True, False]
    assert read_file(tmp_path / "two.npy", ZERO, (10, 1, 1)).t.tolist() == [10, 20]


def test_camera_files_are_always_in_microseconds(tmp_path: Path) -> None:
    nmnist(tmp_path / "a.bin")
    assert read_file(tmp_path / "a.bin", ReadOptions("s", "zero"), SENSOR).t.tolist() == T


def test_nanoseconds_since_1970_keep_their_last_digits(tmp_path: Path) -> None:
    now = 1_764_000_000_000_000_000
    (tmp_path / "a.csv").write_text(f"t,x,y,p\n{now},1,1,1\n{now + 1999},1,1,1\n")
    assert read_file(tmp_path / "a.csv", ReadOptions("ns"), SENSOR).t.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("name", "encoding", "sensor"), [("a.dat", "dat", SENSOR), ("a.raw", "evt2", GEN3), ("b.raw", "evt3", GEN4)]
)
def test_a_cameras_file_that_ends_within_an_event_is_named(
    name: str, encoding: str, sensor: SensorSize, tmp_path: Path
) -> None:
    path = tmp_path / name
    prophesee(path, encoding)
    whole = path.read_bytes()
    read_file(path, ZERO, sensor)
    path.write_bytes(whole[:-1])
    with assert_raises(DataError, path, "truncated"):
        read_file(path, ZERO, sensor)


def test_an_unknown_representation_gets_the_known_ones(tmp_path: Path) -> None:
    with assert_raises(DataError, "a.mat", "events"):
        read_file(tmp_path / "a.mat", ZERO, SENSOR)


def test_a_table_of_other_columns_gets_the_expected_columns(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((3, 6)))
    with assert_raises(DataError, "a.npy", 3, 6):
        read_file(tmp_path / "a.npy", ZERO, SENSOR)
