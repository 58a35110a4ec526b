"""A method in its own process, which trains the requested number of steps and waits."""

from __future__ import annotations

import ctypes
import multiprocessing
import sys
from multiprocessing.connection import Connection
from pathlib import Path

import torch
from stepbench.methods import METHODS, Variant
from stepbench.training import training
from stepbench.work import BenchError, Workload

from snnlab.memory import keep_heap

TINY = (2, 1)  # T, B


class Worker:
    """The parent's side of a method's process."""

    def __init__(self, method: str, variant: Variant, work: Workload, device: str) -> None:
        self.method, self.variant = method, variant
        context = multiprocessing.get_context("spawn")
        self._pipe, other = context.Pipe()
        arguments = (other, method, variant, work, device)
        self._process = context.Process(target=serve, args=arguments, name=method, daemon=True)
        self._process.start()
        other.close()

    def run(self, steps: int) -> tuple[list[float], float | None]:
        """Train some steps, after one that is not measured; return their seconds and the peak memory, MB.

        Raises:
            BenchError: if the process has ended.
        """
        try:
            self._pipe.send(steps)
            return self._pipe.recv()
        except (EOFError, OSError):
            self._process.join()
            raise BenchError(
                f"the process of {self.method} ({self.variant}) ended with {self._process.exitcode}: its output is"
                " above; -9 usually means a lack of memory"
            ) from None

    def close(self) -> None:
        """End the process."""
        self._pipe.close()
        self._process.join()


def serve(pipe: Connection, method: str, variant: Variant, work: Workload, device: str) -> None:
    """Run the numbers of steps that the parent sends, until it closes the pipe."""
    # A warm-up: loading and compiling are not part of a step's memory.
    training(METHODS[method], variant, work._replace(steps=TINY[0], batch=TINY[1]), device).step()
    trained = training(METHODS[method], variant, work, device)
    # Memory freed by compiling and making frames is returned first: a step that reuses it would seem to need less.
    free_memory(device)
    keep_heap()
    before = memory_mb(device, peak=False)
    while True:
        try:
            wanted = pipe.recv()
        except EOFError:
            return
        seconds = [trained.step() for _ in range(1 + wanted)][1:]
        pipe.send((seconds, None if before is None else (memory_mb(device, peak=True) or 0.0) - before))
        free_memory(device)


def free_memory(device: str) -> None:
    """Return free memory to the system until the next turn, whose first step is not measured, for the other methods."""
    if device == "cuda":
        torch.cuda.empty_cache()
    elif sys.platform.startswith("linux") and hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)


def memory_mb(device: str, *, peak: bool) -> float | None:
    """Return the memory of this process, on a GPU that of the device, in MB of 2^20 bytes."""
    if device == "cuda":
        return (torch.cuda.max_memory_allocated() if peak else torch.cuda.memory_allocated()) / 2**20
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    wanted = "VmHWM:" if peak else "VmRSS:"
    return next(int(line.split()[1]) / 1024 for line in status.read_text().splitlines() if line.startswith(wanted))
