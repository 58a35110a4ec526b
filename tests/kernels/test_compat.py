"""Private parts of numba that the loops need: each fails here where a new numba has lost it."""

from __future__ import annotations

import numpy as np
from numba import njit

from snnlab.kernels.compat import NoAlias


def _add(x, y, n):
    for k in range(n):
        y[k] += x[k]


def test_llvm_is_told_that_arrays_share_no_memory() -> None:
    made = njit(pipeline_class=NoAlias)(_add)
    x = np.ones(3, np.float32)
    made(x, x.copy(), 3)
    plain = njit(_add)
    plain(x, x.copy(), 3)
    (told,), (untold,) = made.inspect_llvm().values(), plain.inspect_llvm().values()
    # Without it the loop is guarded by a look at whether the two overlap.
    assert "memcheck" not in told
    assert "memcheck" in untold
