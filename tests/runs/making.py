"""Folders of runs, made by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml

N = 200
CONFIG: dict[str, Any] = {
    "model": {"layers": {"fc": {"type": "linear"}, "readout": {"type": "li", "tau_mem": 20.0}}},
    "data": {
        "type": "digits",
        "duration_ms": 320.0,
        "num_bins": 8,
        "batch_size": 32,
        "augment": [],
        "mix": None,
    },
    "loss": {"type": "cross_entropy", "readout": "mean"},
    "optimizer": {"_target_": "torch.optim.Adam", "lr": 0.01},
    "scheduler": None,
    "trainer": {"precision": "32-true", "max_epochs": 5},
}
PROVENANCE: dict[str, Any] = {
    "git": {"commit": "c0ffee" * 6, "dirty": False},
    "working_folder": None,
    "python": "3.11.7",
    "packages": {"torch": "2.13.0"},
    "device": "a processor",
    "threads": 1,
    "processes": {"number": 1},
    "numerics": {"default_dtype": "float32", "backend": "numba"},
    "data_fingerprint": "abc",
    "split_hash": "def",
}


def make_run(
    folder: Path,
    seed: int = 0,
    accuracy: float = 0.8,
    *,
    metrics: Mapping[str, Any] | None = None,
    config: Mapping[str, Any] | None = None,
    provenance: Mapping[str, Any] | None = None,
    more: Mapping[str, Any] | None = None,
) -> Path:
    """Write a completed and tested run; the fraction `accuracy` of its predictions is correct, shifted by the seed."""
    folder.mkdir(parents=True)
    settings = {key: {**value, **(config or {}).get(key, {})} if value else value for key, value in CONFIG.items()}
    (folder / "config.yaml").write_text(yaml.safe_dump({"seed": seed, "output_dir": str(folder), **settings}))
    page = {
        "schema_version": 1,
        "status": "completed",
        "seed": seed,
        "metrics": {
            "test/accuracy": accuracy,
            "last/val/accuracy": accuracy - 0.01,
            "params": 1234.0,
            "footprint_bytes": 4936.0,
            "test/spikes_per_sample": 56_000.0,
            "test/synops_dense": 2e6,
            "test/synops_macs": 1e5,
            "test/synops_acs": 2e5,
            **(metrics or {}),
        },
        "selection": {
            "rule": "lowest_val_loss",
            "epoch": 2,
            "epochs": 5,
            "train_size": 900,
            "val_size": 100,
            "test_size": N,
            "val_rule": "stratified 0.1 of the training recordings, split_seed 0",
        },
        "timing": {"fit_s": 12.5, "samples_per_s": 400.0, "peak_rss_mb": 900.0, "peak_device_mb": None},
        "provenance": {**PROVENANCE, **(provenance or {})},
        **(more or {}),
    }
    (folder / "result.json").write_text(json.dumps(page))
    (folder / "split.json").write_text(json.dumps({"train": [], "val": [], "test": list(range(N))}))
    target = np.arange(N) % 4
    right = np.roll(np.arange(N) < accuracy * N, seed)
    answer = np.where(right, target, (target + 1) % 4)
    arrays = {"recording": np.arange(N), "target": target, "readout": np.eye(4)[answer]}
    arrays["answers"] = np.stack([np.zeros(N, int)] * 4 + [answer] * 4, 1)
    np.savez(folder / "predictions.npz", **{f"test_{name}": value for name, value in arrays.items()})
    return folder
