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


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave the settings other than a preset's own, in single precision, to `make slow`: double is stricter."""
    for item in items:
        if Path(__file__).parent in item.path.parents and isinstance(item, pytest.Function):
            params = item.callspec.params if hasattr(item, "callspec") else {}
            if params.get("dtype") == torch.float32 and params.get("way", "defaults") != "defaults":
                item.add_marker(pytest.mark.slow)
