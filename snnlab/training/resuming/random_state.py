"""The states of all global random generators, in types that a checkpoint can be read back with safely."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch


def random_state() -> dict[str, Any]:
    """Return the states of Python's, NumPy's and torch's generators, those of the GPUs too."""
    version, numbers, gauss = random.getstate()
    state = np.random.get_state(legacy=False)
    assert isinstance(state, dict)
    return {
        "python": [version, list(numbers), gauss],
        "numpy": {**state, "state": {"key": state["state"]["key"].tolist(), "pos": int(state["state"]["pos"])}},
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Bring all generators back to where `random_state` saw them; those of GPUs where there are as many."""
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))
    of_numpy = state["numpy"]
    key = np.array(of_numpy["state"]["key"], np.uint32)
    np.random.set_state({**of_numpy, "state": {"key": key, "pos": of_numpy["state"]["pos"]}})
    torch.set_rng_state(state["torch"].cpu())
    if torch.cuda.is_available() and torch.cuda.device_count() == len(state["cuda"]):
        torch.cuda.set_rng_state_all([one.cpu() for one in state["cuda"]])
