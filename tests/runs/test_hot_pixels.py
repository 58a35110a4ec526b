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


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"pixels": [12]}', '{"pixels": ["a"]}'])
def test_a_damaged_file_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / HOT_PIXELS).write_text(text)
    with assert_raises(RunFolderError, "hot_pixels.json", "read"):
        read_hot_pixels(tmp_path, SIZE)
