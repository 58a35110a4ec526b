"""The neuron with an adaptive threshold in compiled loops for CPUs, and its way into autograd.

Axes: T steps, B samples, n neurons as they lie in memory.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from snnlab.nn.kernels import numba_adaptive
from snnlab.nn.kernels.bells import GIVEN, bell_of
from snnlab.nn.kernels.checks import require_states
from snnlab.nn.kernels.derivative import refuse_second_derivative
from snnlab.nn.kernels.layout import Layout
from snnlab.nn.kernels.numba_backward import HEIGHT, SLOPE, derive
from snnlab.nn.kernels.numba_cells import Cell
from snnlab.nn.kernels.numba_job import Job, valid_steps, without_graph
from snnlab.nn.kernels.rule import Rule
from snnlab.nn.neurons.adaptation import ThresholdNumbers

RESETS = {
    "none": numba_adaptive.NONE,
    "subtract": numba_adaptive.SUBTRACT,
    "value": numba_adaptive.VALUE,
    "adapted": numba_adaptive.ADAPTED,
}

_INPUTS = ("x", "v", "w", *ThresholdNumbers._fields)


class AdaptedRun(NamedTuple):
    """What `run` returns.

    Attributes:
        y: Spikes, `[T, B, ...]`; zeros past a sample's length.
        v: Membrane after the last valid step, `[B, ...]`.
        w: Adaptation after the last valid step, `[B, ...]`.
        n: Spikes of each neuron, summed over the valid steps, `[B, ...]`; None where nobody asks.
    """

    y: Tensor
    v: Tensor
    w: Tensor
    n: Tensor | None


def run(
    x: Tensor, v: Tensor, w: Tensor, k: ThresholdNumbers, rule: Rule, lengths: Tensor | None, count: bool = False
) -> AdaptedRun:
    """Run all steps; outputs and states are those of the plain loop, bit for bit.

    Args:
        x: Input.
        v: Membrane before it.
        w: Adaptation before it.
        k: Numbers of the recurrence; gradients reach those that are tensors.
        rule: The neuron's dialect.
        lengths: Valid steps of each sample, or None where all are.
        count: Whether to count spikes.

    Shape:
        x: `[T, B, ...]`; v, w: `[B, ...]`; lengths: `[B]`; members of k: broadcast to one sample.

    Raises:
        ValueError: if the state has another shape or precision than a step of x, or lengths are not whole numbers.
    """
    require_states(x.shape[1:], x.dtype, v=v, w=w)
    layout = Layout.of(x)
    if layout is None:
        x = x.contiguous()
        layout = Layout(tuple(range(x.dim() - 2)))
    job = Job(rule, valid_steps(lengths, *x.shape[:2]), count, None, layout, x.shape, False, None)
    if torch.is_grad_enabled():
        return AdaptedRun(*_Adaptive.apply(job, x, v, w, *k))
    return AdaptedRun(*_forward(AdaptiveCell(job, k, x), x, v, w, set()))


class AdaptiveCell(Cell):
    """Neurons with an adaptive threshold."""

    states: ClassVar[tuple[str, ...]] = ("v", "w")

    def keeps(self, wanted: Collection[str]) -> list[str]:
        """Return what the way back needs."""
        reset, attached = self.job.rule.reset, not self.job.rule.detach_reset
        takes_threshold = reset == "adapted" and (attached or "r" in wanted)
        needs = {
            "gaps": True,
            "x": "g" in wanted,
            "y": reset in ("adapted", "value") or "r" in wanted,
            "vs": "a" in wanted,
            "ws": takes_threshold or (reset == "value" and attached) or bool({"rho", "adaptation"} & {*wanted}),
        }
        return [name for name, needed in needs.items() if needed]

    def run(self, steps: slice, x: np.ndarray, y: np.ndarray, lengths: np.ndarray) -> None:
        """Go through some steps."""
        v, w = self.state
        walk = partial(
            numba_adaptive.forward,
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
            numba_adaptive.backward,
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


def _forward(
    cell: AdaptiveCell, x: Tensor, v: Tensor, w: Tensor, wanted: Collection[str]
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Walk through all steps; the cell has what is kept."""
    job, num_steps = cell.job, x.shape[0]
    cell.begin((v, w), wanted, num_steps)
    y = job.room(x, num_steps, x.shape[1])
    cell.run(slice(num_steps), job.layout.rows(x), y.numpy(), job.steps)
    rows = {"x": job.layout.flat(x.detach()), "y": y}
    cell.keep({name: part for name, part in rows.items() if name in cell.keeping})
    v, w = cell.ends()
    return cell.spread(y), v, w, None if cell.n is None else cell.spread(cell.n)


class _Adaptive(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, job: Job, x: Tensor, v: Tensor, w: Tensor, *k: Any) -> Any:
        wanted = {name for name, needed in zip(_INPUTS, ctx.needs_input_grad[1:], strict=True) if needed}
        cell = AdaptiveCell(job, ThresholdNumbers(*k), x)
        done = _forward(cell, x, v, w, wanted)
        numbers = [number for number in k if isinstance(number, Tensor)]
        ctx.save_for_backward(*cell.kept.values(), *numbers)
        ctx.job, ctx.wanted, ctx.names = job, wanted, list(cell.kept)
        ctx.numbers = [None if isinstance(number, Tensor) else number for number in k]
        ctx.set_materialize_grads(False)
        # Not as the views that they are: torch lets nobody change views out of here in place.
        return tuple(None if part is None else part.detach() for part in done)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
        refuse_second_derivative()
        job, saved = ctx.job, ctx.saved_tensors
        kept, tensors = dict(zip(ctx.names, saved, strict=False)), iter(saved[len(ctx.names) :])
        k = ThresholdNumbers(*(next(tensors) if number is None else number for number in ctx.numbers))
        like = kept["gaps"]
        cell, (gy, gv, gw, gn) = AdaptiveCell(job, k, like), grads
        cell.resume(kept, (gv, gw), gn, ctx.wanted)
        dx = torch.empty_like(like)
        arrives = cell.nothing[3] if gy is None else np.ascontiguousarray(job.layout.rows(gy))
        cell.back(slice(job.shape[0]), arrives, dx.numpy(), job.steps)
        found = {**cell.found(), "x": cell.spread(dx)}
        return (None, *(found.get(name) for name in _INPUTS))
