from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest

from snnlab.data.events import open_or_build
from snnlab.data.sources.recordings import NCars

HEAD = b"% Data file containing Event2D events.\n% Version 2\n% Date 2017-10-31 11:29:21\n\x00\x08"


def encode(seed: int) -> bytes:
    """Return 30 events in Prophesee's DAT: us, then 14 bits of x, 14 of y and one of polarity."""
    rng = np.random.default_rng(seed)
    t, x, y, p = np.sort(rng.integers(0, 100_000, 30)), *rng.integers(0, 100, (2, 30)), rng.integers(0, 2, 30)
    return HEAD + np.stack([t, x | (y << 14) | (p << 28)], 1).astype("<u4").tobytes()


def write(folder: Path, first: int) -> None:
    for name in ("cars", "background"):
        (folder / name).mkdir(parents=True)
        for number in range(2):
            (folder / name / f"obj_{first + number:06d}_td.dat").write_bytes(encode(number))


LAYOUTS = [("n-cars_train", "n-cars_test"), ("n-cars_train/train", "n-cars_test/test"), ("train", "test")]


@pytest.mark.parametrize("within", ["", "Prophesee_Dataset_n_cars"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_all_layouts_of_copies_are_known(within: str, layout: tuple[str, str], tmp_path: Path) -> None:
    for place, first in zip(layout, (4396, 0), strict=True):
        write(tmp_path / "NCARS" / within / place, first)
    cars = NCars(str(tmp_path), download=False)
    assert cars.targets.tolist() == [0, 0, 1, 1] * 2
    assert cars.split.tolist() == [0] * 4 + [1] * 4
    assert [Path(cars.name(index)).name for index in (0, 7)] == ["obj_004396_td.dat", "obj_000001_td.dat"]


def test_events_are_read_as_they_were_written(tmp_path: Path) -> None:
    write(tmp_path / "NCARS/n-cars_train", 0)
    write(tmp_path / "NCARS/n-cars_test", 0)
    cars = NCars(str(tmp_path), download=False)
    t, x, y, p = cars.read(1)
    words = np.frombuffer(encode(1)[len(HEAD) :], "<u4").reshape(-1, 2).astype(np.int64)
    assert y is not None
    assert t.tolist() == words[:, 0].tolist()
    assert x.tolist() == (words[:, 1] & 0x3FFF).tolist()
    assert y.tolist() == ((words[:, 1] >> 14) & 0x3FFF).tolist()
    assert p.tolist() == (words[:, 1] >> 28).astype(bool).tolist()
    assert open_or_build(cars, tmp_path / "store").sizes.tolist() == [30] * 8


def test_the_archives_in_the_published_archive_are_unpacked(tmp_path: Path) -> None:
    for part in ("train", "test"):
        write(tmp_path / "made" / f"n-cars_{part}" / part, 0)
        shutil.make_archive(str(tmp_path / "packed" / f"n-cars_{part}"), "zip", tmp_path / "made" / f"n-cars_{part}")
    outer = Path(shutil.make_archive(str(tmp_path / "Prophesee_Dataset_n_cars"), "zip", tmp_path / "packed"))
    md5 = hashlib.md5(outer.read_bytes()).hexdigest()
    cars = NCars(str(tmp_path / "root"), archives=[{"name": outer.name, "md5": md5, "url": outer.as_uri()}])
    assert cars.split.tolist() == [0] * 4 + [1] * 4
    assert cars.name(7) == str(tmp_path / "root/NCARS/test/cars/obj_000001_td.dat")
