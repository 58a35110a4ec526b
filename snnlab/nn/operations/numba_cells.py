"""One compiled pass over an input, see `cells_seen`: half a nanosecond a cell.

Axes: N steps of samples, P cells of one.
"""

from __future__ import annotations

import numpy as np

from snnlab.compiled import compiled


@compiled(nogil=True)
def count(x: np.ndarray, valid: np.ndarray, cells: np.ndarray, first: int, last: int) -> None:
    """Add to `cells[part]` the cells of every part from the first to before the last.

    Shape:
        x: `[N, P]`; valid: bool `[N]`; cells: `[parts, 2, P]`, of graded steps and of others.
    """
    parts = len(cells)
    for part in range(first, last):
        for n in range(len(x) * part // parts, len(x) * (part + 1) // parts):
            if not valid[n]:
                continue
            graded = 0
            for at in range(x.shape[1]):
                graded += (x[n, at] != 0) & (x[n, at] != 1) & (x[n, at] != -1)
            kind = 0 if graded else 1
            for at in range(x.shape[1]):
                cells[part, kind, at] += x[n, at] != 0
