"""What neurons cost, forward and backward, by the code of this checkout and by that of another commit.

    python scripts/bench_kernels.py
    python scripts/bench_kernels.py --against HEAD~3 --cases lif alif --shapes 32x11x11 --out kernels.md

Each case is a layer of neurons, perhaps with the pooling behind it, as a network runs it. First outputs, states and
gradients of both codes are compared: if one differs, nothing is timed. Then both, each in a process of its own with one
thread and the heap kept, take turns. Times are CPU time of that thread, so that neighbours on the machine count little.
Where memory and compiled code happen to lie changes a time by up to a fifth for as long as a process lives: each turn
has other memory, and there are several pairs of processes. Kernels that are the same came out with medians within 7 %
and least times within 19 % where ten busy processes shared two cores.
The other commit is checked out into a temporary folder; what it compiles there may take a minute.
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
    add("--against", default="dd700d9", metavar="COMMIT", help="whose code is the other (default dd700d9)")
    add("--checkout", type=Path, metavar="FOLDER", help="where that commit is or will be checked out, and stays")
    add("--cases", nargs="+", default=list(CASES), choices=list(CASES), metavar="CASE", help=", ".join(CASES))
    add("--shapes", nargs="+", default=list(SHAPES), choices=list(SHAPES), help="C x H x W, or how many (default: all)")
    add("--steps", type=positive, default=30, metavar="T", help="steps in time (default 30)")
    add("--batch", type=positive, default=32, metavar="B", help="samples (default 32)")
    add("--pairs", type=positive, default=6, help="pairs of processes, one after the other (default 6)")
    add("--rounds", type=positive, default=2, help="turns of each process, of 5 measured repetitions (default 2)")
    add("--out", type=Path, metavar="FILE", help="where the table is written too, in Markdown")
    return made


def main() -> None:
    settings = parser().parse_args()
    os.environ.update(dict.fromkeys(THREADS, "1"))
    from kernelbench.bench import run
    from stepbench.work import BenchError, UsageError  # here: torch comes with it, which has to know the threads

    try:
        run(settings)
    except BenchError as error:
        print(f"bench_kernels: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, UsageError) else 1)


if __name__ == "__main__":
    main()
