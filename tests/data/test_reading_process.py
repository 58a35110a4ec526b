"""Files that other libraries read, in a process of its own: what kills or holds it, and what it returns."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from snnlab.data.reading_process import read_apart, stop_reading_process
from snnlab.errors import DataError, MissingPackageError

from ..fixtures.camera_files import aedat4_header, events, write_aedat4, write_es
from ..refusals import assert_raises

CRASHING = Path(__file__).parent.parent / "fixtures" / "crashing"


@pytest.fixture
def crashing_scipy(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    stop_reading_process()
    monkeypatch.setattr(sys, "path", [str(CRASHING), *sys.path])
    yield
    stop_reading_process()


@pytest.mark.usefixtures("crashing_scipy")
def test_a_file_that_kills_its_decoder_is_named_and_the_next_one_is_read(tmp_path: Path) -> None:
    (tmp_path / "bad.mat").write_bytes(b"abort")
    with (tmp_path / "good.mat").open("wb") as file:
        np.savez(file, ts=np.arange(30))
    for _ in range(2):
        with assert_raises(DataError, tmp_path / "bad.mat", "damaged"):
            read_apart(tmp_path / "bad.mat", "mat")
        assert read_apart(tmp_path / "good.mat", "mat")["ts"].tolist() == list(range(30))


@pytest.mark.usefixtures("crashing_scipy")
def test_a_file_that_its_decoder_does_not_finish_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("snnlab.data.reading_process._SECONDS", 1)
    (tmp_path / "a.mat").write_bytes(b"hang")
    with assert_raises(DataError, tmp_path / "a.mat", "1 s"):
        read_apart(tmp_path / "a.mat", "mat")


ARRAYS = {
    "x": np.arange(-12, 12, dtype=np.int16).reshape(2, 3, 4),
    "file": (np.arange(300) % 2).astype(np.uint8).reshape(10, 30),
}


def test_arrays_of_a_mat_file_are_returned_and_cells_are_left_out(tmp_path: Path) -> None:
    savemat(tmp_path / "a.mat", {**ARRAYS, "cells": np.array([1, "a"], object)}, do_compression=True)
    arrays = read_apart(tmp_path / "a.mat", "mat")
    assert set(ARRAYS) == set(arrays)
    assert all(np.array_equal(arrays[name], array) for name, array in ARRAYS.items())


@pytest.mark.parametrize("name", ["a.mat", "a.aedat4", "a.es"])
def test_a_file_cut_or_changed_anywhere_gives_one_line_or_arrays(name: str, tmp_path: Path) -> None:
    path, sorted_events = tmp_path / name, events([5, 7, 9], [1, 2, 3], [3, 2, 1], [0, 1, 1])
    if name == "a.mat":
        savemat(path, ARRAYS)
    elif name == "a.aedat4":
        write_aedat4(path, sorted_events, 1, size=(10, 8))
    else:
        write_es(path, sorted_events)
    whole, rng, reasons = path.read_bytes(), np.random.default_rng(0), list[str]()
    flips = [bytearray(whole) for _ in range(100)]
    for content in flips:
        for place in rng.integers(min(len(whole), 12), len(whole), 3):
            content[place] = rng.integers(256)
    cuts = [whole[:size] for size in range(0, len(whole), 1 + len(whole) // 30)]
    for content in (*cuts, *flips):
        path.write_bytes(content)
        try:
            read_apart(path, "mat" if name == "a.mat" else "camera")
        except DataError as error:
            reasons.append(str(error))
    assert len(reasons) > 10
    assert not any("\n" in reason for reason in reasons)


@pytest.mark.parametrize("name", ["a.aedat4", "a.es"])
def test_faery_that_is_not_installed_is_one_line(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("snnlab.data.reading_process.find_spec", lambda _: None)
    with assert_raises(MissingPackageError, tmp_path / name, "faery", "snnlab-train[formats]"):
        read_apart(tmp_path / name, "camera")


def test_events_of_two_cameras_in_one_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.aedat4").write_bytes(aedat4_header(0, ["EVTS", "FRME", "EVTS"], (8, 8)))
    with assert_raises(DataError, tmp_path / "a.aedat4", "2 cameras"):
        read_apart(tmp_path / "a.aedat4", "camera")
