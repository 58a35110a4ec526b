"""Measures an epoch of long sequences: recurrent LIF, ALIF and BRF of snnlab, torch's RNN and GRU, other libraries.

    python scripts/bench_sequence.py
    python scripts/bench_sequence.py --methods rnn lif alif brf --rounds 9
    python scripts/bench_sequence.py --memory

Each method is a linear layer from one input, 256 recurrent units and a linear layer to 10 classes. A batch is forward,
cross-entropy of the last step, backward, clipping and Adam, on the same numbers from 0 to 1. The methods take turns in
one process; a time is the least CPU time of a batch on one thread, times the batches of an epoch (54,000 recordings).
Denormal numbers are zeros, as in a training of snnlab: on processors of Intel they make RNN and GRU five times as slow.
A recurrent layer of snnlab is the faster, the fewer of its units spike: the last column is their share at a step.
With --memory it measures the largest memory of a batch, each in its own process, with T, 2 T and 4 T steps, with and
without checkpoint segments.
"""

from __future__ import annotations

import argparse
import math
import os
import resource
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from bench_step import THREADS, positive

os.environ |= dict.fromkeys(THREADS, "1")  # before torch and numba

import snntorch
import torch
from norse.torch import LIFRecurrent
from spikingjelly.activation_based import functional as spikingjelly_functional, layer, neuron
from torch import Tensor, nn

from snnlab.memory import keep_heap
from snnlab.nn import build_network
from snnlab.nn.neurons.recurrent import Recurrent
from snnlab.threads import flush_denormals

EPOCH = 54_000  # recordings
CLASSES = 10
Run = Callable[[Tensor], Tensor]
# Factors of the input with which a few in a hundred units spike at a step, as after training.
NEURONS = {
    "lif": {"type": "lif", "tau_mem": "20 steps"},
    "alif": {"type": "alif", "tau_mem": "20 steps", "tau_adapt": "200 steps"},
    "brf": {"type": "brf", "omega": [15.0, 50.0], "damping": [0.1, 1.0]},
}
DRIVE = {"lif": 0.3, "alif": 0.3, "brf": 100.0}


