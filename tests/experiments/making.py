"""Folders of suites, made by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from ..runs.making import PROVENANCE, make_run

__all__ = ["PROVENANCE", "make_run", "make_suite"]


def make_suite(
    folder: Path,
    methods: Mapping[str, Sequence[float]],
    *,
    seeds: Sequence[int] = (0, 1, 2),
    page: Mapping[str, Any] | None = None,
    state: Mapping[str, Any] | None = None,
) -> Path:
    """Write a suite of methods on `digits`, each with the accuracies of its seeds; seeds without one are missing."""
    cells = []
    for method, accuracies in methods.items():
        for seed, accuracy in zip(seeds, accuracies, strict=False):
            place = f"runs/digits/{method}/{seed}"
            make_run(folder / place, seed, accuracy)
            names = {"dataset": "digits", "method": method, "seed": seed, "control": None, "folder": place}
            cells.append({**names, "status": "completed", "error": None, "wall_s": 20.0, "tuned": None})
    nodes = {method: {"overrides": [f"neuron={method}"], "role": "method", "note": None} for method in methods}
    said = {
        "schema": 1,
        "name": "mine",
        "methods": nodes,
        "datasets": {"digits": ["data=digits"]},
        "seeds": list(seeds),
    }
    said |= {"common": [], "match": None, "tune": None, "published": [], "command": "snnlab bench suite=mine"}
    folder.mkdir(exist_ok=True)
    (folder / "suite.yaml").write_text(yaml.safe_dump({**said, **(page or {})}))
    (folder / "suite.json").write_text(json.dumps({"schema": 1, "cells": cells, **(state or {})}))
    return folder
