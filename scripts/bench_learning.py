"""Measures learning rules: peak memory of a training step at two numbers of steps, and time per step beside bptt.

    python scripts/bench_learning.py
    python scripts/bench_learning.py --steps 100 10000 --rules sltt ottt eprop d_rtrl

Each peak is that of a process of its own: what a step adds to the memory after a first step has compiled and loaded
everything. The times are medians; the rules take turns in one process, in one thread. Events are drawn at random, the
same number for any number of steps, and frames are made in pieces for all rules but bptt. sltt and ottt train conv_lif,
the others a recurrent layer. The loss is tet.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

CONVOLUTIONAL, TRACED = ("sltt", "ottt", "bptt"), ("eprop", "d_rtrl")
# Larger blocks of memory are given back at once, so that the memory of the process is that of its tensors.
M_MMAP_THRESHOLD = -3


def parser() -> argparse.ArgumentParser:
    about, _, _ = (__doc__ or "").rpartition("\n")
    made = argparse.ArgumentParser(
        "bench_learning.py", description=about, formatter_class=argparse.RawTextHelpFormatter
    )
    add = made.add_argument
    add("--rules", nargs="+", default=[*CONVOLUTIONAL[:2], *TRACED], choices=[*CONVOLUTIONAL, *TRACED])
    add("--steps", nargs=2, type=int, default=[100, 10_000], help="numbers of steps of the peaks (default 100 10000)")
    add("--batch", type=int, default=8, help="recordings a batch (default 8)")
    add("--rounds", type=int, default=7, help="timed steps of each rule; 0: none (default 7)")
    add("--time-steps", type=int, default=30, help="steps of the timed recordings (default 30)")
    add("--peak-of", nargs=2, metavar=("RULE", "STEPS"), help=argparse.SUPPRESS)  # what the processes run
    return made


def training_step(rule: str, steps: int, batch: int) -> Callable[[], None]:
    """Return a function that runs one training step of random events."""
    # Imported late: the number of threads must be set before.
    import numpy as np
    import torch

    from snnlab.data.events import Events
    from snnlab.data.events.frames import EventBatch
    from snnlab.data.events.representation import Counts, FrameBuilder, Region, Steps
    from snnlab.nn import build_loss, build_network
    from snnlab.nn.learning import RULES, RuleContext, bind_rule
    from snnlab.training.task import BatchTask

    lif, out = {"type": "lif"}, {"out": {"type": "linear", "out_features": 10}, "readout": {"type": "li"}}
    layers: dict[str, dict[str, Any]] = {
        "conv1": {"type": "conv2d", "out_channels": 12, "kernel_size": 5, "bias": False},
        "lif1": lif,
        "pool1": {"type": "max_pool", "kernel_size": 2},
        "conv2": {"type": "conv2d", "out_channels": 32, "kernel_size": 5, "bias": False},
        "lif2": lif,
        "pool2": {"type": "max_pool", "kernel_size": 2},
        "flatten": {"type": "flatten"},
        **out,
    }
    if rule in TRACED:
        fc: dict[str, Any] = {"type": "linear", "out_features": 64}
        layers = {"flatten": {"type": "flatten"}, "fc": fc, "lif": {**lif, "recurrent": True}, **out}
    rng, shape = np.random.default_rng(0), (2, 34, 34)
    recordings = []
    for _ in range(batch):
        t = np.sort(rng.integers(0, 300_000, 4_000))
        x, y = (rng.integers(0, 34, t.size).astype(np.int16) for _ in range(2))
        recordings.append(Events(t, x, y, rng.random(t.size) < 0.5))
    events = EventBatch.of(recordings)._replace(targets=torch.from_numpy(rng.integers(0, 10, batch)))
    torch.manual_seed(0)
    built, loss = build_network(layers, in_shape=shape, dt=10.0), build_loss({"type": "tet"})
    chosen = RULES.build(rule, {}, "learning")
    bind_rule(chosen, rule, RuleContext(built, loss, "tet", 0, shape, 10.0))
    frame_builder = FrameBuilder(Region((34, 34, 2)), Steps(300_000, steps), Counts())
    optimizer = torch.optim.Adam(built.network.parameters(), lr=1e-3)

    def step() -> None:
        task = BatchTask(frame_builder(events, in_pieces=rule != "bptt"), loss, "class", lambda: None)
        result = chosen.learn(built.network, task, {})
        optimizer.zero_grad()
        result.loss.backward()
        optimizer.step()

    return step


def print_peak(rule: str, steps: int, batch: int) -> None:
    """Print what a training step adds to this process's memory, in bytes."""
    libc = ctypes.CDLL(None)
    libc.mallopt(M_MMAP_THRESHOLD, 2**16)
    training_step(rule, min(steps, 64), batch)()
    step = training_step(rule, steps, batch)
    gc.collect()
    libc.malloc_trim(0)
    before = _memory("VmRSS:")
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    step()
    print(json.dumps(_memory("VmHWM:") - before))


def _memory(wanted: str) -> int:
    status = Path("/proc/self/status").read_text()
    return next(1024 * int(line.split()[1]) for line in status.splitlines() if line.startswith(wanted))


def peak(rule: str, steps: int, batch: int) -> int:
    """Return the peak of a training step in a process of its own, in bytes."""
    command = [sys.executable, __file__, "--peak-of", rule, str(steps), "--batch", str(batch)]
    return int(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))


def step_times(rules: list[str], steps: int, batch: int, rounds: int) -> dict[str, float]:
    """Return the median time of a training step of each rule, in s; the rules take turns."""
    made = {rule: training_step(rule, steps, batch) for rule in rules}
    for one in made.values():
        one()
    times: dict[str, list[float]] = {rule: [] for rule in rules}
    for _ in range(rounds):
        for rule, one in made.items():
            begin = time.perf_counter()
            one()
            times[rule].append(time.perf_counter() - begin)
    return {rule: median(found) for rule, found in times.items()}


def main() -> None:
    settings = parser().parse_args()
    os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1"))
    if settings.peak_of is not None:
        rule, steps = settings.peak_of
        print_peak(rule, int(steps), settings.batch)
        return
    few, many = settings.steps
    for rule in settings.rules:
        one, other = (peak(rule, steps, settings.batch) for steps in (few, many))
        print(f"{rule:8} {one / 1e6:8.1f} MB at {few} steps {other / 1e6:8.1f} MB at {many} steps   {other / one:.2f}")
    if settings.rounds:
        rules = [rule for rule in CONVOLUTIONAL if rule == "bptt" or rule in settings.rules]
        found = step_times(rules, settings.time_steps, settings.batch, settings.rounds)
        for rule, seconds in found.items():
            relative = seconds / found["bptt"]
            print(f"{rule:8} {1e3 * seconds:8.1f} ms a training step of {settings.time_steps} steps   {relative:.2f}")


if __name__ == "__main__":
    main()