class Network(nn.Module):
    """A recurrent layer of another library between two linear layers."""

    def __init__(self, units: int, core: nn.Module, run: Callable[[nn.Module, Tensor], Tensor], inputs: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(1, units, bias=False) if inputs > 1 else nn.Identity()
        self.core, self.run = core, run
        self.out = nn.Linear(units, CLASSES, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the output of the last step, `[B, 10]`."""
        return self.out(self.run(self.core, self.fc1(x)))[-1]


class Ours(nn.Module):
    """The same network of snnlab."""

    def __init__(self, name: str, units: int, segments: int = 0) -> None:
        super().__init__()
        layers = {
            "fc1": {"type": "linear", "out_features": units, "bias": False},
            "rec": {**NEURONS[name], "recurrent": True},
            "out": {"type": "linear", "out_features": CLASSES, "bias": False},
        }
        self.network = build_network(layers, in_shape=(1,), dt=10.0).network
        self.network.configure(checkpoint_segments=segments)
        with torch.no_grad():
            self.network.get_parameter("fc1.weight").mul_(DRIVE[name])

    def forward(self, x: Tensor) -> Tensor:
        """Return the output of the last step, `[B, 10]`."""
        return self.network(x)[0][-1]


def _first(core: nn.Module, x: Tensor) -> Tensor:
    return core(x)[0]


def _snntorch(core: nn.Module, x: Tensor) -> Tensor:
    s, v = core.init_rleaky()  # pyright: ignore[reportCallIssue]
    outputs = []
    for x_t in x:
        s, v = core(x_t, s, v)
        outputs.append(s)
    return torch.stack(outputs)


def _spikingjelly(core: nn.Module, x: Tensor) -> Tensor:
    spikingjelly_functional.reset_net(core)
    return core(x)


def network(name: str, units: int, segments: int = 0) -> nn.Module:
    """Return the network of a method."""
    if name in NEURONS:
        return Ours(name, units, segments)
    if name in ("rnn", "gru"):
        return Network(units, (nn.RNN if name == "rnn" else nn.GRU)(1, units), _first, 1)
    if name == "snntorch":
        core = snntorch.RLeaky(beta=0.95, linear_features=units)
        return Network(units, core, _snntorch, units)
    if name == "norse":
        return Network(units, LIFRecurrent(units, units), _first, units)
    node = neuron.LIFNode(tau=20.0, decay_input=False, detach_reset=True, v_reset=None)
    core = layer.LinearRecurrentContainer(node, units, units, step_mode="m")
    return Network(units, core, _spikingjelly, units)


METHODS = ("rnn", "gru", "lif", "alif", "brf", "snntorch", "spikingjelly", "norse")


def batch_run(built: nn.Module, x: Tensor, targets: Tensor) -> Callable[[], None]:
    """Return a function that trains one batch."""
    optimizer = torch.optim.Adam(built.parameters(), 1e-4)

    def run() -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(built(x), targets).backward()
        nn.utils.clip_grad_norm_(built.parameters(), 1.0)
        optimizer.step()

    return run


def spike_rate(built: nn.Module, x: Tensor) -> float | None:
    """Return the share of the units that spike at a step; None for a network without spikes."""
    core = built.core if isinstance(built, Network) else next(m for m in built.modules() if isinstance(m, Recurrent))
    if isinstance(core, nn.RNNBase):
        return None
    found: list[Tensor] = []

    def count(_: nn.Module, __: object, output: object) -> None:
        y = output[0] if isinstance(output, tuple) else output
        assert isinstance(y, Tensor)
        found.append((y != 0).float().mean())

    with torch.no_grad(), core.register_forward_hook(count):
        built(x)
    return float(torch.stack(found).mean())


def sample(steps: int, batch: int) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    return torch.rand(steps, batch, 1), torch.randint(CLASSES, (batch,))


def peak_mb(name: str, steps: int, batch: int, units: int, segments: int) -> float:
    """Return by how much the largest memory of this process grew in a batch, after one of two steps."""
    torch.set_num_threads(1)
    built = network(name, units, segments)
    batch_run(built, *sample(2, batch))()  # compiles
    run = batch_run(built, *sample(steps, batch))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    run()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def measure_times(given: argparse.Namespace) -> None:
    """Print the time of an epoch of each method, its ratio to the RNN's and the GRU's, and how many units spike."""
    x, targets = sample(given.steps, given.batch)
    networks = {name: network(name, given.units) for name in given.methods}
    runs = {name: batch_run(built, x, targets) for name, built in networks.items()}
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for n in range(given.rounds + 1):
        print(f"round {n} of {given.rounds}", file=sys.stderr, flush=True)
        for name, run in runs.items():
            start = time.process_time()
            run()
            seconds[name].append(time.process_time() - start)
    best = {name: min(found[1:]) for name, found in seconds.items()}  # the first compiles
    batches = -(-EPOCH // given.batch)
    print(f"T = {given.steps}, batch {given.batch}, {given.units} units, one thread, least of {given.rounds} batches")
    print(f"{'method':>13} {'s a batch':>10} {'min an epoch':>13} {'/ RNN':>6} {'/ GRU':>6} {'spiking, %':>11}")
    for name, least in best.items():
        ratios = "".join(f" {least / best[other]:6.2f}" if other in best else f" {'-':>6}" for other in ("rnn", "gru"))
        rate = spike_rate(networks[name], x)
        spiking = "-" if rate is None else f"{100 * rate:.1f}"
        print(f"{name:>13} {least:10.3f} {least * batches / 60:13.2f}{ratios} {spiking:>11}")


def measure_memory(given: argparse.Namespace) -> None:
    """Print the peak memory of a batch for T, 2 T and 4 T steps, by the number of checkpoint segments."""
    lengths = [given.steps, 2 * given.steps, 4 * given.steps]
    segments: dict[str, Callable[[int], int]] = {
        "none": lambda _: 0,
        "sqrt(steps)": math.isqrt,
        f"steps / {math.isqrt(given.steps)}": lambda steps: steps // math.isqrt(given.steps),
    }
    print(f"MB that a batch of {given.batch} adds, {given.units} units, by steps")
    print(f"{'method':>8} {'segments':>12}" + "".join(f"{steps:>8}" for steps in lengths))
    with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as pool:
        for name in [name for name in given.methods if name in (*NEURONS, "rnn", "gru")]:
            for rule, number in segments.items() if name in NEURONS else [("none", segments["none"])]:
                cases = [(name, steps, given.batch, given.units, number(steps)) for steps in lengths]
                found = [pool.submit(peak_mb, *case).result() for case in cases]
                print(f"{name:>8} {rule:>12}" + "".join(f"{mb:8.0f}" for mb in found), flush=True)


def settings() -> argparse.Namespace:
    about, _, _ = (__doc__ or "").rpartition("\n")
    made = argparse.ArgumentParser(
        "bench_sequence.py", description=about, formatter_class=argparse.RawTextHelpFormatter
    )
    made.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS, metavar="METHOD", help="default: all")
    made.add_argument("--steps", type=positive, default=784, metavar="T")
    made.add_argument("--batch", type=positive, default=256, metavar="B")
    made.add_argument("--units", type=positive, default=256)
    made.add_argument("--rounds", type=positive, default=5, help="measured batches of each method (default 5)")
    made.add_argument("--memory", action="store_true", help="measure memory in place of time")
    return made.parse_args()


def main() -> None:
    given = settings()
    torch.set_num_threads(1)
    if given.memory:
        return measure_memory(given)
    keep_heap()
    flush_denormals(True)
    return measure_times(given)


if __name__ == "__main__":
    main()
