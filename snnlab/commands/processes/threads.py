"""The CPU threads of a machine, shared out among the processes of a training on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def shared_threads(asked: int | None, processes: int) -> Iterator[int]:
    """Let each process have its share of torch's threads as long as they train; give the number.

    Args:
        asked: The experiment's `threads`, those of each process; None shares out what torch would use alone.
        processes: How many there are on this machine.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, before // processes) if asked is None else asked)
    try:
        yield torch.get_num_threads()
    finally:
        torch.set_num_threads(before)
