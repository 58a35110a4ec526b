from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from snnlab.errors import DamagedError
from snnlab.runs.recorded import RunFiles
from snnlab.runs.run_folder import TRAINED_ON, write_trained_on

from ..refusals import assert_raises


def test_checksums_come_back_each_once(tmp_path: Path) -> None:
    assert RunFiles(tmp_path).trained_on() is None
    write_trained_on(tmp_path, np.array([3, 2**64 - 1, 3], np.uint64))
    found = RunFiles(tmp_path).trained_on()
    assert found is not None
    assert (found.dtype, found.tolist()) == (np.uint64, [3, 2**64 - 1])


@pytest.mark.parametrize("content", [b"", b"text", b"\x93NUMPY\x01\x00v\x00"])
def test_a_damaged_file_is_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / TRAINED_ON).write_bytes(content)
    with assert_raises(DamagedError, TRAINED_ON):
        RunFiles(tmp_path).trained_on()


def test_a_file_of_something_else_is_named(tmp_path: Path) -> None:
    np.save(tmp_path / TRAINED_ON, np.zeros((2, 2)))
    with assert_raises(DamagedError, "trained_on.npy", "run"):
        RunFiles(tmp_path).trained_on()
