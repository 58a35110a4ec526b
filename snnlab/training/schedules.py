"""Learning rates that follow a curve over the whole run, step by step, relative to each group's own rate."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from snnlab.registry import Registry
from snnlab.spec.field import Form
from snnlab.spec.interval import UnitInterval, between

SCHEDULES = Registry("schedule")
MakeOptimizer = Callable[[nn.Module], Optimizer]
Span = Annotated[
    float | str,
    "fraction of the run, or 'N epochs', or 'N steps'",
    Form(
        r"(\d+\.?\d*|\.\d+) (epochs?|steps?)",
        "a fraction of the run, 0 to 1, or '5 epochs', or '500 steps'",
        between(0, 1),
    ),
]


class RunLength(NamedTuple):
    """Length of a run.

    Attributes:
        steps: Optimizer steps.
        epoch: Optimizer steps per epoch.
    """

    steps: int
    epoch: float


class Schedule(NamedTuple):
    """A schedule of the learning rate.

    Attributes:
        make: Returns torch's scheduler of an optimizer, and of the run's length if it is needed.
        interval: When it is stepped: each `epoch` or each `step`.
        monitor: The metric that ReduceLROnPlateau monitors.
        needs_run_length: Whether it needs the run's length.
    """

    make: Callable[[Optimizer, RunLength | None], Any]
    interval: str = "epoch"
    monitor: str = "val/loss"
    needs_run_length: bool = False


class Curve(ABC):
    """A factor of the learning rate for each step of a run."""

    @abstractmethod
    def factor(self, step: int, run: RunLength) -> float:
        """Return the factor for a step, 0 .. run.steps - 1."""

    def length_problem(self, run: RunLength) -> str:
        """Return as text that the curve is longer than the run; empty if it is not."""
        return ""

    def __call__(self, optimizer: Optimizer, run: RunLength) -> LambdaLR:
        """Return the schedule of an optimizer; it is stepped after each optimizer step."""
        return LambdaLR(optimizer, lambda step: self.factor(step, run))


class _WithWarmup(Curve):
    """Warm up linearly, then follow `decay`.

    Args:
        warmup: Length of the warm-up.
        start: Factor at the start of the warm-up.
        final: Factor at the run's end.
    """

    def __init__(self, warmup: Span = 0.05, start: UnitInterval = 0.0, final: UnitInterval = 0.0) -> None:
        self.warmup, self.start, self.final = warmup, start, final

    def factor(self, step: int, run: RunLength) -> float:
        """Return start + (1 - start) (step + 1) / (w + 1) in the first w steps, then final + (1 - final) decay(p)."""
        warm = span_steps(self.warmup, run)
        if step < warm:
            return self.start + (1 - self.start) * (step + 1) / (warm + 1)
        progress = min(1.0, (step - warm) / max(1, run.steps - warm))
        return self.final + (1 - self.final) * self.decay(progress)

    def length_problem(self, run: RunLength) -> str:
        """Return as text that the warm-up is longer than the run; empty if it is not."""
        if (warm := span_steps(self.warmup, run)) < run.steps:
            return ""
        return f"warmup: {self.warmup}, {warm} steps, is longer than the run of {run.steps} steps: the rate only rises"

    @abstractmethod
    def decay(self, progress: float) -> float:
        """Return a factor from 1 to 0; `progress`: completed fraction 0..1 of the steps after the warm-up."""


@SCHEDULES.register("cosine")
class Cosine(_WithWarmup):
    """Warm up linearly, then decay along half a cosine until the run's end."""

    def decay(self, progress: float) -> float:
        """Return (1 + cos(pi p)) / 2."""
        return (1 + math.cos(math.pi * progress)) / 2


@SCHEDULES.register("linear")
class Linear(_WithWarmup):
    """Warm up linearly, then decay linearly until the run's end.

    Args:
        final: Factor at the run's end; 1 keeps the rate after the warm-up.
    """

    def decay(self, progress: float) -> float:
        """Return 1 - p."""
        return 1 - progress


@SCHEDULES.register("one_cycle")
class OneCycle(Curve):
    """Rise to lr along half a cosine, then fall along another to nearly 0; momentum does not change.

    Args:
        rise: Fraction of the run in which the rate rises.
        start: Factor at the start.
        final: Factor at the end.

    Source: Smith and Topin, Super-convergence, 2017; as torch's OneCycleLR with cycle_momentum=False.
    """

    def __init__(self, rise: UnitInterval = 0.3, start: UnitInterval = 0.04, final: UnitInterval = 4e-6) -> None:
        self.rise, self.start, self.final = rise, start, final

    def factor(self, step: int, run: RunLength) -> float:
        """Return the value of the half cosine at a step."""
        top, last = self.rise * run.steps - 1, run.steps - 1
        if step <= top:
            begin, end, progress = self.start, 1.0, step / top if top > 0 else 1.0
        else:
            begin, end, progress = 1.0, self.final, (step - top) / max(last - top, 1e-9)
        return end + (begin - end) * (1 + math.cos(math.pi * min(progress, 1.0))) / 2


def span_steps(span: Span, run: RunLength) -> int:
    """Return the number of steps of a span."""
    if not isinstance(span, str):
        return round(span * run.steps)
    number, _, unit = span.partition(" ")
    return round(float(number) * (run.epoch if unit.startswith("epoch") else 1.0))
