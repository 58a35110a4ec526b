"""Train a few steps of networks in a separate process, and print the peak memory of each, in bytes.

Run with a JSON list of cases, as `test_footprint` does. Each block of memory is allocated by the system
and freed at once, so that the memory of the process is that of its tensors, without the gaps of a heap.
"""

from __future__ import annotations

import ctypes
import gc
import json
import sys
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

from snnlab.nn import build_network
from snnlab.nn.neurons.base import set_backend
from snnlab.nn.tbptt import run_windows

M_MMAP_THRESHOLD = -3


def main() -> None:
    """Measure the cases of the command line."""
    libc = ctypes.CDLL(None)
    libc.mallopt(M_MMAP_THRESHOLD, 2**16)
    peaks: list[int] = []
    for case in json.loads(sys.argv[1]):
        train(**{**case, "steps": 4})  # compiles and loads everything, also loops for many samples only
        gc.collect()
        libc.malloc_trim(0)
        before = resident("VmRSS:")
        Path("/proc/self/clear_refs").write_text("5")  # resets the peak
        train(**case)
        peaks.append(resident("VmHWM:") - before)
    print(json.dumps(peaks))


def train(
    layers: dict[str, Any],
    in_shape: list[int],
    steps: int,
    batch: int,
    segments: int,
    backend: Any,
    optimizer: str,
    window: int | None,
) -> None:
    """Train three steps, in the order that Lightning has."""
    network = build_network(layers, in_shape=tuple(in_shape), dt=10.0, num_steps=steps).network
    set_backend(network, backend)
    network.configure(sparse_input="never", checkpoint_segments=segments)
    x = torch.empty(steps, batch, *in_shape[1:], in_shape[0]).bernoulli_(0.035).movedim(-1, 2)
    changing = getattr(torch.optim, optimizer)(network.parameters(), lr=1e-3)
    for _ in range(3):
        y = run_windows(network, x, window or steps, counts={}).sum(0)
        loss = F.cross_entropy(y, torch.zeros(batch, dtype=torch.int64))
        del y
        changing.zero_grad()
        loss.backward()
        changing.step()


def resident(wanted: str) -> int:
    """Return what the process has in memory now or had at most, bytes."""
    status = Path("/proc/self/status").read_text()
    return next(1024 * int(line.split()[1]) for line in status.splitlines() if line.startswith(wanted))


if __name__ == "__main__":
    main()
