"""Shared setup of the kernel tests: helpers of this folder, one thread, and the selection for `make check`."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Keep small tensors on one thread: on a busy machine several threads wait for each other at each step."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# Each combination of resets, delays, variants and lengths is a test, and most render their own loops. A fixed tenth of
# them is enough to detect a broken change; `make slow` runs the others.
_PART = 10


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave nine tenths of the kernels' parametrized tests, and of those of fused layers, to `make slow`."""
    here = Path(__file__).parent
    fused = [here.parent / "nn" / f"{name}.py" for name in ("test_plan_pooling", "test_plan_events")]
    for item in items:
        name = item.nodeid
        sampled = (here in item.path.parents and item.path.name != "test_stand_ins.py") or item.path in fused
        if sampled and "[" in name and zlib.crc32(name.encode()) % _PART:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)
