"""What numbers stand for in the compiled walks: rows of the table of coefficients, resets, synapses, pooling."""

from __future__ import annotations

import numpy as np
from numba import njit

Rows = tuple[np.ndarray, ...]

# Rows of the table of coefficients and of their gradients: those of the recurrence, then the surrogate's factors.
A, G, C, B, THRESHOLD, R, V_RESET, SLOPE, HEIGHT = range(9)

NONE, SUBTRACT, VALUE = range(3)
JUMP_FIRST, DECAY_FIRST = 1, 2
MAX, AVERAGE = 1, 2

# Neurons of a sample whose tasks take each step one after the other: what they read lies side by side then, and comes
# sooner. Their states stay in the second-level cache.
TOGETHER = 2**15


# Rows one by one: as rows of a part of a table they would not be known to be contiguous, and a third as fast.
@njit(nogil=True, error_model="numpy")
def rows_of_table(table: np.ndarray, at: int, to: int) -> Rows:
    """Return a part of each row."""
    return (
        table[0, at:to],
        table[1, at:to],
        table[2, at:to],
        table[3, at:to],
        table[4, at:to],
        table[5, at:to],
        table[6, at:to],
        table[7, at:to],
        table[8, at:to],
    )
