"""Measures the event-driven engine on one core, against the exported C, ONNX Runtime and others, in one process.

    python scripts/bench_stream.py --data ../shared/data
    python scripts/bench_stream.py --data ../shared/data --works speck --hour
    chrt -f 20 taskset -c 1 python scripts/bench_stream.py --data ../shared/data    # neighbours stay away

Networks: speck (SynSense's, 128x128, 9 layers, steps of 1 ms), neurobench (32x32, steps of 10 ms), with the published
weights in --data/foreign and the four gestures; conv_lif (steps of 1 ms), trained here on genuine N-MNIST. Methods:

    engine    EventStream.step: one Python call from x, y, p of a step to its output
    onnx      ONNX Runtime: a graph of the same step, bound memory, one thread; its frame is made outside of the clock
    torch     the same graph in PyTorch, operation by operation
    sinabs    Sinabs' own layers (speck only)
    network   snnlab's Network, step by step

Each round runs a whole recording with each method. "min" is the percentile over steps of each step's minimum over the
rounds, "all" that over all samples. Then: ten times the rate, every cell in every step; "inside the step", the engine
and the network in C (`snnlab export --c`, compiled by its Makefile) within compiled loops, without a call from Python,
and outputs with other bits; an hour of recordings in a loop (--hour); the start; and on a grid of 8-bit weights, in how
many steps and layers the membranes and the numbers of spikes differ between methods. It prints Markdown and writes
bench_stream.json.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
WORKS = ("speck", "neurobench", "conv_lif")
METHODS = ("engine", "onnx", "torch", "sinabs", "network")


def parser() -> argparse.ArgumentParser:
    about, _, _ = (__doc__ or "").rpartition("\n")
    made = argparse.ArgumentParser("bench_stream.py", description=about, formatter_class=argparse.RawTextHelpFormatter)
    add = made.add_argument
    add("--data", type=Path, required=True, metavar="FOLDER", help="recordings, and published weights in foreign/")
    add("--works", nargs="+", default=list(WORKS), choices=WORKS, help="networks (default: all)")
    add("--methods", nargs="+", default=list(METHODS), choices=METHODS, help="methods (default: all)")
    add("--rounds", type=int, default=5, help="rounds of engine and onnx (default 5); the others have one")
    add("--slow-steps", type=int, default=300, metavar="N", help="steps of the methods after onnx (default 300)")
    add("--hour", action="store_true", help="also an hour of the busiest recording, about two minutes")
    add("--conv-lif", type=Path, metavar="RUN", help="a run of conv_lif (default: trained in --out, some minutes)")
    add("--out", type=Path, default=Path("outputs/bench_stream"), metavar="FOLDER")
    return made


def main() -> None:
    settings = parser().parse_args()
    os.environ.update(dict.fromkeys(THREADS, "1"))
    from streambench.bench import run  # late: it imports torch, which reads the number of threads

    run(settings)


if __name__ == "__main__":
    main()
