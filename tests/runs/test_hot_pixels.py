"""The hot pixels that a run removed are written and read back."""

from __future__ import annotations

from pathlib import Path

import pytest

from snnlab.errors import DamagedError, RunFolderError
from snnlab.runs.recorded import RunFiles
from snnlab.runs.run_folder import HOT_PIXELS, write_hot_pixels

from ..refusals import assert_raises

PIXELS = 12


@pytest.mark.parametrize("hot", [[2, 7], []])
def test_written_pixels_are_read_back(tmp_path: Path, hot: list[int]) -> None:
    write_hot_pixels(tmp_path, hot)
    assert RunFiles(tmp_path).hot_pixels(PIXELS) == hot


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with assert_raises(RunFolderError, "hot_pixels.json", "missing"):
        RunFiles(tmp_path).hot_pixels(PIXELS)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", *(f'{{"pixels": {value}}}' for value in ("[12]", '["a"]', "1e9", "[-1]"))]
)
def test_a_damaged_file_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / HOT_PIXELS).write_text(text)
    with assert_raises(DamagedError, "hot_pixels.json", "read"):
        RunFiles(tmp_path).hot_pixels(PIXELS)
