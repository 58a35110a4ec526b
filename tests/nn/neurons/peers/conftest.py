"""Fixtures of the comparisons with other libraries."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))


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
