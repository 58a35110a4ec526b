"""Fixtures of the acceptance tests: the command line, and one training that many files use."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from snnlab import load, train

from ..cli.conftest import FAST, Outcome, digits_store, snnlab, workplace

__all__ = ["FAST", "Outcome", "digits_store", "snnlab", "workplace"]


@pytest.fixture(scope="session")
def digits_run(tmp_path_factory: pytest.TempPathFactory, digits_store: str) -> Path:
    """Return a run of `FAST` in 16 steps of 20 ms; a test that changes files changes a copy."""
    folder = tmp_path_factory.mktemp("digits_run")
    return train(*FAST, "data.num_bins=16", digits_store, "plots=null", f"output_dir={folder}").folder


@pytest.fixture(scope="session")
def digit(digits_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a .npy of the first test recording of `digits_run`."""
    opened = load(digits_run)
    events = opened.data.store[int(opened.store_indices("test", [0])[0])]
    table = np.zeros(events.t.size, [(name, np.int64) for name in "txyp"])
    for name in "txyp":
        table[name] = getattr(events, name)
    path = tmp_path_factory.mktemp("digit") / "one.npy"
    np.save(path, table)
    return path
