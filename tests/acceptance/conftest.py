"""Fixtures of the acceptance tests: the command line, and one training that many files use."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from snnlab import load, train

from ..cli.conftest import FAST as DRAWN, Outcome, digits_store, snnlab, workplace

__all__ = ["DRAWN", "Outcome", "digits_store", "snnlab", "workplace"]

# A run of a third of a second; with its plots and monitors, of DRAWN, it takes one.
FAST = (*DRAWN, "plots=null", "monitors=null")
# The same network on all digits: an epoch takes half a second.
WHOLE = ("model=mlp_lif", "model.layers.fc1.out_features=16", "data.num_bins=4", "trainer.accelerator=cpu", *FAST[-2:])


@pytest.fixture(scope="session")
def digits_run(tmp_path_factory: pytest.TempPathFactory, digits_store: str) -> Path:
    """Return a run of `WHOLE` in 16 steps of 20 ms and two epochs; a test that changes files changes a copy."""
    longer = ("data.num_bins=16", "trainer.max_epochs=2", f"output_dir={tmp_path_factory.mktemp('digits_run')}")
    return train(*WHOLE, digits_store, *longer).folder


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
