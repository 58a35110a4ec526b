"""How many recordings a second become frames: snnlab's own path, tonic with and without its caches, and numpy.

    python scripts/bench_data.py
    python scripts/bench_data.py --data nmnist --batch 128 --rounds 15

The simulated digits, and the genuine N-MNIST recordings of SNNLAB_DATA (or ../shared/data) where there are some. First
all arms' frames are compared: if one cell differs, nothing is timed. Then the arms take turns on the same batches, in
one thread; the others' events lie in memory in the form that they want, and tonic's caches are full. Then packing,
opening a store of 60,000 recordings, and loading beside a training step. bench_data.json (with every measured second)
and bench_data.png are written, a table is printed.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from bench_step import THREADS, positive

GOAL = 25_000  # recordings a second a core, read and made into frames


def parser() -> argparse.ArgumentParser:
    about, _, _ = (__doc__ or "").rpartition("\n")
    made = argparse.ArgumentParser("bench_data.py", description=about, formatter_class=argparse.RawTextHelpFormatter)
    add = made.add_argument
    data = ["saccade_digits", "nmnist"]
    add("--data", nargs="+", choices=data, help="(default: the digits, and nmnist where it is)")
    add("--recordings", type=positive, default=512, help="recordings a turn (default 512)")
    add("--batch", type=positive, default=32, help="recordings a batch (default 32)")
    add("--rounds", type=positive, default=9, help="turns of each arm (default 9)")
    add("--out", type=Path, default=Path("outputs/bench_data"), metavar="FOLDER", help="(default outputs/bench_data)")
    return made


def main() -> None:
    settings = parser().parse_args()
    os.environ.update(dict.fromkeys(THREADS, "1"))
    # Here: it takes seconds to import, and the number of threads must be known before.
    from databench.bench import run
    from stepbench.work import BenchError, UsageError

    try:
        run(settings, GOAL)
    except BenchError as error:
        print(f"bench_data: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, UsageError) else 1)


if __name__ == "__main__":
    main()
