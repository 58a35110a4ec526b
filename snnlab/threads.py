"""Tasks shared among threads, each the same whichever thread runs it.

The threads are those of torch's own OpenMP library. After one of torch's operations its threads wait for the next one
for a while without sleeping, and would keep a core from any others: with threads of our own a training step took a
fifth longer.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import torch

Part = Callable[[int, int], None]

# Values below which a second thread costs more than it saves: sharing takes some 30 us.
ALONE = 2**16

# Whose names for it stand in torch's folder: GNU's, Intel's, LLVM's; the latter two know GNU's entry points too.
_LIBRARIES = ("libgomp*", "libiomp5*", "libomp*")
_BODY = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


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
    library = _openmp()
    if library is None:
        _run_in_own(run, tasks, threads)
    else:
        _run_in_team(library, run, tasks, threads)


def _run_in_team(library: ctypes.CDLL, run: Part, tasks: int, threads: int) -> None:
    failed: list[BaseException] = []

    def body(_: int | None) -> None:
        n, of = library.omp_get_thread_num(), library.omp_get_num_threads()
        try:
            run(tasks * n // of, tasks * (n + 1) // of)
        except BaseException as error:  # there is no Python above it that would see it; raised below
            failed.append(error)

    library.GOMP_parallel(_BODY(body), None, threads, 0)
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


@lru_cache(maxsize=1)
def _openmp() -> ctypes.CDLL | None:
    """Return the OpenMP library that torch has loaded, if it has the entry point that is needed."""
    folder = Path(torch.__file__).parent / "lib"
    for path in (path for name in _LIBRARIES for path in sorted(folder.glob(name))):
        library = ctypes.CDLL(str(path))  # loaded already, and not a second time
        if hasattr(library, "GOMP_parallel"):
            library.GOMP_parallel.argtypes = (_BODY, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint)
            library.GOMP_parallel.restype = None
            return library
    return None
