"""Arrays of MATLAB 5 files are those that SciPy reads; damaged files give one line."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from snnlab.data.mat_files import read_mat
from snnlab.errors import DataError

from ..refusals import assert_raises

ARRAYS = {
    "x": np.arange(-12, 12, dtype=np.int16).reshape(2, 3, 4),
    "y": (np.arange(300) % 2).astype(np.uint8).reshape(10, 30),
    "n": np.array([[70000]], np.int32),
}


def written(tmp_path: Path, arrays: dict, *, compressed: bool = True) -> Path:
    path = tmp_path / "file.mat"
    savemat(path, arrays, do_compression=compressed)
    return path


@pytest.mark.parametrize("compressed", [True, False])
def test_arrays_are_those_that_scipy_wrote(tmp_path: Path, compressed: bool) -> None:
    others = {"text": "abc", "cells": np.array([1, "a"], object), "real": np.array([0.5])}
    found = read_mat(written(tmp_path, {**others, **ARRAYS}, compressed=compressed), tuple(ARRAYS))
    for name, array in ARRAYS.items():
        assert np.array_equal(found[name], array)


@pytest.mark.parametrize("name", ["text", "real", "cells"])
def test_what_is_no_array_of_whole_numbers_is_refused(tmp_path: Path, name: str) -> None:
    others = {"text": "abc", "cells": np.array([1, "a"], object), "real": np.array([0.5])}
    with assert_raises(DataError, "file.mat"):
        read_mat(written(tmp_path, others), (name,))


def test_a_missing_array_is_named_with_those_that_are_there(tmp_path: Path) -> None:
    with assert_raises(DataError, "file.mat", "z"):
        read_mat(written(tmp_path, ARRAYS), ("x", "z"))
    with assert_raises(DataError, "none.mat"):
        read_mat(tmp_path / "none.mat", ("x",))


@pytest.mark.parametrize("compressed", [True, pytest.param(False, marks=pytest.mark.long)])
def test_a_file_cut_or_changed_anywhere_gives_one_line_or_arrays(tmp_path: Path, compressed: bool) -> None:
    path = written(tmp_path, ARRAYS, compressed=compressed)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    cuts = [whole[:size] for size in range(0, len(whole), 7)]
    flips = [bytearray(whole) for _ in range(400)]
    for content in flips:
        for place in rng.integers(124, len(whole), 3):
            content[place] = rng.integers(256)
    refused = read = 0
    for content in (*cuts, *map(bytes, flips)):
        path.write_bytes(content)
        try:
            found = read_mat(path, tuple(ARRAYS))
        except DataError as error:
            refused += len(str(error).splitlines()) == 1
        else:
            read += 1
            assert sum(array.nbytes for array in found.values()) < 10 * len(whole)
    assert refused >= len(cuts)
    assert refused + read == len(cuts) + len(flips)


def test_a_file_cannot_ask_for_more_than_it_holds(tmp_path: Path) -> None:
    path = written(tmp_path, {"x": np.zeros((2, 2), np.int16)}, compressed=False)
    content = bytearray(path.read_bytes())
    at = content.index(struct.pack("<ii", 2, 2))
    content[at : at + 8] = struct.pack("<ii", 2**31 - 1, 2**31 - 1)
    path.write_bytes(content)
    with assert_raises(DataError, "file.mat", 2**31 - 1):
        read_mat(path, ("x",))
    bomb = zlib.compress(bytes(1 << 24), 9)
    path.write_bytes(bytes(content[:128]) + struct.pack("<II", 15, len(bomb)) + bomb)
    with assert_raises(DataError, "file.mat"):
        read_mat(path, ("x",))
