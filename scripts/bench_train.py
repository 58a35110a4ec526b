"""Measures whole trainings: overhead over bare steps, and time to an accuracy, compared with SpikingJelly.

    python scripts/bench_train.py
    python scripts/bench_train.py --experiments nmnist --seeds 0 1 2
    python scripts/bench_train.py --experiments saccade_digits trainer.max_epochs=4 data.batch_size=64

Speed: `snnlab train` as users run it; after each of its epochs the same epoch is trained in a plain loop, on frames
made before. If the weights are not the same bit for bit, it reports no numbers. Accuracy: `snnlab train` and the same
training in SpikingJelly, from the same weights in the same batches, take turns, each in its own process; if
SpikingJelly's outputs or gradients differ at the start, it reports no numbers. All keep the heap. It writes
bench_train.json (with every epoch) and bench_train.png, and prints tables.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from bench_step import THREADS, positive


def parser() -> argparse.ArgumentParser:
    about, _, _ = (__doc__ or "").rpartition("\n")
    made = argparse.ArgumentParser("bench_train.py", description=about, formatter_class=argparse.RawTextHelpFormatter)
    add = made.add_argument
    known = ["saccade_digits", "nmnist"]
    add("--experiments", nargs="+", choices=known, help="(default: the digits, and nmnist if it exists)")
    add("--seeds", nargs="+", type=int, default=[0], metavar="SEED", help="a pair of trainings each (default 0)")
    add("--rounds", type=positive, default=1, help="trainings with a bare epoch after each epoch (default 1)")
    add("--threads", type=positive, default=2, help="CPU threads (default 2)")
    add("--out", type=Path, default=Path("outputs/bench_train"), metavar="FOLDER", help="(default outputs/bench_train)")
    add("overrides", nargs="*", help="overrides of all trainings, such as data.batch_size=64")
    return made


def main() -> None:
    settings = parser().parse_intermixed_args()
    if wrong := [word for word in settings.overrides if "=" not in word]:
        parser().error(f"{wrong[0]}: an override is written name=value")
    os.environ.update(dict.fromkeys(THREADS, str(settings.threads)))
    # Imported late: it takes seconds, and the number of threads must be set before.
    from stepbench.work import BenchError, UsageError
    from trainbench.bench import run

    try:
        run(settings)
    except BenchError as error:
        print(f"bench_train: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, UsageError) else 1)


if __name__ == "__main__":
    main()
