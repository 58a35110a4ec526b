"""Measures the time of a training step next to busy processes, for different waiting modes of OpenMP's threads.

    python scripts/bench_neighbour.py
    python scripts/bench_neighbour.py --ways default GOMP_SPINCOUNT=3000 GOMP_SPINCOUNT=3000,threads=1 --busy 0 1

A step is that of `bench_step.py` (conv, average pooling, T=30). Each way is its own process; the processes take turns,
alone and next to 1, 2, 3 busy processes of one thread each, and only one of them runs at a time. A way is a list of
settings separated by commas: environment variables, `threads=N`, and `own_pool` or `team`, which run snnlab's loops in
snnlab's threads or in torch's, regardless of the environment. Results are medians in ms, and in brackets their ratio to
the first way alone. It writes bench_neighbour.json and prints a table.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

DEFAULT = "default"
WAYS = [
    DEFAULT,
    *(f"GOMP_SPINCOUNT={count}" for count in (0, 1_000, 10_000, 100_000)),
    "OMP_WAIT_POLICY=passive",
    "threads=1",
    "own_pool",
    "team,GOMP_SPINCOUNT=1000",
]
# Variables that the environment, such as that of a worker, may have set already.
WAITING = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
BUSY = "while True: pass"


def parser() -> argparse.ArgumentParser:
    about, _, _ = (__doc__ or "").rpartition("\n")
    made = argparse.ArgumentParser(
        "bench_neighbour.py", description=about, formatter_class=argparse.RawTextHelpFormatter
    )
    add = made.add_argument
    add("--ways", nargs="+", default=WAYS, metavar="WAY", help="(default: a list of 9)")
    add(
        "--methods",
        nargs="+",
        default=["snnlab", "relu"],
        metavar="METHOD",
        help="of bench_step.py (default snnlab relu)",
    )
    add("--busy", nargs="+", type=int, default=[0, 1, 2, 3], metavar="N", help="busy processes (default 0 1 2 3)")
    add("--rounds", type=int, default=3, help="turns of each way for each number of processes (default 3)")
    add("--steps", type=int, default=8, help="measured steps of a turn, twice as many alone (default 8)")
    add("--batch", type=int, default=32, help="samples of a step (default 32)")
    add("--threads", type=int, default=2, help="threads of a way without threads=N (default 2)")
    add("--out", type=Path, default=Path("outputs/bench_neighbour"), metavar="FOLDER")
    add("--work", nargs=2, metavar=("WAY", "METHOD"), help=argparse.SUPPRESS)
    return made


def settings_of(way: str) -> tuple[dict[str, str], int | None, bool | None]:
    """Return the variables of a way, its threads, and whether loops run in snnlab's pool; None where not set."""
    variables: dict[str, str] = {}
    threads: int | None = None
    own_pool: bool | None = None
    for part in way.split(","):
        name, _, value = part.partition("=")
        if name == "threads":
            threads = int(value)
        elif name in ("own_pool", "team"):
            own_pool = name == "own_pool"
        elif name != DEFAULT:
            variables[name] = value
    return variables, threads, own_pool


class Worker:
    """The process of a way; it waits for requests to train some steps."""

    def __init__(self, way: str, method: str, settings: argparse.Namespace) -> None:
        variables, own, _ = settings_of(way)
        environment = {name: value for name, value in os.environ.items() if name not in WAITING}
        environment |= {"OMP_NUM_THREADS": str(own or settings.threads), **variables}
        command = [sys.executable, __file__, "--batch", str(settings.batch), "--work", way, method]
        self.process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, steps: int) -> list[float]:
        """Train some steps and return their seconds; with none, wait until it is ready."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(steps, file=self.process.stdin, flush=True)
        return json.loads(self.process.stdout.readline())

    def close(self) -> None:
        """End the process."""
        self.process.communicate()


def work(batch: int, way: str, method: str) -> None:
    """Read numbers of steps from stdin, train them, and print their seconds, until stdin ends."""
    import torch
    from stepbench.methods import METHODS, Variant
    from stepbench.training import Training
    from stepbench.work import Workload

    from snnlab import threads
    from snnlab.memory import keep_heap

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    keep_heap()
    if (own := settings_of(way)[2]) is not None:
        threads.openmp_sleeps_soon = lambda: own
    trained = Training(METHODS[method], Variant("", "channels-last"), Workload("conv", 30, batch), "cpu")
    for _ in range(3):
        trained.step()
    for line in sys.stdin:
        print(json.dumps([trained.step() for _ in range(int(line) and int(line) + 1)][1:]), flush=True)


@contextmanager
def busy(number: int) -> Iterator[None]:
    """Run this number of busy processes."""
    processes = [subprocess.Popen([sys.executable, "-S", "-c", BUSY]) for _ in range(number)]
    time.sleep(0.3 if number else 0.0)
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def measure(settings: argparse.Namespace) -> dict[str, dict[str, list[list[float]]]]:
    """Return the seconds of each method's ways, for each number of busy processes."""
    workers: dict[tuple[str, str], Worker] = {}
    for method in settings.methods:
        for way in settings.ways:  # one after the other: they compile
            workers[method, way] = Worker(way, method, settings)
            workers[method, way].run(0)
    found = {method: {way: [[] for _ in settings.busy] for way in settings.ways} for method in settings.methods}
    for turn in range(settings.rounds):
        for at, number in enumerate(settings.busy):
            with busy(number):
                order = list(workers)
                first = turn * len(order) // settings.rounds
                for method, way in order[first:] + order[:first]:
                    found[method][way][at] += workers[method, way].run(settings.steps * (1 if number else 2))
            print(f"turn {turn + 1} of {settings.rounds}, {number} busy", file=sys.stderr, flush=True)
    for worker in workers.values():
        worker.close()
    return found


def table(seconds: dict[str, dict[str, list[list[float]]]], numbers: list[int]) -> str:
    """Return the medians in Markdown, ms, and in brackets their ratio to the first way alone."""
    lines: list[str] = []
    for method, ways in seconds.items():
        alone = median(next(iter(ways.values()))[0])
        lines += ["", f"| {method} | " + " | ".join(f"{n} busy" if n else "alone" for n in numbers) + " |"]
        lines += ["|---|" + "---:|" * len(numbers)]
        for way, found in ways.items():
            cells = [f"{1e3 * median(each):.1f} ({median(each) / alone:.2f})" for each in found]
            lines.append(f"| {way} | {' | '.join(cells)} |")
    return "\n".join(lines[1:])


def main() -> None:
    settings = parser().parse_args()
    if settings.work:
        work(settings.batch, *settings.work)
        return
    found = measure(settings)
    from surroundings import about

    given = argparse.Namespace(**{name: value for name, value in vars(settings).items() if name != "work"})
    done: dict[str, Any] = about(given, ("torch", "numba")) | {"seconds": found}
    settings.out.mkdir(parents=True, exist_ok=True)
    (settings.out / "bench_neighbour.json").write_text(json.dumps(done, indent=1) + "\n")
    print(table(found, settings.busy))


if __name__ == "__main__":
    main()
