"""Measures a training step of `psn`, which computes all steps at once, of SpikingJelly's PSN and of the fused `lif`.

    python scripts/bench_psn.py
    python scripts/bench_psn.py --steps 4 16 100 --neurons 20000

The neurons run forward and backward alone, on the same normal input, with the heap kept. Times are CPU times of one
thread, the median of rounds in which the methods take turns. The last line says at which T `psn` is faster than `lif`.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable

from bench_step import THREADS, positive

os.environ |= dict.fromkeys(THREADS, "1")  # before torch and numba

import torch
from spikingjelly.activation_based import neuron as library, surrogate
from torch import Tensor

from snnlab.memory import keep_heap
from snnlab.nn import LIF
from snnlab.nn.neurons.psn import PSN

BATCH = 8
METHODS = ("psn", "spikingjelly", "lif")


def settings() -> argparse.Namespace:
    about, _, _ = (__doc__ or "").rpartition("\n")
    made = argparse.ArgumentParser("bench_psn.py", description=about, formatter_class=argparse.RawTextHelpFormatter)
    made.add_argument(
        "--steps", nargs="+", type=positive, default=[1, 2, 3, 4, 6, 8, 16, 32, 64, 100, 200], metavar="T"
    )
    made.add_argument("--neurons", type=positive, default=4096, help=f"of each of {BATCH} samples (default 4096)")
    made.add_argument("--rounds", type=positive, default=9, help="turns of each method (default 9)")
    return made.parse_args()


def methods(num_steps: int) -> dict[str, Callable[[Tensor], Tensor]]:
    """Return each method's run from input to spikes; both PSN have the same weights."""
    ours, lif, theirs = PSN(num_steps=num_steps), LIF(dt=1.0), library.PSN(num_steps, surrogate.ATan())
    theirs.load_state_dict(ours.state_dict())
    return dict(zip(METHODS, (lambda x: ours(x)[0], theirs, lambda x: lif(x)[0]), strict=True))


def cpu_seconds(run: Callable[[Tensor], Tensor], x: Tensor, gradient: Tensor) -> float:
    x = x.detach().requires_grad_()
    start = time.process_time()
    run(x).backward(gradient)
    return time.process_time() - start


def measure(num_steps: int, neurons: int, rounds: int) -> dict[str, float]:
    """Return the median CPU seconds of each method."""
    torch.manual_seed(0)
    runs = methods(num_steps)
    x = torch.randn(num_steps, BATCH, neurons)
    assert torch.equal(runs["psn"](x), runs["spikingjelly"](x)), "psn and SpikingJelly's PSN differ"
    gradient = torch.randn_like(x)
    found: dict[str, list[float]] = {name: [] for name in METHODS}
    for _ in range(rounds + 1):
        for name, run in runs.items():
            found[name].append(cpu_seconds(run, x, gradient))
    return {name: statistics.median(seconds[1:]) for name, seconds in found.items()}  # the first compiles


def main() -> None:
    given = settings()
    torch.set_num_threads(1)
    keep_heap()
    print(f"ns per neuron and step, {BATCH} x {given.neurons} neurons, forward and backward, one thread")
    print(f"{'T':>5} {'psn':>8} {'SpikingJelly':>13} {'lif':>8} {'psn / lif':>10} {'psn / SpikingJelly':>19}")
    faster = []
    for num_steps in given.steps:
        seconds = measure(num_steps, given.neurons, given.rounds)
        psn, theirs, lif = (seconds[name] / (num_steps * BATCH * given.neurons) * 1e9 for name in METHODS)
        print(f"{num_steps:5} {psn:8.2f} {theirs:13.2f} {lif:8.2f} {psn / lif:10.2f} {psn / theirs:19.2f}", flush=True)
        faster += [num_steps] if psn < lif else []
    print(f"psn is faster than lif at T = {', '.join(map(str, faster)) or 'none of these'}")


if __name__ == "__main__":
    main()
