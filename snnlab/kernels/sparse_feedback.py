"""A dense feedback of spikes: with few nonzero outputs, feedback and weight's gradient are sums over these only.

    feedback[b] = bias + sum over nonzero s[b, j] of s[b, j] * W[:, j]
    dW[:, j] = sum over nonzero s[n, j] of s[n, j] * g[n]

The gradient of the outputs, g W, is dense, because the derivative of a spike is nonzero where the spike is zero.

Each loop lists the nonzero outputs in the order of memory, and adds the rows of their weights, or of g, in registers.

Axes: B samples, N steps times samples, n neurons.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor
from torch.nn import functional

from snnlab.compiled import compiled
from snnlab.event_lists import BITS, list_ends
from snnlab.kernels.function import EXACT, loops_enabled
from snnlab.kernels.vectors import LANES, add_scaled_rows, differs, load, trailing_zeros, zeros
from snnlab.threads import share

# Fraction of nonzero outputs up to which the sums are faster than the matrix product.
FEW = 0.2
# Multiply-adds of a step below which the time of its matrix product is negligible.
SMALL = 2**22
# Most partial sums of the weight's gradient, for any number of threads, and the numbers in all of them.
PARTS, PART_NUMBERS = 32, 2**21
# Numbers of g from which on rows are listed together: they stay in the second-level cache.
BLOCK_NUMBERS = 2**15


class SparseFeedback:
    """The feedback W s + b of outputs `[B, ...]` of n neurons, and its gradients.

    Args:
        weight: W, `[n, n]`.
        bias: b, `[n]`, or None.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self.weight, self.bias = weight.detach(), None if bias is None else bias.detach()
        self.has_loops = weight.device.type == "cpu" and weight.dtype in EXACT and loops_enabled()
        # Autocast knows no tensors of oneDNN.
        self.has_onednn = (
            self.has_loops
            and weight.dtype == torch.float32
            and torch.backends.mkldnn.is_available()
            and not torch.is_autocast_enabled("cpu")
        )

    def __call__(self, s: Tensor) -> Tensor:
        """Return the feedback: a sum over the spikes of this step, or the matrix product if they are many."""
        rows = s.detach().flatten(1).contiguous()
        if not self._has_few_spikes(rows):
            return functional.linear(rows, self.weight, self.bias).view_as(s)
        found = torch.zeros_like(rows) if self.bias is None else self.bias.repeat(len(rows), 1)
        run = partial(_add_columns, rows.numpy(), self._columns.numpy().ravel(), found.numpy().ravel())
        share(run, len(rows), rows.numel() // 2)
        return found.view(s.shape)

    def output_gradient(self, g: Tensor) -> Tensor:
        """Return W^T g."""
        rows = g.flatten(1)
        if self.has_onednn and self._is_large(rows):
            # oneDNN, because MKL does without the wide vectors of other vendors' processors: half the time there.
            return functional.linear(rows.to_mkldnn(), self._columns).to_dense().view_as(g)
        return (rows @ self.weight).view_as(g)

    def weight_gradients(self, g: Tensor, s: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the sums of g s^T and of g over `[N, ...]`: the first over the spikes, if these are few."""
        g, s = g.flatten(1), s.flatten(1).contiguous()
        bias_grad = None if self.bias is None else g.sum(0)
        if not self._has_few_spikes(s):
            return g.T @ s, bias_grad
        parts = max(4, min(PARTS, PART_NUMBERS // max(1, self.weight.numel())))
        sums = s.new_zeros(parts, *self.weight.shape)
        run = partial(_add_gradients, s.numpy(), g.contiguous().numpy().ravel(), sums.view(parts, -1).numpy())
        share(run, parts, s.numel())
        return sums.sum(0).T.contiguous(), bias_grad

    @cached_property
    def _columns(self) -> Tensor:
        """W^T: the weights of a source are adjacent in memory."""
        return self.weight.T.contiguous()

    def _is_large(self, rows: Tensor) -> bool:
        return rows.shape[0] * self.weight.numel() >= SMALL

    def _has_few_spikes(self, rows: Tensor) -> bool:
        """Return whether sums over nonzero outputs, `[N, n]`, are faster than a matrix product."""
        return self.has_loops and self._is_large(rows) and bool(list_ends(rows.numpy())[-1] <= FEW * rows.numel())


# -- Loops -------------------------------------------------------------------------------------------------------------

_inner: Callable[..., Any] = njit(nogil=True, error_model="numpy")


@_inner
def _nonzero(cells: np.ndarray, at: int, count: int) -> Any:
    """Return which of `count` cells from `at` on are nonzero, at most 64, as bits."""
    bits = np.uint64(0)
    if count >= BITS:
        nothing = zeros(cells, 1, LANES)[0]
        for k in range(BITS // LANES):
            bits |= differs(load(cells, at + k * LANES, LANES), nothing) << np.uint64(k * LANES)
        return bits
    for k in range(count):
        bits |= np.uint64(cells[at + k] != 0) << np.uint64(k)
    return bits


@_inner
def _add_listed(
    to: np.ndarray, at: int, values: np.ndarray, starts: np.ndarray, factors: np.ndarray, count: int, size: int
) -> None:
    """Add the listed rows of `size` values, each times its factor, to those of `to` from `at` on."""
    if count == 0:
        return
    n = 0
    while n + 8 * LANES <= size:
        add_scaled_rows(to, at + n, values, starts, factors, count, n, 8)
        n += 8 * LANES
    while n + LANES <= size:
        add_scaled_rows(to, at + n, values, starts, factors, count, n, 1)
        n += LANES
    for k in range(count if n < size else 0):
        for rest in range(n, size):
            to[at + rest] += factors[k] * values[starts[k] + rest]


@compiled(nogil=True, error_model="numpy")
def _add_columns(s: np.ndarray, columns: np.ndarray, y: np.ndarray, first: int, last: int) -> None:
    """Add to y the feedback of samples `first` to before `last`."""
    cells, size = s.reshape(-1), s.shape[1]
    starts, factors = np.empty(size, np.int64), np.empty(size, cells.dtype)
    for b in range(first, last):
        count = 0
        for begin in range(0, size, BITS):
            bits = _nonzero(cells, b * size + begin, size - begin)
            while bits:
                source = begin + trailing_zeros(bits)
                starts[count], factors[count] = source * size, cells[b * size + source]
                bits &= bits - np.uint64(1)
                count += 1
        _add_listed(y, b * size, columns, starts, factors, count, size)


@compiled(nogil=True, error_model="numpy")
def _add_gradients(s: np.ndarray, g: np.ndarray, sums: np.ndarray, first: int, last: int) -> None:
    """Add the gradients of all weights, source by source, for parts `first` to before `last` of the rows of s and g."""
    (rows, size), cells, parts = s.shape, s.reshape(-1), len(sums)
    block = max(1, BLOCK_NUMBERS // size)
    counts, starts, factors = (
        np.empty(size, np.int64),
        np.empty((size, block), np.int64),
        np.empty((size, block), s.dtype),
    )
    for part in range(first, last):
        end = (part + 1) * rows // parts
        for start in range(part * rows // parts, end, block):
            counts[:] = 0
            for n in range(start, min(end, start + block)):
                for begin in range(0, size, BITS):
                    bits = _nonzero(cells, n * size + begin, size - begin)
                    while bits:
                        source = begin + trailing_zeros(bits)
                        k = counts[source]
                        starts[source, k], factors[source, k] = n * size, cells[n * size + source]
                        counts[source] = k + 1
                        bits &= bits - np.uint64(1)
            for source in range(size):
                _add_listed(sums[part], source * size, g, starts[source], factors[source], counts[source], size)
