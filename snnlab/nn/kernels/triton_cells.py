"""What the cells of walks on a GPU share: how a kernel is called with them.

Axes: T steps, B samples, n neurons as they lie in memory.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from snnlab.nn.kernels.bells import GIVEN
from snnlab.nn.kernels.cells import Cell
from snnlab.nn.kernels.checks import require_lengths
from snnlab.nn.kernels.layout import Layout
from snnlab.nn.kernels.rule import Rule
from snnlab.nn.kernels.triton_launch import formula_of, launch
from snnlab.nn.kernels.triton_numbers import table_of
from snnlab.nn.neurons.learn import Number


class Job(NamedTuple):
    """What a walk is told besides numbers; see `cells.Job`. `steps` is None where all steps are valid."""

    rule: Rule
    steps: Tensor | None
    counts: bool
    layout: Layout
    shape: torch.Size


class TritonCell(Cell):
    """Neurons whose walks are Triton kernels; see `Cell`."""

    def __init__(self, job: Job, k: Any, like: Tensor) -> None:
        super().__init__(job, k, like)
        self.table = table_of(k, job.rule, job.layout, self.sample, like)

    @classmethod
    def told(
        cls, rule: Rule, lengths: Tensor | None, counts: bool, layout: Layout, shape: torch.Size, num_steps: int
    ) -> Job:
        """Return what the walks are told; see `Cell`."""
        require_lengths(lengths, shape[1])
        # A copy: the way back needs them as they were.
        steps = None if lengths is None else lengths.clamp(0, num_steps)
        return Job(rule, steps, counts, layout, shape)

    def array(self, rows: Tensor | None) -> Tensor | None:
        """Return rows as they are."""
        return rows

    def valid(self, num_steps: int) -> tuple[Any, list[Tensor] | None]:
        """Return which steps are valid; see `Cell`. Whether all are is not asked, as that would wait for the device."""
        if self.job.steps is None:
            return [None] * num_steps, None
        steps = self.job.steps.to(self.like.device)
        valid = torch.arange(num_steps, device=steps.device)[:, None] < steps
        ones = [1] * len(self.sample)
        return valid.long(), list(valid.reshape(*valid.shape, *ones).unbind())

    def of(self, name: str, steps: slice) -> Tensor | None:
        """Return what is kept of some steps, `[steps, B, n]`, or None."""
        return self.kept[name][steps] if name in self.kept else None

    def slope(self, rows: Tensor | None, threshold: Number) -> Tensor | None:
        """Return the derivative of the spikes at these membranes, where the kernels have no formula for it."""
        surrogate, v_threshold = self.job.rule.surrogate, self.k.v_threshold
        if rows is None or surrogate is None or formula_of(self.job.rule) != GIVEN:
            return None
        own = [part.detach() if isinstance(part, Tensor) else part for part in (threshold, v_threshold)]
        return self.rows(surrogate.derivative(self.spread(rows) - own[0], own[1]))

    def summed(self) -> dict[str, Tensor | None]:
        """Return where a kernel adds to the gradients of numbers, or None, by its names."""
        fields = {f"d{name}": None for name in type(self.k)._fields}
        return fields | {f"d{name}": part for name, part in zip(self.names, self.sums, strict=True)}

    def launch(self, kernel: Any, lengths: Tensor | None, **given: Any) -> None:
        """Run a kernel over the steps of one call."""
        lengths = None if lengths is None else lengths.to(self.like.device)
        launch(kernel, self.job.shape, table=self.table, lengths=lengths, **given)
