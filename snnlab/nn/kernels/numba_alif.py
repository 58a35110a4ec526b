"""The neuron with an adaptive threshold in compiled loops for CPUs.

Axes: T steps, B samples, n neurons as they lie in memory.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from typing import ClassVar

import numpy as np

from snnlab.nn.kernels import adaptive, keeping, numba_adaptive, numba_table
from snnlab.nn.kernels.bells import GIVEN, bell_of
from snnlab.nn.kernels.numba_adaptive_backward import backward
from snnlab.nn.kernels.numba_adaptive_forward import forward
from snnlab.nn.kernels.numba_bells import derive
from snnlab.nn.kernels.numba_cells import NumbaCell
from snnlab.nn.kernels.numba_job import without_graph
from snnlab.nn.kernels.numba_table import HEIGHT, SLOPE

RESETS = {
    "none": numba_table.NONE,
    "subtract": numba_table.SUBTRACT,
    "value": numba_table.VALUE,
    "adapted": numba_adaptive.ADAPTED,
}


class AdaptiveCell(NumbaCell):
    """Neurons with an adaptive threshold."""

    states: ClassVar[tuple[str, ...]] = ("v", "w")

    def keeps(self, wanted: Collection[str]) -> list[str]:
        """Return what the way back needs."""
        return keeping.of_adaptive(self.job.rule, wanted)

    def run(self, steps: slice, x: np.ndarray, y: np.ndarray, lengths: np.ndarray) -> None:
        """Go through some steps."""
        v, w = self.state
        walk = partial(
            forward,
            x,
            v.numpy(),
            w.numpy(),
            self.table,
            self.uniform,
            lengths,
            y,
            self.of("gaps", steps),
            self.of("vs", steps),
            self.of("ws", steps),
            self.counted(),
            self.piece,
            RESETS[self.job.rule.reset],
            self.job.rule.strict,
        )
        self.share(walk)

    def back(self, steps: slice, gy: np.ndarray, dx: np.ndarray, lengths: np.ndarray) -> None:
        """Go back through some steps."""
        gv, gw = self.state
        self._derive(steps, dx, lengths)
        walk = partial(
            backward,
            gy,
            self.counted(),
            gv.numpy(),
            gw.numpy(),
            dx,
            self.of("y", steps),
            self.of("gaps", steps),
            self.of("x", steps),
            self.of("vs", steps),
            self.of("ws", steps),
            self.table,
            self.uniform,
            lengths,
            dx,
            self.sums.numpy(),
            self.slots,
            self.piece,
            RESETS[self.job.rule.reset],
            not self.job.rule.detach_reset,
        )
        self.share(walk)

    def _derive(self, steps: slice, d: np.ndarray, lengths: np.ndarray) -> None:
        """Write the derivative of the spikes, in the place of which their gradients come."""
        surrogate, v_threshold = self.job.rule.surrogate, without_graph(self.k.v_threshold)
        assert surrogate is not None
        bell = bell_of(surrogate)
        if bell.formula == GIVEN:
            derivative = surrogate.derivative(self.spread(self.kept["gaps"][steps]), v_threshold)
            d[:] = self.job.layout.rows(derivative)
            return
        table = np.zeros((HEIGHT + 1, self.table.shape[1]), self.table.dtype)
        table[SLOPE:] = self.table[-2:]
        piece, gaps = self.piece, self.of("gaps", steps)
        self.share(partial(derive, gaps, table, self.uniform, lengths, d, piece, bell.formula, bell.lobes))


run = partial(adaptive.run, AdaptiveCell)
