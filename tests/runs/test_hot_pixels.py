"""The hot pixels that a run removed are written and read back."""

from __future__ import annotations

from pathlib import Path

import pytest

from snnlab.errors import RunFolderError
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


@pytest.mark.parametrize("text", ["", "[]", "{}", "7", pytest.param(100_000 * "[", id="deep")])
def test_a_damaged_file_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / HOT_PIXELS).write_text(text)
    with assert_raises(RunFolderError, "hot_pixels.json", "read"):
        RunFiles(tmp_path).hot_pixels(PIXELS)


@pytest.mark.parametrize("value", ["[12]", '["a"]', "1e9", "[-1]", "[1000000000000000000000000]", "[[0]]", "[true]"])
def test_pixels_outside_of_the_sensor_are_refused(tmp_path: Path, value: str) -> None:
    (tmp_path / HOT_PIXELS).write_text(f'{{"pixels": {value}}}')
    with assert_raises(RunFolderError, "hot_pixels.json", "read"):
        RunFiles(tmp_path).hot_pixels(PIXELS)
