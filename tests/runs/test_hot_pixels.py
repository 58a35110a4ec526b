"""The hot pixels that a run removed are written and read back."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from snnlab.errors import RunFolderError
from snnlab.session.opened_run import HOT_PIXELS, read_hot_pixels, write_hot_pixels

from ..refusals import assert_raises

SIZE = (4, 3, 2)


@pytest.mark.parametrize("hot", [torch.arange(12) % 5 == 2, torch.zeros(12, dtype=torch.bool)])
def test_a_written_mask_is_read_back(tmp_path: Path, hot: torch.Tensor) -> None:
    write_hot_pixels(tmp_path, hot)
    found = read_hot_pixels(tmp_path, SIZE)
    assert found is not None
    assert found.equal(hot)


def test_a_run_without_hot_pixel_detection_has_no_mask(tmp_path: Path) -> None:
    write_hot_pixels(tmp_path, None)
    assert not list(tmp_path.iterdir())
    assert read_hot_pixels(tmp_path, SIZE) is None


@pytest.mark.parametrize("text", ["", "[]", "{}", "7", pytest.param(100_000 * "[", id="deep")])
def test_a_damaged_file_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / HOT_PIXELS).write_text(text)
    with assert_raises(RunFolderError, "hot_pixels.json", "read"):
        read_hot_pixels(tmp_path, SIZE)


@pytest.mark.parametrize("value", ["[12]", '["a"]', "1e9", "[-1]", "[1000000000000000000000000]", "[[0]]", "[true]"])
def test_pixels_outside_of_the_sensor_are_refused(tmp_path: Path, value: str) -> None:
    (tmp_path / HOT_PIXELS).write_text(f'{{"pixels": {value}}}')
    with assert_raises(RunFolderError, "hot_pixels.json", "read"):
        read_hot_pixels(tmp_path, SIZE)
