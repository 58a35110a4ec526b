"""What to do where the memory does not suffice."""

from __future__ import annotations

import torch

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
