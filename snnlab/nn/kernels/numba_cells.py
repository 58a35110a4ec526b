"""What the cells of compiled walks on CPUs share: arrays, and the sharing of tasks among threads.

Axes: T steps, B samples, n neurons as they lie in memory.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from snnlab.nn.kernels.cells import Cell
from snnlab.nn.kernels.layout import Layout
from snnlab.nn.kernels.numba_job import Job, valid_steps
from snnlab.nn.kernels.rule import Rule
from snnlab.threads import Part, share


class NumbaCell(Cell):
    """Neurons whose walks are compiled by numba; see `Cell`."""

    sums_in: ClassVar[torch.dtype | None] = torch.float64

    def __init__(self, job: Job, k: Any, like: Tensor) -> None:
        super().__init__(job, k, like)
        self.table, self.uniform = job.table(k, like.dtype)
        self.piece, self.tasks, self.values = job.piece, job.tasks, job.shape.numel()
        # Arrays without room, by their number of axes.
        self.nothing = [like.new_empty([0] * dims).numpy() for dims in range(5)]
        self.arrays: dict[str, np.ndarray] = {}
        self.slots = np.empty(0, np.int64)

    @classmethod
    def told(
        cls, rule: Rule, lengths: Tensor | None, counts: bool, layout: Layout, shape: torch.Size, num_steps: int
    ) -> Job:
        """Return what the walks are told; see `Cell`."""
        return Job(rule, valid_steps(lengths, num_steps, shape[1]), counts, None, layout, shape, False, None)

    def array(self, rows: Tensor | None) -> np.ndarray:
        """Return rows as an array, or one without room."""
        return self.nothing[3] if rows is None else rows.numpy()

    def valid(self, num_steps: int) -> tuple[np.ndarray, list[Tensor] | None]:
        """Return which steps are valid; see `Cell`."""
        valid = np.arange(num_steps)[:, None] < self.job.steps
        if valid.all():
            return valid.astype(np.int64), None
        ones = [1] * len(self.sample)
        return valid.astype(np.int64), list(torch.from_numpy(valid).reshape(*valid.shape, *ones).unbind())

    def resume(
        self,
        kept: Mapping[str, Tensor],
        grads: Sequence[Tensor | None],
        gn: Tensor | None,
        wanted: Collection[str],
    ) -> None:
        """Stand behind the last step; see `Cell`."""
        super().resume(kept, grads, gn, wanted)
        # The surrogate's factors, the last rows of the table, are asked for by nobody.
        fields = (*type(self.k)._fields, "", "")
        self.slots = np.array([self.names.index(name) if name in self.names else -1 for name in fields])

    def keep(self, kept: Mapping[str, Tensor]) -> None:
        """Keep more for the way back."""
        super().keep(kept)
        self.arrays |= {name: part.numpy() for name, part in kept.items()}

    def of(self, name: str, steps: slice) -> np.ndarray:
        """Return what is kept of some steps, `[steps, B, n]`, or an array without room."""
        return self.arrays[name][steps] if name in self.arrays else self.nothing[3]

    def share(self, walk: Part) -> None:
        """Run a walk's tasks."""
        share(walk, self.tasks, self.values)

    def counted(self) -> np.ndarray:
        """Return the counts, or their gradient, or an array without room."""
        return self.nothing[2] if self.n is None else self.n.numpy()
