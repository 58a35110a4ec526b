"""What both halves of the eager kernel's backward pass do: sums over time, and over all that share a coefficient.

Axes: T steps, B samples.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from snnlab.nn.kernels.eager_forward import add_product
from snnlab.nn.kernels.eager_steps import Ends
from snnlab.nn.neurons.learn import Number
from snnlab.nn.neurons.membrane import Coefficients


class Sums:
    """Gradients of the coefficients, summed up in double precision.

    Args:
        k: Numbers of the recurrence.
        wanted: The inputs that ask for a gradient.
    """

    def __init__(self, k: Coefficients, wanted: Collection[str]) -> None:
        self.k = {name: number for name, number in k._asdict().items() if name in wanted}
        self.totals = {name: torch.zeros_like(number, dtype=torch.float64) for name, number in self.k.items()}

    def __contains__(self, name: str) -> bool:
        return name in self.totals

    def add(self, name: str, parts: Tensor) -> None:
        """Add the parts of each neuron, sample and step."""
        self.totals[name] += parts.sum_to_size(self.totals[name].shape)

    def rounded(self) -> dict[str, Tensor]:
        """Return the gradients in the precision of the coefficients."""
        return {name: total.to(self.k[name].dtype) for name, total in self.totals.items()}


def accumulate(rows: Tensor, factors: Sequence[Number], later: Tensor) -> None:
    """Compute rows[t] += factors[t] * rows[t+1] from the last row to the first; `later` is the one after the last."""
    for row, factor in zip(reversed(rows.unbind()), reversed(factors), strict=True):
        later = add_product(row, later, factor, row)


def later_rows(rows: Tensor, later: Tensor) -> Tensor:
    """Return for each row the one after it; `later` is that after the last."""
    return torch.cat([rows[1:], later[None]])


def add_at_ends(rows: Tensor, arriving: Tensor | None, slope: Number, ends: Ends, steps: slice) -> None:
    """Add slope * arriving to the rows of the samples' last valid steps.

    Shape:
        rows: a group of steps `[K, B, ...]`; arriving: `[B, ...]`; slope: a number, or as rows.
    """
    if arriving is None:
        return
    for step, samples in ends.within(steps):
        part = arriving[samples]
        rows[step][samples] += part * (slope[step][samples] if isinstance(slope, Tensor) else slope)
