"""What the compiled walks are told besides numbers, in the words that they know.

Axes: T steps, B samples, n neurons as they lie in memory.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from snnlab.nn.kernels.bells import bell_of
from snnlab.nn.kernels.checks import require_lengths
from snnlab.nn.kernels.layout import Layout
from snnlab.nn.kernels.numba_table import AVERAGE, DECAY_FIRST, JUMP_FIRST, MAX, NONE, SUBTRACT, VALUE
from snnlab.nn.kernels.pool import Pool
from snnlab.nn.kernels.rule import Rule
from snnlab.nn.neurons.learn import Number
from snnlab.threads import Part, share

RESETS = {"none": NONE, "subtract": SUBTRACT, "value": VALUE}
SYNAPSES = {"none": NONE, "jump_first": JUMP_FIRST, "decay_first": DECAY_FIRST}
POOLS = {"max": MAX, "average": AVERAGE}

# Neurons of a task where no pooling says how many: with its dozen rows of them it stays in the first-level cache.
PIECE = 1024


class Job(NamedTuple):
    """What both walks are told besides numbers.

    Attributes:
        rule: The dialect.
        steps: Valid steps of each sample, `[B]`.
        counts: Whether spikes are counted.
        pool: The pooling that follows, or None.
        layout: How the neurons lie.
        shape: That of all steps of them, `[T, B, ...]`.
        overwrite: Whether x may be written over.
        padding: Rows and columns around the frames, where the input is a convolution of events; else None.
    """

    rule: Rule
    steps: np.ndarray
    counts: bool
    pool: Pool | None
    layout: Layout
    shape: torch.Size
    overwrite: bool
    padding: tuple[int, int] | None

    @property
    def sample(self) -> torch.Size:
        """Return the shape of one sample at one step."""
        return self.shape[2:]

    @property
    def outputs(self) -> torch.Size:
        """Return the shape of what one sample gives at one step."""
        return self.sample if self.pool is None else self.pool.shape(self.sample)

    @property
    def piece(self) -> int:
        """Return the neurons of a task; with pooling or events, whole rows of the image."""
        if self.pool is None and self.padding is None:
            return max(1, min(PIECE, self.sample.numel()))
        return self.lines * self.sample[2] * self.sample[0]

    @property
    def lines(self) -> int:
        """Return the rows of an image in a task: those that a window of the pooling covers."""
        return max(1, PIECE // (self.sample[2] * self.sample[0])) if self.pool is None else self.pool.size

    @property
    def tasks(self) -> int:
        """Return the number of tasks."""
        return self.shape[1] * -(-self.sample.numel() // self.piece)

    def pooling(self) -> tuple[int, int, int]:
        """Return the pooling as the walks take it."""
        return (NONE, 1, 1) if self.pool is None else (POOLS[self.pool.kind], self.pool.size, self.sample[-3])

    def table(self, k: Any, dtype: torch.dtype) -> tuple[np.ndarray, bool]:
        """Return coefficients and the surrogate's factors, a row each, and whether all neurons share them."""
        slope, height = 0.0, 0.0
        numbers: list[Number] = [*k]
        if self.rule.surrogate is not None:
            slope, height = self.rule.surrogate.factors(without_graph(k.v_threshold))
            slope = slope * bell_of(self.rule.surrogate).stretch
        numbers += [slope, height]
        own = any(isinstance(number, Tensor) and number.numel() > 1 for number in numbers)
        table = torch.empty(len(numbers), self.sample.numel() if own else self.piece, dtype=dtype).numpy()
        for row, number in zip(table, numbers, strict=True):
            number = without_graph(number)
            if own and isinstance(number, Tensor):
                row[:] = self.layout.line(number, self.sample).numpy()
            else:
                row[:] = float(number)
        return table, not own

    def share(self, run: Part) -> None:
        """Run a walk's tasks."""
        share(run, self.tasks, self.shape.numel())

    def share_parts(self, run: Part, parts: int) -> None:
        """Run a walk's tasks, so that those of each equal part of them are run by one thread."""
        tasks = self.tasks
        share(lambda first, last: run(-(-first * tasks // parts), -(-last * tasks // parts)), parts, self.shape.numel())

    def room(self, like: Tensor, *front: int) -> Tensor:
        """Return memory for rows of neurons."""
        return like.new_empty(*front, self.sample.numel())


def valid_steps(lengths: Tensor | None, num_steps: int, batch: int) -> np.ndarray:
    """Return how many steps of each sample are valid, a copy: the way back needs it as it was.

    Raises:
        ValueError: if lengths are not whole numbers, one for each sample.
    """
    if lengths is None:
        return np.full(batch, num_steps, np.int64)
    require_lengths(lengths, batch)
    return lengths.clamp(0, num_steps).numpy().astype(np.int64)


def without_graph(number: Number) -> Number:
    """Return a number of the recurrence by itself."""
    return number.detach() if isinstance(number, Tensor) else number
