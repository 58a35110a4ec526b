from __future__ import annotations

import pytest
import torch


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Give each test the same random weights, whatever ran before it: some spikes are needed to compare them."""
    torch.manual_seed(0)
