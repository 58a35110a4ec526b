"""N-MNIST: on synthetic files in the genuine format of 5 bytes an event, and on the real recordings where they are."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from snnlab.data.events import Events, open_or_build
from snnlab.data.sources.recordings import NMNIST, DatasetPart
from snnlab.errors import DataError

from ...refusals import assert_error_has, assert_lines_have, assert_raises, assert_text_has

ROOT = Path(__file__).parents[3]
OVERFLOW_Y, OVERFLOW_US = 240, 2**13

# Part, digit and number of each synthetic file, in the order in which they must come.
FILES = [("Train", 0, 4), ("Train", 0, 30), ("Train", 2, 1), ("Train", 9, 7), ("Test", 0, 8), ("Test", 3, 2)]


def encode(t: np.ndarray, x: np.ndarray, y: np.ndarray, p: np.ndarray) -> bytes:
    """Return events in the file format: x, y, then a bit of polarity and 23 bits of us, high byte first."""
    rows = np.stack([x, y, (p.astype(int) << 7) | (t >> 16), (t >> 8) & 255, t & 255], 1)
    return rows.astype(np.uint8).tobytes()


def synthetic(number: int) -> Events:
    rng = np.random.default_rng(number)
    t = np.sort(rng.integers(0, 316_000, 50))
    x, y = rng.integers(0, 34, (2, 50)).astype(np.int16)
    return Events(t, x, y, rng.random(50) < 0.5)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for part, digit, number in reversed(FILES):
        path = tmp_path / "NMNIST" / part / str(digit) / f"{number:05d}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        events = synthetic(number)
        assert events.y is not None
        path.write_bytes(encode(events.t, events.x, events.y, events.p))
    (tmp_path / "NMNIST" / "Train" / "0" / "notes.txt").write_text("not a recording")
    (tmp_path / "NMNIST" / "Train" / "1").mkdir()
    return tmp_path


def archive(path: Path) -> dict[str, str]:
    """Return how a YAML names an archive, of which there may be none."""
    md5 = hashlib.md5(path.read_bytes() if path.is_file() else b"").hexdigest()
    return {"name": "train.zip", "md5": md5, "url": path.as_uri()}


def _source(root: Path) -> NMNIST:
    return NMNIST(str(root), download=False)


def test_files_are_listed_in_order_with_their_digit_and_part(root: Path) -> None:
    source = _source(root)
    assert len(source) == len(FILES)
    assert [Path(source.name(i)).relative_to(root / "NMNIST") for i in range(len(source))] == [
        Path(part, str(digit), f"{number:05d}.bin") for part, digit, number in FILES
    ]
    assert source.targets.tolist() == [digit for _, digit, _ in FILES]
    assert source.split.tolist() == [int(part == "Test") for part, _, _ in FILES]


def test_columns_are_read_back_exactly(root: Path) -> None:
    source = _source(root)
    for index, (_, _, number) in enumerate(FILES):
        for read, written in zip(source.read(index), synthetic(number), strict=True):
            assert read is not None
            assert written is not None
            assert read.dtype == written.dtype
            np.testing.assert_array_equal(read, written)


def test_the_largest_time_and_the_overflow_event_are_understood(root: Path) -> None:
    t, y = np.array([2**23 - 1, 0, 5]), np.array([33, OVERFLOW_Y, 0])
    (root / "NMNIST/Train/0/00004.bin").write_bytes(encode(t, np.array([33, 0, 1]), y, np.array([True, False, True])))
    events = _source(root).read(0)
    assert events.t.tolist() == [2**23 - 1, 5 + OVERFLOW_US]
    assert events.x.tolist() == [33, 1]
    assert events.p.tolist() == [True, True]


def test_it_packs_and_opens_again(root: Path, store_dir: Path) -> None:
    store = open_or_build(_source(root), store_dir)
    np.testing.assert_array_equal(store[3].t, synthetic(7).t)
    assert store.split.sum() == 2
    assert open_or_build(_source(root), store_dir).path == store.path


def test_a_partial_copy_is_reported(root: Path) -> None:
    folder = root / "NMNIST"
    train, test = ("nmnist", "4 of 60,000", folder / "Train"), ("nmnist", "2 of 10,000", folder / "Test")
    assert_lines_have(_source(root).notes, train, test)


def test_a_whole_copy_says_nothing_and_fetches_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(NMNIST, "parts", (DatasetPart("Train", 0, 4), DatasetPart("Test", 1, 2)))
    assert NMNIST(str(root), archives=[archive(root / "nowhere.zip")]).notes == []


@pytest.mark.parametrize("missing", ["NMNIST", "NMNIST/Train", "NMNIST/Test"])
@pytest.mark.parametrize("emptied", [False, True])
def test_a_missing_or_empty_folder_is_named_with_a_hint(root: Path, missing: str, emptied: bool) -> None:
    files = sorted((root / missing).rglob("*"), reverse=True)
    for path in files:
        if path.is_file():
            path.unlink()
        elif not emptied:
            path.rmdir()
    part = root / ("NMNIST/Train" if missing == "NMNIST" else missing)
    with assert_raises(DataError, "data.root", "recordings", part, "data.download=true"):
        _source(root)


def test_the_fingerprint_changes_with_any_file(root: Path) -> None:
    before, path = _source(root).fingerprint(), root / "NMNIST/Test/3/00002.bin"
    assert _source(root).fingerprint() == before
    stat = path.stat()
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    touched = _source(root).fingerprint()
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert _source(root).fingerprint() == before
    path.rename(path.with_name("00003.bin"))
    renamed = _source(root).fingerprint()
    path.with_name("00003.bin").unlink()
    removed = _source(root).fingerprint()
    assert len({str(each) for each in (before, touched, renamed, removed)}) == 4


def test_the_fingerprint_does_not_depend_on_the_folder(root: Path) -> None:
    before = _source(root).fingerprint()
    (root / "elsewhere").mkdir()
    (root / "NMNIST").rename(root / "elsewhere" / "NMNIST")
    assert _source(root / "elsewhere").fingerprint() == before


@pytest.mark.long
def test_listing_imports_neither_tonic_nor_lightning(root: Path) -> None:
    code = (
        "import sys; from snnlab.data.sources.recordings import NMNIST;"
        "NMNIST(sys.argv[1], download=False).fingerprint();"
        "print(sorted({'tonic', 'lightning', 'sklearn'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(root)], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr


def test_a_failing_download_names_the_existing_recordings_and_a_hint(root: Path) -> None:
    folder, url = root / "NMNIST", (root / "nowhere.zip").as_uri()
    with pytest.raises(DataError) as caught:
        NMNIST(str(root), archives=[archive(root / "nowhere.zip")])
    assert_error_has(
        caught.value, "data.root", "4 of 60,000", folder / "Train", "2 of 10,000", folder / "Test", "[Errno 2]"
    )
    assert_text_has(caught.value.hint, "data.download=false", "data.root=FOLDER", "NMNIST", url, folder / "train.zip")


def test_a_finished_download_is_used(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("empty")
    packed = Path(shutil.make_archive(str(elsewhere / "mirror"), "zip", root / "NMNIST"))
    source = NMNIST(str(elsewhere), archives=[archive(packed)])
    assert len(source) == len(FILES)
    assert source.read(3).t.tolist() == synthetic(7).t.tolist()


def test_the_real_recordings_are_what_is_known_of_them(real_data: Path, store_dir: Path) -> None:
    source = _source(real_data)
    assert (len(source), int(source.split.sum())) == (800, 100)
    store = open_or_build(source, store_dir)
    assert abs(store.num_events / 800 - 4101) < 1
    assert store.count_outside(np.arange(800), 320_000) == 0
    last = [int(store[index].t[-1]) for index in range(800)]
    assert 291_000 < min(last) < max(last) < 316_000
