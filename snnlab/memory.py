"""Memory of a process: an allocator setting for fast training steps, and hints for out-of-memory errors.

glibc returns large blocks to the kernel when they are freed. A training step frees and allocates the same large blocks
each time, and each page is then mapped and zeroed again: on two cores that was half of a step. Kept memory stays with
the process until it ends, and the peak is higher by the gaps between blocks.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch

from snnlab.compat import keep_freed_memory

# Environment variable; 0 leaves the allocator as it is.
KEEP_HEAP_VARIABLE = "SNNLAB_KEEP_HEAP"


def keep_heap() -> bool:
    """Set glibc's allocator to keep freed memory; return whether it does.

    Does nothing with another C library, or with SNNLAB_KEEP_HEAP=0 in the environment.
    """
    if os.environ.get(KEEP_HEAP_VARIABLE) == "0" or not sys.platform.startswith("linux"):
        return False
    return keep_freed_memory()


# PyTorch raises a plain RuntimeError when a CPU is out of memory.
_CPU_MESSAGE = "DefaultCPUAllocator: can't allocate memory"


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error is an out-of-memory error, of a CPU or a GPU."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or _CPU_MESSAGE in str(error)


def out_of_memory_hint(batch_size: int, steps: int) -> tuple[str, str]:
    """Return an out-of-memory message, and a hint with settings that need at most half of a training step's memory."""
    fewer = f"data.num_bins={max(steps // 2, 1)}"
    if batch_size == 1:
        return f"out of memory with a batch of 1 in {steps} steps", f"set {fewer}, or checkpoint_segments=10"
    hint = f"set data.batch_size={batch_size // 2}, fewer steps: {fewer}, or checkpoint_segments=10"
    return f"out of memory with a batch of {batch_size} in {steps} steps", hint


# Total memory over tensor memory: Python, libraries and fragmentation take more.
MEMORY_OVERHEAD = 1.7


def available_memory() -> float | None:
    """Return the available memory of this machine or container, bytes; None if not known."""
    left = []
    meminfo, group = Path("/proc/meminfo"), Path("/sys/fs/cgroup")
    if meminfo.is_file():
        lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
        left.append(float(lines["MemAvailable"].split()[0]) * 1024)
    if (group / "memory.max").is_file() and (most := (group / "memory.max").read_text().strip()) != "max":
        left.append(float(most) - float((group / "memory.current").read_text()))
    return min(left, default=None)
