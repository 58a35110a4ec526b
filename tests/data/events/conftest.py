"""Fixtures of the tests of events."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from snnlab.data.events import Events

# Reading processes are started with this process' path, and have to import the toy source.
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def recording() -> Events:
    """Four good events of a 4 x 3 sensor."""
    return Events(
        np.array([0, 5, 5, 9]),
        np.array([0, 3, 1, 2], np.int16),
        np.array([2, 0, 1, 1], np.int16),
        np.array([True, False, True, True]),
    )
