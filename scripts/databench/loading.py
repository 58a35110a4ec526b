"""Measures other costs of loading: packing, opening a large store, and its share of a training step."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from databench.methods import Workload
from torch.nn.functional import cross_entropy

from snnlab.config.compose import compose_experiment
from snnlab.data.events import Events, open_or_build
from snnlab.session import Session

LARGE = 60_000
GOALS = {"packed_per_s": 3_000, "open_s": 0.1, "loading_share": 0.05}
_TRIES = 5
_STEPS = 12


def measure_loading(work: Workload, overrides: list[str], folder: Path) -> dict[str, float]:
    """Measure packing of recordings in memory, opening of a store of 60,000, and the share of loading in a step.

    Args:
        work: The dataset, and its batches.
        overrides: The overrides that choose it.
        folder: Folder for stores.
    """
    some = _InMemory([work.data.store[place] for place in range(min(len(work.data.store), 1000))], work)
    per_s = len(some) / _best(lambda: open_or_build(some, folder / "packed"), before=folder / "packed")
    large = _InMemory([some.recordings[0].take(slice(0, 20))] * LARGE, work)
    open_or_build(large, folder / "large")
    step, loading = _shares(work, overrides)
    return {
        "packed_per_s": per_s,
        "open_s": _best(lambda: open_or_build(large, folder / "large")),
        "step_ms": 1000 * step,
        "loading_ms": 1000 * loading,
        "loading_share": loading / (step + loading),
    }


def describe(found: dict[str, float]) -> Iterator[str]:
    """Yield the results as text, with their goals."""
    yield f"packing, once read: {found['packed_per_s']:,.0f} recordings a second (goal {GOALS['packed_per_s']:,})"
    yield f"opening a store of {LARGE:,} recordings: {1000 * found['open_s']:.1f} ms (goal {1000 * GOALS['open_s']:g})"
    yield (
        f"loader and frames: {found['loading_ms']:.2f} ms, a conv_lif step {found['step_ms']:.1f} ms, both on one"
        f" core: {found['loading_share']:.1%} (goal {GOALS['loading_share']:.0%})"
    )


class _InMemory:
    """A source whose recordings are in memory."""

    label, groups = "bench", None

    def __init__(self, recordings: list[Events], work: Workload) -> None:
        self.recordings, self.sensor_size = recordings, work.data.store.sensor_size
        self.targets, self.split = np.zeros(len(recordings), np.int64), np.zeros(len(recordings), np.uint8)

    def fingerprint(self) -> dict[str, Any]:
        return {}

    def __len__(self) -> int:
        return len(self.recordings)

    def name(self, index: int) -> str:
        return str(index)

    def read(self, index: int) -> Events:
        return self.recordings[index]


def _best(do: Callable[[], object], before: Path | None = None) -> float:
    """Return the minimum of the seconds of some tries; the folder `before` is removed before each."""
    seconds = []
    for _ in range(_TRIES):
        if before is not None:
            shutil.rmtree(before, ignore_errors=True)
        started = time.process_time()
        do()
        seconds.append(time.process_time() - started)
    return min(seconds)


def _shares(work: Workload, overrides: list[str]) -> tuple[float, float]:
    """Return the median seconds of a step of conv_lif (forward, backward, Adam), and of loading its batch."""
    experiment, _ = compose_experiment([*overrides, "model=conv_lif"], None)
    session = Session(experiment)
    built, (make, _) = session.built, session.optimization
    optimizer = make(built.network)
    steps, loading = [], []
    batches = cycle(work.data.train_dataloader())
    for _ in range(_STEPS):
        started = time.process_time()
        batch = work.data.on_after_batch_transfer(next(batches), 0)
        loaded = time.process_time()
        y, _ = built.network(batch.x, lengths=batch.lengths)
        optimizer.zero_grad()
        cross_entropy(y.mean(0), batch.targets).backward()
        optimizer.step()
        steps.append(time.process_time() - loaded)
        loading.append(loaded - started)
    assert torch.get_num_threads() == 1
    return median(steps[2:]), median(loading[2:])
