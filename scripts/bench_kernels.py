"""Measures the time of neurons, forward and backward, with the code of this checkout and that of another commit.

    python scripts/bench_kernels.py
    python scripts/bench_kernels.py --against HEAD~3 --cases lif alif --shapes 32x11x11 --out kernels.md

Each case is a layer of neurons, some with the pooling after it, as a network runs it. First outputs, states and
gradients of both codes are compared: if one differs, nothing is timed. Then both take turns, each in its own process
with one thread and the heap kept. Times are CPU time of that thread, so that other processes have little influence.
The addresses of memory and compiled code change a time by up to a fifth for the life of a process: each turn has other
memory, and there are several pairs of processes. Identical kernels had medians within 7 % and minimum times within 19 %
when ten busy processes shared two cores.
The other commit is checked out into a temporary folder; compiling its code may take a minute.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from bench_step import THREADS, positive
from kernelbench.cases import CASES, SHAPES


def parser() -> argparse.ArgumentParser:
    about, _, _ = (__doc__ or "").rpartition("\n")
    made = argparse.ArgumentParser("bench_kernels.py", description=about, formatter_class=argparse.RawTextHelpFormatter)
    add = made.add_argument
    add("--against", default="dd700d9", metavar="COMMIT", help="the other commit (default dd700d9)")
    add("--checkout", type=Path, metavar="FOLDER", help="permanent folder for the checkout of that commit")
    add("--cases", nargs="+", default=list(CASES), choices=list(CASES), metavar="CASE", help=", ".join(CASES))
    add("--shapes", nargs="+", default=list(SHAPES), choices=list(SHAPES), help="C x H x W, or a number (default: all)")
    add("--steps", type=positive, default=30, metavar="T", help="steps in time (default 30)")
    add("--batch", type=positive, default=32, metavar="B", help="samples (default 32)")
    add("--pairs", type=positive, default=6, help="pairs of processes, one after the other (default 6)")
    add("--rounds", type=positive, default=2, help="turns of each process, of 5 measured repetitions (default 2)")
    add("--out", type=Path, metavar="FILE", help="file for the table, in Markdown")
    return made


def main() -> None:
    settings = parser().parse_args()
    os.environ.update(dict.fromkeys(THREADS, "1"))
    from kernelbench.bench import run
    from stepbench.work import BenchError, UsageError  # late: it imports torch, which reads the number of threads

    try:
        run(settings)
    except BenchError as error:
        print(f"bench_kernels: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, UsageError) else 1)


if __name__ == "__main__":
    main()
