"""Measures recordings a second that are binned into frames: by snnlab, by tonic with and without caches, and by numpy.

    python scripts/bench_data.py
    python scripts/bench_data.py --data nmnist --batch 128 --rounds 15

The data are the simulated digits, and the real N-MNIST recordings of SNNLAB_DATA (or ../shared/data) if they exist.
First the frames of all methods are compared: if one value differs, nothing is timed. Then the methods take turns on the
same batches, in one thread; events of other libraries are in memory in their own format, and tonic's caches are full.
Then it measures packing, opening a store of 60,000 recordings, and loading during a training step. It writes
bench_data.json (with all measured times) and bench_data.png, and prints a table.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from bench_step import THREADS, positive

GOAL = 25_000  # recordings a second per core, read and binned into frames


def parser() -> argparse.ArgumentParser:
    about, _, _ = (__doc__ or "").rpartition("\n")
    made = argparse.ArgumentParser("bench_data.py", description=about, formatter_class=argparse.RawTextHelpFormatter)
    add = made.add_argument
    data = ["saccade_digits", "nmnist"]
    add("--data", nargs="+", choices=data, help="(default: the digits, and nmnist if it exists)")
    add("--recordings", type=positive, default=512, help="recordings a turn (default 512)")
    add("--batch", type=positive, default=32, help="recordings a batch (default 32)")
    add("--rounds", type=positive, default=9, help="turns of each method (default 9)")
    add("--out", type=Path, default=Path("outputs/bench_data"), metavar="FOLDER", help="(default outputs/bench_data)")
    return made


def main() -> None:
    settings = parser().parse_args()
    os.environ.update(dict.fromkeys(THREADS, "1"))
    # Imported late: it takes seconds, and the number of threads must be set before.
    from databench.bench import run
    from stepbench.work import BenchError, UsageError

    try:
        run(settings, GOAL)
    except BenchError as error:
        print(f"bench_data: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, UsageError) else 1)


if __name__ == "__main__":
    main()
