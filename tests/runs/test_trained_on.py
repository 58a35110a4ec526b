from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from snnlab.errors import RunFolderError
from snnlab.session.weights import TRAINED_ON_FILE, read_trained_on, write_trained_on

from ..refusals import assert_raises


def test_checksums_come_back_each_once(tmp_path: Path) -> None:
    assert read_trained_on(tmp_path) is None
    write_trained_on(tmp_path, np.array([3, 2**64 - 1, 3], np.uint64))
    found = read_trained_on(tmp_path)
    assert found is not None
    assert (found.dtype, found.tolist()) == (np.uint64, [3, 2**64 - 1])


@pytest.mark.parametrize("content", [b"", b"text", b"\x93NUMPY\x01\x00v\x00"])
def test_a_damaged_file_is_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / TRAINED_ON_FILE).write_bytes(content)
    with assert_raises(RunFolderError, TRAINED_ON_FILE):
        read_trained_on(tmp_path)


def test_a_file_of_something_else_is_named(tmp_path: Path) -> None:
    np.save(tmp_path / TRAINED_ON_FILE, np.zeros((2, 2)))
    with assert_raises(RunFolderError, "trained_on.npy", "run"):
        read_trained_on(tmp_path)
