"""Neurons as the drivers of compiled walks see them: the same calls, whichever walk it is.

Axes: T steps, B samples, n neurons as they lie in memory.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from snnlab.nn.kernels.numba_job import Job
from snnlab.nn.kernels.threads import Part, share


class Cell(ABC):
    """Neurons on their way through the steps, forward after `begin` or back after `resume`.

    Args:
        job: What the walks are told; its steps are those of one call.
        k: Numbers of the recurrence, a NamedTuple.
        like: A tensor of the input's precision.
    """

    # Names of the variables of the state before the first step.
    states: ClassVar[tuple[str, ...]]

    def __init__(self, job: Job, k: Any, like: Tensor) -> None:
        self.job, self.k, self.like = job, k, like
        self.table, self.uniform = job.table(k, like.dtype)
        self.piece, self.tasks, self.values = job.piece, job.tasks, job.shape.numel()
        # Arrays without room, by their number of axes.
        self.nothing = [like.new_empty([0] * dims).numpy() for dims in range(5)]
        self.state: list[Tensor] = []
        self.kept: dict[str, Tensor] = {}
        self.arrays: dict[str, np.ndarray] = {}
        self.keeping: list[str] = []
        self.n: Tensor | None = None
        self.names: list[str] = []
        self.sums, self.slots = torch.empty(0, 0, 0, dtype=torch.float64), np.empty(0, np.int64)

    @abstractmethod
    def keeps(self, wanted: Collection[str]) -> list[str]:
        """Return what the way back needs of the way forward, where these inputs ask for gradients."""

    @abstractmethod
    def run(self, steps: slice, x: np.ndarray, y: np.ndarray, lengths: np.ndarray) -> None:
        """Go through some steps.

        Args:
            steps: Which.
            x: Their input.
            y: Their output, written.
            lengths: How many of them are valid, for each sample.

        Shape:
            x, y: `[steps, B, n]`; lengths: `[B]`.
        """

    @abstractmethod
    def back(self, steps: slice, gy: np.ndarray, dx: np.ndarray, lengths: np.ndarray) -> None:
        """Go back through some steps; see `run`.

        Args:
            steps: Which.
            gy: Gradient of their output; without room where there is none.
            dx: Gradient of their input, written.
            lengths: How many of them are valid, for each sample.
        """

    def begin(self, states: Sequence[Tensor], wanted: Collection[str], num_steps: int) -> None:
        """Stand before the first step, with room for all that `keeps` names but input and output."""
        batch = self.job.shape[1]
        self.state = [self._rows_of(part) for part in states]
        self.keeping = self.keeps(wanted) if wanted else []
        names = [name for name in self.keeping if name not in ("x", "y")]
        self.keep({name: self.job.room(self.like, num_steps, batch) for name in names})
        self.n = self.job.room(self.like, batch).zero_() if self.job.counts else None

    def resume(
        self,
        kept: Mapping[str, Tensor],
        grads: Sequence[Tensor | None],
        gn: Tensor | None,
        wanted: Collection[str],
    ) -> None:
        """Stand behind the last step, with the gradients of the state there and of the counts."""
        batch, fields = self.job.shape[1], type(self.k)._fields
        self.keep(kept)
        self.state = [self._rows_of(part) for part in grads]
        self.n = None if gn is None else self._rows_of(gn)
        self.names = [name for name in fields if name in wanted]
        self.sums = torch.zeros(len(self.names), batch, self.job.sample.numel(), dtype=torch.float64)
        # The surrogate's factors, the last rows of the table, are asked for by nobody.
        self.slots = np.array([self.names.index(name) if name in self.names else -1 for name in (*fields, "", "")])

    def found(self) -> dict[str, Tensor]:
        """Return the gradients of the state before the first step and of the numbers, by name."""
        found = dict(zip(self.states, self.ends(), strict=False))
        for name, of_samples in zip(self.names, self.sums, strict=True):
            number = getattr(self.k, name)
            found[name] = self.spread(of_samples.sum(0)).sum_to_size(number.shape).to(number.dtype)
        return found

    def ends(self) -> list[Tensor]:
        """Return the variables of the state, or their gradients, where the way has led."""
        return [self.spread(part) for part in self.state]

    def spread(self, rows: Tensor) -> Tensor:
        """Return `[..., n]` with a sample's own axes."""
        return self.job.layout.spread(rows, self.job.sample)

    def keep(self, kept: Mapping[str, Tensor]) -> None:
        """Keep more for the way back."""
        self.kept |= kept
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

    def _rows_of(self, part: Tensor | None) -> Tensor:
        """Return rows of neurons that may be changed, with these values or zeros."""
        rows = self.job.room(self.like, self.job.shape[1])
        return rows.zero_() if part is None else rows.copy_(torch.from_numpy(self.job.layout.rows(part)))
