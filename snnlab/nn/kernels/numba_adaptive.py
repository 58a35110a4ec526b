"""What the compiled walks of the neuron with an adaptive threshold on CPUs share.

Tasks, rows and tables are as in `numba_forward`, and the forward operations those of the plain loop, in its order:

    u = a * v' + (g * x + c),   A = adaptation * w' + v_threshold,   s = H(u - A),   w = rho * w' + s
    v = u - s * r   reset "subtract"        u - s * (A * r)   "adapted"        (1 - s) * u + s * v_reset   "value"

The backward walk is written by hand, with d the derivative at u - A, gv and gw what arrives at v[t] and w[t], v' and w'
the state before the step, and [...] what a detached reset leaves out:

    gs = gy[t] + gw [- r * gv]               gu = gv + gs * d              gA = -gs * d                 "subtract"
    gs = gy[t] + gw [- A * r * gv]           gu = gv + gs * d              gA = -gs * d - s * r * gv    "adapted"
    gs = gy[t] + gw [+ (v_reset - u) * gv]   gu = (1 - s) * gv + gs * d    gA = -gs * d                 "value"
    gs = gy[t] + gw                          gu = gv + gs * d              gA = -gs * d                 "none"
    gv = a * gu,   gw = rho * gw + adaptation * gA,   dx = g * gu

Axes: T steps, B samples, n neurons as they lie in memory.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from snnlab.nn.kernels.numba_table import VALUE, Rows

# Rows of the table of coefficients and of their gradients.
A, G, C, THRESHOLD, R, V_RESET, RHO, ADAPTATION = range(8)

# A reset beside those of other neurons.
ADAPTED = VALUE + 1


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
    )


@njit(nogil=True, error_model="numpy")
def threshold_line(line: np.ndarray, w: np.ndarray, numbers: Rows) -> None:
    """Write the thresholds of neurons."""
    adaptation, v_threshold = numbers[ADAPTATION], numbers[THRESHOLD]
    for n in range(line.size):
        line[n] = adaptation[n] * w[n] + v_threshold[n]
