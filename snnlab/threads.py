"""Tasks shared among threads, each the same whichever thread runs it.

The threads are those of torch's own OpenMP library. After one of torch's operations its threads wait for the next one
for a while without sleeping, and would keep a core from any others: with threads of our own a training step took a
fifth longer.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import pairwise

import torch

from snnlab.compat import run_in_team

Part = Callable[[int, int], None]

# Values below which a second thread costs more than it saves: sharing takes some 30 us.
ALONE = 2**16


def share(run: Part, tasks: int, values: int) -> None:
    """Call `run(first, last)` for all tasks, in as many threads as torch has.

    Args:
        run: Runs the tasks from the first to before the last, without holding Python's lock.
        tasks: How many there are.
        values: How many values they go through together.
    """
    threads = min(torch.get_num_threads(), tasks) if values >= ALONE else 1
    if threads <= 1:
        run(0, tasks)
        return
    failed: list[BaseException] = []

    def body(n: int, of: int) -> None:
        try:
            run(tasks * n // of, tasks * (n + 1) // of)
        except BaseException as error:  # there is no Python above it that would see it; raised below
            failed.append(error)

    if not run_in_team(body, threads):
        _run_in_own(run, tasks, threads)
    if failed:
        raise failed[0]


def _run_in_own(run: Part, tasks: int, threads: int) -> None:
    ends = [tasks * n // threads for n in range(threads + 1)]
    # Of this process: the threads of one from which it was forked did not come with it.
    workers = _workers(os.getpid(), threads - 1)
    rest = [workers.submit(run, first, last) for first, last in pairwise(ends[1:])]
    run(ends[0], ends[1])
    for part in rest:
        part.result()


@lru_cache(maxsize=1)
def _workers(process: int, threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="snnlab-kernel")
