"""Measure CPU time and memory of training steps of a network of the zoo, here and in SpikingJelly, on one thread.

    python -m tests.zoo.measure_step sew_gesture --steps 16 --batch 4 --rounds 7
    python -m tests.zoo.measure_step spikformer --steps 10 --batch 16

Each variant runs in a process of its own; the variants take turns. A step is forward, cross-entropy of the mean over
time, backward and Adam. Memory is the peak of the process beyond what it has before the first step.

Axes: T steps, B samples.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from snnlab.nn import keep_heap
from tests.zoo.networks import COLOURS, NETWORKS, SPIKFORMER

THREADS = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
ATAN = ("neuron.detach_reset=true", "neuron.surrogate={type: atan, alpha: 2.0}")
# The last has what snnlab does too: channels-last memory, and a heap that is kept.
VARIANTS = ("snnlab", "spikingjelly", "spikingjelly_tuned")
DENSITY = 0.05
PAIRS = {**NETWORKS, "spikformer": SPIKFORMER}
# Networks whose settings contain the surrogate gradient of the source.
OWN_SURROGATE = ("vgg_snn", "spikformer")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", choices=PAIRS)
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--variant", choices=VARIANTS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.variant:
        serve(arguments)
        return
    workers = {variant: start(variant) for variant in VARIANTS}
    seconds: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
    memory: dict[str, int] = dict.fromkeys(VARIANTS, 0)
    for number in range(arguments.rounds + 1):
        for variant, worker in workers.items():
            assert worker.stdin is not None
            assert worker.stdout is not None
            print("step", file=worker.stdin, flush=True)
            taken, peak = worker.stdout.readline().split()
            memory[variant] = int(peak)
            if number > 0:  # the first step compiles and allocates
                seconds[variant].append(float(taken))
    for worker in workers.values():
        worker.communicate()
    for variant, times in seconds.items():
        spread = f"{min(times):.3f} to {max(times):.3f}"
        print(f"{variant:18} {statistics.median(times):8.3f} s CPU ({spread}), {memory[variant] / 2**20:8.0f} MB")


def start(variant: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.zoo.measure_step", *sys.argv[1:], "--variant", variant]
    environment = {**os.environ, **THREADS}
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)


def serve(arguments: argparse.Namespace) -> None:
    """Run a step for each line of stdin, and print its CPU time and the peak memory so far."""
    network, run = model(arguments.network, arguments.variant)
    optimizer = torch.optim.Adam(network.parameters())
    shape = PAIRS[arguments.network].in_shape or (2, 128, 128)
    shape = (3, 64, 64) if shape == COLOURS else shape
    generator = torch.Generator().manual_seed(0)
    x = (torch.rand(arguments.steps, arguments.batch, *shape, generator=generator) < DENSITY).float()
    targets = torch.zeros(arguments.batch, dtype=torch.int64)
    before = status("VmRSS:")
    for _ in sys.stdin:
        start = time.process_time()
        optimizer.zero_grad()
        F.cross_entropy(run(x), targets).backward()
        optimizer.step()
        print(time.process_time() - start, status("VmHWM:") - before, flush=True)


def model(name: str, variant: str) -> tuple[nn.Module, Callable[[Tensor], Tensor]]:
    """Return a network, and a function from frames to the mean of its outputs over time."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    if variant != "spikingjelly":
        keep_heap()
    if variant == "snnlab":
        ours = PAIRS[name].build(*(() if name in OWN_SURROGATE else ATAN)).network
        return ours, lambda x: ours(x)[0].mean(0)
    from tests.zoo import jelly

    theirs = jelly.spikformer() if name == "spikformer" else jelly.make(name)
    if variant == "spikingjelly_tuned":
        theirs = theirs.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def run(x: Tensor) -> Tensor:
        jelly.functional.reset_net(theirs)
        return theirs(x).mean(0)

    return theirs, run


def status(key: str) -> int:
    """Return a number of bytes of this process."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key)]
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    main()
