"""Fixtures of the tests of datasets: tonic's reading of the same files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from snnlab.data.events import Events

Reference = Callable[..., Any]
Same = Callable[..., bool]


@pytest.fixture
def tonic_reference() -> Reference:
    """Return a function that makes tonic's dataset of a name on the files of a folder, for any number of files."""
    import tonic.datasets

    def make(name: str, root: Path, **settings: Any) -> Any:
        kind = type(name, (getattr(tonic.datasets, name),), {"_check_exists": lambda self: True})
        return kind(save_to=str(root), **settings)

    return make


@pytest.fixture
def same_events() -> Same:
    """Return a function that compares a recording with tonic's, to a microsecond, since tonic cuts off fractions."""

    def compare(ours: Events, theirs: np.ndarray, first: bool = False) -> bool:
        t = theirs["t"].reshape(-1).astype(np.int64)
        t = t - t[0] if first else t
        columns = [(ours.x, "x"), *([] if ours.y is None else [(ours.y, "y"), (ours.p, "p")])]
        equal = [np.array_equal(column, theirs[name].reshape(-1)) for column, name in columns]
        return ours.t.size == t.size and np.abs(ours.t - t).max() <= 1 and all(equal)

    return compare
