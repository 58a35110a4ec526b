"""Keep the memory that a training step frees, instead of giving it back to the system and asking for it again.

glibc hands large blocks straight to the kernel when they are freed. A training step frees and asks for the same large
blocks each time, and every page of them is then mapped and zeroed anew: on two cores that was half of a step. Kept
memory stays with the process until it ends, and its peak is higher by the gaps between blocks.
"""

from __future__ import annotations

import ctypes
import os
import sys

# Set to 0, it leaves the allocator as it is.
SWITCH = "SNNLAB_KEEP_HEAP"

# From glibc's malloc.h.
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4


def keep_heap() -> bool:
    """Tell glibc's allocator to keep what is freed; return whether it does.

    It does nothing where the C library is another one, or where the environment has SNNLAB_KEEP_HEAP=0.
    """
    if os.environ.get(SWITCH) == "0" or not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # musl has none
        return False
    # No block of its own for large requests, and no end of the heap given back: -1 is never.
    return bool(mallopt(M_MMAP_MAX, 0)) and bool(mallopt(M_TRIM_THRESHOLD, -1))
