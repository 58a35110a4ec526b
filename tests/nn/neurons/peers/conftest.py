"""Fixtures of the comparisons with other libraries."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Use one thread for small tensors: on a busy machine several wait for each other at each step."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=[torch.float32, torch.float64], ids=["single", "double"])
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    """Return single precision, the default of users, and double, in which gradients are precise."""
    return request.param
