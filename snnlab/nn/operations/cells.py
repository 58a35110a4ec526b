"""How often each cell of a layer's input is other than 0, apart for steps of spikes and for others.

Axes: N steps of samples, P cells of one.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from torch import Tensor

from snnlab.threads import share

GRADED, BINARY = 0, 1


def cells_seen(x: Tensor, valid: Tensor) -> Tensor:
    """Return how often each cell is other than 0, in steps where some cell is graded, and in those of 0, 1 and -1.

    Args:
        x: The input.
        valid: Which steps count.

    Shape:
        x: `[N, P]`; valid: bool `[N]`; returns `[2, P]`, float64.
    """
    if x.device.type != "cpu" or x.dtype not in (torch.float32, torch.float64):
        return _by_torch(x.float(), valid)
    # Here, because numba takes a second to import, which only who counts should wait for.
    from snnlab.nn.operations.numba_cells import count

    parts = min(torch.get_num_threads(), max(len(x), 1))
    cells = np.zeros((parts, 2, x.shape[1]), np.int32)
    run = partial(count, x.detach().contiguous().numpy(), valid.numpy(), cells)
    share(run, parts, x.numel())
    return torch.from_numpy(cells.sum(0, dtype=np.float64))


def _by_torch(x: Tensor, valid: Tensor) -> Tensor:
    there = (x != 0).float()
    graded = (x.abs() != there).any(1)
    kinds = torch.stack([valid & graded, valid & ~graded]).float()
    with torch.autocast(x.device.type, enabled=False):
        return (kinds @ there).double()  # whole numbers below 2^24: exact
