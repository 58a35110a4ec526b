"""Files that kill or hold the process that reads them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from snnlab.data.reading_process import read_apart, stop_reading_process
from snnlab.errors import DataError

from ..refusals import assert_raises

CRASHING = Path(__file__).parent.parent / "fixtures" / "crashing"


@pytest.fixture(autouse=True)
def _crashing_scipy(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    stop_reading_process()
    monkeypatch.setattr(sys, "path", [str(CRASHING), *sys.path])
    yield
    stop_reading_process()


def test_a_file_that_kills_its_decoder_is_named_and_the_next_one_is_read(tmp_path: Path) -> None:
    (tmp_path / "bad.mat").write_bytes(b"abort")
    with (tmp_path / "good.mat").open("wb") as file:
        np.savez(file, ts=np.arange(30))
    for _ in range(2):
        with assert_raises(DataError, tmp_path / "bad.mat", "damaged"):
            read_apart(tmp_path / "bad.mat", "mat")
        assert read_apart(tmp_path / "good.mat", "mat")["ts"].tolist() == list(range(30))


def test_a_file_that_its_decoder_does_not_finish_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("snnlab.data.reading_process._SECONDS", 1)
    (tmp_path / "a.mat").write_bytes(b"hang")
    with assert_raises(DataError, tmp_path / "a.mat", "1 s"):
        read_apart(tmp_path / "a.mat", "mat")
