"""Large files of cameras: packed in pieces they are as packed at once, and a segment is what is in memory."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from snnlab.data import camera_files
from snnlab.data.events import Events, Store, open_or_build
from snnlab.data.formats import ReadOptions
from snnlab.data.sources import long_file
from snnlab.data.sources.folder import Folder
from snnlab.errors import DataError

from ...refusals import assert_raises

SENSOR = (16, 12, 2)
EVENTS = 6000


def encoded(t: np.ndarray, seed: int) -> bytes:
    """Return events as in a file of N-MNIST."""
    x, y, p = (np.random.default_rng(seed).integers(0, most, t.size) for most in (16, 12, 2))
    return np.stack((x, y, p << 7 | t >> 16, t >> 8 & 255, t & 255), 1).astype(np.uint8).tobytes()


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with two files of three seconds; 1 KB is large, and a piece has some hundred events."""
    monkeypatch.setattr(long_file, "LARGE", 1024)
    monkeypatch.setattr(camera_files, "_READ", 2000)
    for name in ("one", "two"):
        t = np.sort(np.random.default_rng(len(name)).integers(5_000, 3_000_000, EVENTS))
        (tmp_path / f"{name}.bin").write_bytes(encoded(t, 7))
    return tmp_path


def packed(root: Path, rows: list[str], **settings: Any) -> Store:
    (root / "labels.csv").write_text("\n".join(["path,label,start_ms,end_ms", *rows]) + "\n")
    where = root / f"stores{len([*root.iterdir()])}"
    return open_or_build(Folder(str(root), SENSOR, "labels.csv", test_fraction=0, **settings), where, on_bad="skip")


TABLES = {
    "whole": ["one.bin,a,,", "two.bin,b,,"],
    "in order": [f"one.bin,{'ab'[n % 2]},{300 * n},{300 * n + 250}" for n in range(9)],
    "overlapping": ["one.bin,a,0,2000", "one.bin,b,100,300", "one.bin,a,250,2500", "one.bin,b,2400,"],
    "in no order": ["one.bin,a,2000,2100", "one.bin,b,100,300", "one.bin,a,1500,1800", "one.bin,b,0,50"],
    "of two files": [f"{'one' if n % 2 else 'two'}.bin,{'aabb'[n % 4]},{300 * n},{300 * n + 300}" for n in range(9)],
    "without events": ["one.bin,a,0,300", "one.bin,b,9000,9100", "one.bin,b,300,600"],
}


@pytest.mark.parametrize("rows", TABLES.values(), ids=TABLES)
@pytest.mark.parametrize("settings", [{}, {"time_origin": "zero"}], ids=["first", "zero"])
def test_in_pieces_the_same_is_packed_as_at_once(
    rows: list[str], settings: dict[str, Any], root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pieces = packed(root, rows, **settings)
    monkeypatch.setattr(long_file, "LARGE", 10**9)
    whole = packed(root, rows, **settings)
    assert pieces.manifest.sha256 == whole.manifest.sha256
    assert pieces.bad.keys() == whole.bad.keys()
    assert pieces.num_events > 0


def test_of_a_damaged_file_nothing_is_used_and_others_are_whole(root: Path) -> None:
    t = np.arange(EVENTS) * 500
    t[EVENTS - 10] = 0
    (root / "one.bin").write_bytes(encoded(t, 3))
    for first in ("one.bin,a,0,300", "one.bin,a,,"):
        store = packed(root, [first, "two.bin,b,,"])
        assert list(store.bad) == [0]
        assert f"event {EVENTS - 10}" in store.bad[0]
        assert store.sizes.tolist() == [0, EVENTS]
        store.verify()


def test_a_coordinate_outside_is_refused_and_leaves_nothing(root: Path) -> None:
    content = bytearray((root / "one.bin").read_bytes())
    content[5 * 5000] = 200  # x of an event
    (root / "one.bin").write_bytes(content)
    store = packed(root, ["one.bin,a,,", "two.bin,b,,"])
    assert (list(store.bad), store.sizes.tolist()) == ([0], [0, EVENTS])
    store.verify()
    with assert_raises(DataError, "", "one.bin", "0..200"):
        open_or_build(Folder(str(root), SENSOR, "labels.csv", test_fraction=0), root / "others")


def test_a_segment_is_in_memory_and_not_the_file(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alive, most = [0], [0]

    def counted(*given: Any, **options: Any) -> Iterator[Events]:
        for piece in read(*given, **options):
            alive[0], t = alive[0] + piece.t.size, piece.t.copy()
            most[0] = max(most[0], alive[0])
            weakref.finalize(t, lambda size: alive.__setitem__(0, alive[0] - size), t.size)
            yield piece._replace(t=t)
            del t, piece

    read = long_file.read_pieces
    monkeypatch.setattr(long_file, "read_pieces", counted)
    found = long_file.LongFile(root / "one.bin", ReadOptions(), SENSOR)
    starts = range(0, 2_700_000, 300_000)
    sizes = [sum(piece.t.size for piece in found.segment(us, us + 300_000, us + 300_000)) for us in starts]
    assert sum(sizes) > 0.85 * EVENTS
    assert most[0] < max(sizes) + 1000
