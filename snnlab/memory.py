"""The memory of a process: kept for the next training step, and what to do where it does not suffice.

glibc hands large blocks straight to the kernel when they are freed. A training step frees and asks for the same large
blocks each time, and every page of them is then mapped and zeroed anew: on two cores that was half of a step. Kept
memory stays with the process until it ends, and its peak is higher by the gaps between blocks.
"""

from __future__ import annotations

import os
import sys

import torch

from snnlab.compat import keep_freed_memory

# Set to 0, it leaves the allocator as it is.
SWITCH = "SNNLAB_KEEP_HEAP"


def keep_heap() -> bool:
    """Tell glibc's allocator to keep what is freed; return whether it does.

    It does nothing where the C library is another one, or where the environment has SNNLAB_KEEP_HEAP=0.
    """
    if os.environ.get(SWITCH) == "0" or not sys.platform.startswith("linux"):
        return False
    return keep_freed_memory()


# PyTorch raises a plain RuntimeError where a CPU has no more.
_ON_CPU = "DefaultCPUAllocator: can't allocate memory"


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory did not suffice."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or _ON_CPU in str(error)


def smaller(batch_size: int, steps: int) -> tuple[str, str]:
    """Return in words what is too large, and the settings that need half of a training step's memory or less."""
    fewer = f"data.num_bins={max(steps // 2, 1)}"
    if batch_size == 1:
        return f"out of memory with a batch of 1 in {steps} steps", f"set {fewer}, or recompute=10"
    hint = f"set data.batch_size={batch_size // 2}, fewer steps: {fewer}, or recompute=10"
    return f"out of memory with a batch of {batch_size} in {steps} steps", hint
