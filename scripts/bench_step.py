"""Measures the time of a training step in snnlab, in other libraries, in a ReLU network, and in convolutions alone.

    python scripts/bench_step.py
    python scripts/bench_step.py --steps 10 30 100 300 --batch 1 32 128 --pool avg max
    python scripts/bench_step.py --kind dense --methods snnlab_numba spikingjelly snntorch

A step is forward, loss, backward and Adam on the same frames. First each method's outputs and gradients are compared
with those of snnlab's plain loop on the same weights: if one differs, nothing is timed. Then each method runs in its
own process, with the heap kept, and the methods take turns; of a method's variants (code and memory format) the
fastest is kept. It writes bench_step.json (with all measured times) and bench_step.png, and prints a table.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

# Before anything imports torch, numba or JAX.
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "NPROC")


def parser() -> argparse.ArgumentParser:
    about, _, _ = (__doc__ or "").rpartition("\n")
    made = argparse.ArgumentParser("bench_step.py", description=about, formatter_class=argparse.RawTextHelpFormatter)
    add = made.add_argument
    add(
        "--kind",
        nargs="+",
        default=["conv"],
        choices=["conv", "dense"],
        help="conv: 2 convolutions with neurons and\n"
        "pooling, a readout; dense: a linear layer with neurons, as in the open benchmark (default conv)",
    )
    add("--steps", nargs="+", type=positive, metavar="T", help="steps in time (default 30; dense 500)")
    add("--batch", nargs="+", type=positive, metavar="B", help="samples (default 32; dense 16)")
    add("--pool", nargs="+", default=["avg"], choices=["avg", "max"], help="pooling of conv (default avg)")
    add(
        "--spikes",
        nargs="+",
        default=["trained"],
        choices=["trained", "busy"],
        help="spikes per neuron and step in conv: as in conv_lif trained on N-MNIST, 0.03 and 0.07,"
        " or 0.12 and 0.16 (default trained)",
    )
    add(
        "--inputs",
        type=positive,
        default=512,
        help="inputs of dense (default 512; the open benchmark has as many as\n"
        "neurons, 16384, whose matrix product takes minutes on a CPU)",
    )
    add("--neurons", type=positive, default=16_384, help="neurons of dense (default 16384)")
    add("--methods", nargs="+", metavar="METHOD", help="methods (default: all available)")
    add("--rounds", type=positive, default=7, help="turns of each method, of 3 measured steps (default 7)")
    add("--threads", type=positive, default=2, help="CPU threads of each method (default 2)")
    add(
        "--device",
        default="cpu",
        choices=["cpu", "cuda"],
        help="(default cpu); on cuda, SpikingJelly 2 picks its native or\n"
        "its Triton kernels by itself; the JSON records which",
    )
    add("--out", type=Path, default=Path("outputs/bench_step"), metavar="FOLDER", help="(default outputs/bench_step)")
    return made


def positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 on, got {text}")
    return int(text)


def main() -> None:
    settings = parser().parse_args()
    os.environ.update(dict.fromkeys(THREADS, str(settings.threads)))
    # Imported late: it takes seconds, and each method's process imports this file.
    from stepbench.bench import run
    from stepbench.work import BenchError, UsageError

    try:
        run(settings)
    except BenchError as error:
        print(f"bench_step: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, UsageError) else 1)


if __name__ == "__main__":
    main()
