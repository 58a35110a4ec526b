"""Tasks shared among threads, each the same whichever thread runs it.

By default the threads are those of torch's own OpenMP library. After one of torch's operations its threads wait for the
next one for a while without sleeping, and would keep a core from any others: with threads of our own a training step
took twice as long. Where they are told to sleep soon (GOMP_SPINCOUNT=1000, which the command `snnlab` says unless
somebody else does), ours keep the time of a step, and a core that another process wants is not lost by waiting.
`docs/neighbours.md` has the measurements.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import torch

from snnlab.compat import run_in_team

Part = Callable[[int, int], None]

# Values below which a second thread costs more than it saves: sharing takes some 30 us.
ALONE = 2**16
# Pieces of a thread, which takes the next one as it is done: another process may keep a core for a while. Each of them
# waits for Python's lock twice, so that small ones are not worth it.
PIECES, PIECE = 4, 2**16
# OpenMP's looks before it sleeps, some 15 ns each: up to so many, threads of our own are the faster ones.
SOON = 1000


def share(run: Part, tasks: int, values: int) -> None:
    """Call `run(first, last)` for all tasks, in as many threads as torch has.

    Args:
        run: Runs the tasks from the first to before the last, without holding Python's lock.
        tasks: How many there are.
        values: How many values they go through together, at about 1 ns each; a loop that is faster says fewer.
    """
    threads = min(torch.get_num_threads(), tasks) if values >= ALONE else 1
    if threads <= 1:
        run(0, tasks)
        return
    pieces = min(tasks, threads * PIECES, max(threads, values // PIECE))
    left = iter(range(pieces))  # each number is given once, since Python's lock is held for it
    failed: list[BaseException] = []

    def body(*_: int) -> None:
        try:
            for piece in left:
                run(tasks * piece // pieces, tasks * (piece + 1) // pieces)
        except BaseException as error:  # there is no Python above it that would see it; raised below
            failed.append(error)

    if openmp_sleeps_soon() or not run_in_team(body, threads):
        # Of this process: the threads of one from which it was forked did not come with it.
        workers = _workers(os.getpid(), threads - 1)
        rest = [workers.submit(body) for _ in range(threads - 1)]
        body()
        for part in rest:
            part.result()
    if failed:
        raise failed[0]


@lru_cache(maxsize=1)
def openmp_spin_count() -> int | None:
    """Return how often GNU's OpenMP was told to look before a thread that waits sleeps; None: as often as it likes.

    It reads that as torch is imported, and what is said later changes nothing.
    """
    passive = os.environ.get("OMP_WAIT_POLICY", "").strip().lower() == "passive"
    said = os.environ.get("GOMP_SPINCOUNT", "0" if passive else "").strip()
    return int(said) if said.isdecimal() else None


def openmp_sleeps_soon() -> bool:
    """Return whether OpenMP's threads leave their core to ours when they wait."""
    count = openmp_spin_count()
    return count is not None and count <= SOON


@lru_cache(maxsize=1)
def _workers(process: int, threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="snnlab-kernel")
