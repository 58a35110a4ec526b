"""Tasks split among threads; the result of a task does not depend on its thread.

By default the threads are those of torch's OpenMP library. After an operation of torch they spin for a while before
they sleep, and block the cores for other threads: with a thread pool of our own a training step took twice as long.
With a low GOMP_SPINCOUNT (the command `snnlab` sets 1000 unless the environment has a value) our own pool is as fast,
and other processes get the cores that would spin: on two cores, a step beside one busy process took 1.8 times as long
as alone, and 2.2 times with torch's default.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import torch

from snnlab.compat import run_in_openmp

# Values below which a second thread costs more than it saves: a split takes some 30 us.
MIN_VALUES = 2**16
# Blocks per thread: a thread takes the next block when it is done, since another process may hold a core for a while.
# Each block waits for Python's lock twice, so small blocks do not pay: BLOCK_VALUES is the least size.
BLOCKS_PER_THREAD, BLOCK_VALUES = 4, 2**16
# Spins of OpenMP before it sleeps, some 15 ns each: up to this number our own pool is the faster one.
MAX_SPINS = 1000


def share(run: Callable[[int, int], None], tasks: int, values: int) -> None:
    """Call `run(first, last)` for all tasks, in as many threads as torch has.

    Args:
        run: Runs the tasks from `first` to before `last`, without holding Python's lock.
        tasks: Number of tasks.
        values: Number of values in all tasks, at about 1 ns each; fewer for a faster loop.
    """
    threads = min(torch.get_num_threads(), tasks) if values >= MIN_VALUES else 1
    if threads <= 1:
        run(0, tasks)
        return
    blocks = min(tasks, threads * BLOCKS_PER_THREAD, max(threads, values // BLOCK_VALUES))
    remaining = iter(range(blocks))  # thread-safe: Python's lock is held during `next`
    errors: list[BaseException] = []

    def body(*_: int) -> None:
        try:
            for block in remaining:
                run(tasks * block // blocks, tasks * (block + 1) // blocks)
        except BaseException as error:  # OpenMP's threads have no Python caller that would see it; raised below
            errors.append(error)

    if openmp_sleeps_soon() or not run_in_openmp(body, threads):
        # A pool for each process id: after a fork the parent's threads do not exist.
        workers = _workers(os.getpid(), threads - 1)
        futures = [workers.submit(body) for _ in range(threads - 1)]
        body()
        for future in futures:
            future.result()
    if errors:
        raise errors[0]


@lru_cache(maxsize=1)
def openmp_spin_count() -> int | None:
    """Return the spins of a waiting thread of GNU's OpenMP before it sleeps; None if the environment has no number.

    OpenMP reads it when torch is imported; later changes have no effect.
    """
    passive = os.environ.get("OMP_WAIT_POLICY", "").strip().lower() == "passive"
    count = os.environ.get("GOMP_SPINCOUNT", "0" if passive else "").strip()
    return int(count) if count.isdecimal() else None


def openmp_sleeps_soon() -> bool:
    """Return whether OpenMP's waiting threads sleep early enough to leave their cores to our own pool."""
    count = openmp_spin_count()
    return count is not None and count <= MAX_SPINS


@lru_cache(maxsize=1)
def _workers(process: int, threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="snnlab-kernel")


def flush_denormals(on: bool) -> None:
    """Set whether this thread, and all in which torch and `share` compute, take denormal numbers for zeros.

    Processors of Intel need a hundred cycles for an operation with a number below 1e-38, and gradients that vanish over
    many steps are such numbers: a GRU of 784 steps trains five times as fast without them.
    """

    def set_own(*_: int) -> None:
        torch.set_flush_denormal(on)

    set_own()
    run_in_openmp(set_own, torch.get_num_threads())
    _workers.cache_clear()  # new threads are like the one that starts them


def flushes_denormals() -> bool:
    """Return whether this thread takes denormal numbers for zeros."""
    return bool(torch.tensor(1e-30) * 1e-10 == 0)
