"""Fixtures of the comparisons with other libraries."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
import presets

SIZES = [
    pytest.param((torch.float64, 1), id="small"),
    pytest.param((torch.float64, 200), id="double", marks=pytest.mark.slow),
    pytest.param((torch.float32, 200), id="single", marks=pytest.mark.slow),
]


@pytest.fixture(params=SIZES)
def dtype(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> torch.dtype:
    """Return a precision, and set the size of the batches: 200 samples are 20,000 neurons."""
    dtype, batch = request.param
    monkeypatch.setattr(presets, "BATCH", batch)
    return dtype
