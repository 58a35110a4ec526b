"""Two runs of the same experiment: what came of them, value by value, and what was around them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from snnlab.record.run_reading import Recorded
from snnlab.record.runs_table import flat
from snnlab.training.checkpoints import network_weights

_LISTED = 3


class Finding(NamedTuple):
    """Whether one thing is the same in both runs, and how it differs if not."""

    what: str
    same: bool
    text: str


def compare(one: Recorded, other: Recorded) -> list[Finding]:
    """Compare two runs' data, metrics, predictions and weights, bit for bit.

    Raises:
        RecordError: if a file of one cannot be read.
    """
    # Of an older run not all is recorded that is today.
    before, after = one.predictions(), other.predictions()
    return [
        *(_equal(name, key, one, other) for name, key in (("data", "data_fingerprint"), ("split", "split_hash"))),
        _arrays("metrics of every epoch", one.epochs(), other.epochs()),
        _arrays("predictions", before, {name: values for name, values in after.items() if name in before}),
        *(_weights(name, one.folder, other.folder) for name in ("best", "last")),
    ]


def surroundings(one: Recorded, other: Recorded) -> list[str]:
    """Return what differs in versions, hardware and numerics, in words."""
    before, after = (flat(run.provenance) for run in (one, other))
    keys = [key for key in dict.fromkeys([*before, *after]) if key not in ("config_hash", "data_fingerprint")]
    differing = [
        f"{key}: {before.get(key)} then, {after.get(key)} now" for key in keys if before.get(key) != after.get(key)
    ]
    return differing or ["versions, hardware and numerics are the same"]


def weights_hash(path: Path) -> str:
    """Return the sha256 of a checkpoint's weights, names and types with them."""
    digest = hashlib.sha256()
    weights = network_weights(path)
    for name in sorted(weights):
        values = weights[name].contiguous()
        digest.update(f"{name} {values.dtype} {tuple(values.shape)}".encode())
        digest.update(values.reshape(-1).view(torch.uint8).numpy().tobytes() if values.numel() else b"")
    return digest.hexdigest()


def _equal(what: str, key: str, one: Recorded, other: Recorded) -> Finding:
    same = one.provenance.get(key) == other.provenance.get(key)
    return Finding(what, same, "the same" if same else "not the same")


def _arrays(what: str, one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> Finding:
    differing = [name for name in dict.fromkeys([*one, *other]) if not _same(one.get(name), other.get(name))]
    if not differing:
        return Finding(what, True, "the same")
    shown = "; ".join(_difference(name, one.get(name), other.get(name)) for name in differing[:_LISTED])
    more = f"; and {len(differing) - _LISTED} more" if len(differing) > _LISTED else ""
    return Finding(what, False, f"differ in {shown}{more}")


def _same(one: np.ndarray | None, other: np.ndarray | None) -> bool:
    if one is None or other is None or one.dtype != other.dtype or one.shape != other.shape:
        return False
    return np.array_equal(one, other, equal_nan=one.dtype.kind == "f")


def _difference(name: str, one: np.ndarray | None, other: np.ndarray | None) -> str:
    if one is None or other is None or one.shape != other.shape or one.dtype.kind not in "fiu":
        return name
    return f"{name} (by {np.nanmax(np.abs(one.astype(np.float64) - other.astype(np.float64))):.3g} at most)"


def _weights(name: str, one: Path, other: Path) -> Finding:
    paths = [folder / "checkpoints" / f"{name}.ckpt" for folder in (one, other)]
    if not all(path.is_file() for path in paths):
        return Finding(f"weights, {name}", False, "a checkpoint is missing")
    same = weights_hash(paths[0]) == weights_hash(paths[1])
    return Finding(f"weights, {name}", same, "the same" if same else "not the same")
