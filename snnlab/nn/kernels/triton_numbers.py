"""The coefficients as the Triton kernels read them: a table with a row each, of one entry or of one per neuron."""

from __future__ import annotations

import typing
from functools import lru_cache

import torch
import triton  # pyright: ignore[reportMissingImports]
import triton.language as tl  # pyright: ignore[reportMissingImports]
from torch import Tensor

from snnlab.nn.kernels.bells import bell_of
from snnlab.nn.kernels.layout import Layout
from snnlab.nn.kernels.rule import Rule
from snnlab.nn.neurons.adaptation import ThresholdNumbers
from snnlab.nn.neurons.learn import Number
from snnlab.nn.neurons.membrane import Coefficients

# Rows of the table: those of the recurrence, the surrogate's factors, the lobes of its bell, and those of an adaptive
# threshold.
_NAMES = (*Coefficients._fields, "slope", "height", "centre", "lobe", "side", "rho", "adaptation")
A, G, C, B, V_THRESHOLD, R, V_RESET, SLOPE, HEIGHT, CENTRE, LOBE, SIDE, RHO, ADAPTATION = (
    tl.constexpr(row) for row in range(14)
)


def table_of(
    k: Coefficients | ThresholdNumbers, rule: Rule, layout: Layout, sample: torch.Size, like: Tensor
) -> Tensor:
    """Return the table of a neuron's coefficients: `[14, n]`, or `[14, 1]` where no neuron has its own."""
    threshold = k.v_threshold.detach() if isinstance(k.v_threshold, Tensor) else k.v_threshold
    numbers: dict[str, Number] = dict(k._asdict())
    if rule.surrogate is not None:
        bell, (slope, height) = bell_of(rule.surrogate), rule.surrogate.factors(threshold)
        numbers |= dict(zip(_NAMES[7:12], (slope * bell.stretch, height, *bell.lobes), strict=True))
    rows = [numbers.get(name, 0.0) for name in _NAMES]
    fixed = tuple(0.0 if isinstance(row, Tensor) else _number(at, float(row)) for at, row in enumerate(rows))
    table = _constants(fixed, like.dtype, like.device)
    learned = {at: row.detach() for at, row in enumerate(rows) if isinstance(row, Tensor)}
    if not learned:
        return table
    shared = all(row.numel() == 1 for row in learned.values())
    table = table.clone() if shared else table.repeat(1, sample.numel())
    for at, row in learned.items():
        table[at] = row.view(1) if shared else layout.line(row, sample)
    return table


def _number(row: int, value: float) -> float:
    # The plain loop leaves a sum with 0 out. To add -0 is to do nothing; to add 0 would turn -0 into 0.
    return -0.0 if row in (C.value, V_RESET.value) and value == 0.0 else value


@lru_cache(maxsize=256)
def _constants(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    # Kept, because a copy to the device at each call would wait for it; usable in training although first met without.
    with torch.inference_mode(False):
        return torch.tensor(values, dtype=dtype, device=device)[:, None]


@triton.jit
def number(
    table: typing.Any, at: typing.Any, mask: typing.Any, n: typing.Any, row: tl.constexpr, own: tl.constexpr
) -> typing.Any:
    """Return a row of the table, at these neurons where they have their own."""
    return tl.load(table + row * n + at, mask=mask, other=0.0) if own else tl.load(table + row)
