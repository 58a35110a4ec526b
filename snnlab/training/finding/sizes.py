"""A batch size from a few steps with each: how many recordings a second go through, and whether memory suffices."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import torch

# A size is as fast as the fastest if it reaches this part of it.
AS_FAST = 0.95


class StepClock(L.Callback):
    """Takes the time from the end of one step to the end of the next, with all that happens between them."""

    def __init__(self) -> None:
        self._ends: list[float] = []
        self._recordings: list[int] = []

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Remember when it was over."""
        if pl_module.device.type == "cuda":
            torch.cuda.synchronize(pl_module.device)
        self._ends.append(time.perf_counter())
        self._recordings.append(batch.lengths.numel())

    @property
    def recordings_per_s(self) -> float:
        """The median over all steps but the first."""
        steps = zip(self._ends[:-1], self._ends[1:], self._recordings[1:], strict=True)
        return statistics.median(many / (end - before) for before, end, many in steps)


class Tried(NamedTuple):
    """What a batch size brought.

    Attributes:
        size: Recordings of a batch.
        recordings_per_s: How many went through in a second.
        memory: Bytes that a step takes at its peak; on a CPU those of its tensors, as foreseen; None: not known.
    """

    size: int
    recordings_per_s: float
    memory: float | None


def sizes(first: int, last: int) -> list[int]:
    """Return batch sizes, each twice the one before, and the last."""
    found = [first]
    while found[-1] * 2 <= last:
        found.append(found[-1] * 2)
    return found


def fastest(tried: Sequence[Tried]) -> int:
    """Return the smallest size that is as fast as the fastest."""
    most = max(each.recordings_per_s for each in tried)
    return next(each.size for each in tried if each.recordings_per_s >= AS_FAST * most)


def available_memory() -> float | None:
    """Return the bytes that this machine, or the container that this runs in, has left; None where nobody says."""
    left = []
    meminfo, group = Path("/proc/meminfo"), Path("/sys/fs/cgroup")
    if meminfo.is_file():
        lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
        left.append(float(lines["MemAvailable"].split()[0]) * 1024)
    if (group / "memory.max").is_file() and (most := (group / "memory.max").read_text().strip()) != "max":
        left.append(float(most) - float((group / "memory.current").read_text()))
    return min(left, default=None)
