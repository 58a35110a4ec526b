"""Learning rates that follow a curve over the whole run, step by step; each group's own rate is the curve's 1."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from snnlab.errors import ConfigError
from snnlab.registry import Registry
from snnlab.settings import Fraction

SCHEDULES = Registry("schedule")
MakeOptimizer = Callable[[nn.Module], Optimizer]
Span = Annotated[float | str, "part of the run, or 'N epochs', or 'N steps'"]


class RunLength(NamedTuple):
    """How long a run is.

    Attributes:
        steps: Steps of the optimizer.
        epoch: Steps of an epoch.
    """

    steps: int
    epoch: float


class Schedule(NamedTuple):
    """How the learning rate changes.

    Attributes:
        make: From the optimizer, and the run's length where it is needed, to the schedule.
        interval: When it is stepped: each `epoch` or each `step`.
        monitor: What it is told, where it wants to know something.
        whole_run: Whether it needs the run's length.
    """

    make: Callable[[Optimizer, RunLength | None], Any]
    interval: str = "epoch"
    monitor: str = "val/loss"
    whole_run: bool = False


class Curve(ABC):
    """A factor of the learning rate for each step of a run."""

    @abstractmethod
    def factor(self, step: int, run: RunLength) -> float:
        """Return the factor for a step, 0 .. run.steps - 1."""

    def tell_misfit(self, run: RunLength) -> str:
        """Return in words that the curve is longer than the run, or nothing."""
        return ""

    def __call__(self, optimizer: Optimizer, run: RunLength) -> LambdaLR:
        """Return the schedule of an optimizer, which is stepped behind each of its steps."""
        return LambdaLR(optimizer, lambda step: self.factor(step, run))


class _Warming(Curve):
    """Rise along a line, then follow `fall`.

    Args:
        warmup: How long the rate rises.
        start: Factor that the rise begins from.
        final: Factor at the run's end.

    Raises:
        ConfigError: if one of them is out of its range.
    """

    def __init__(self, warmup: Span = 0.05, start: Fraction = 0.0, final: Fraction = 0.0) -> None:
        self.warmup, self.start, self.final = warmup, start, final
        span_steps(warmup, RunLength(1, 1))

    def factor(self, step: int, run: RunLength) -> float:
        """Return start + (1 - start) (step + 1) / (w + 1) in the first w steps, then final + (1 - final) fall(p)."""
        warm = span_steps(self.warmup, run)
        if step < warm:
            return self.start + (1 - self.start) * (step + 1) / (warm + 1)
        progress = min(1.0, (step - warm) / max(1, run.steps - warm))
        return self.final + (1 - self.final) * self.fall(progress)

    def tell_misfit(self, run: RunLength) -> str:
        """Return that the warm-up is longer than the run, if it is."""
        if (warm := span_steps(self.warmup, run)) < run.steps:
            return ""
        return (
            f"warmup: {self.warmup}, {warm} steps, is longer than the run, which has {run.steps}: the rate only rises"
        )

    @abstractmethod
    def fall(self, progress: float) -> float:
        """Return what is left, from 1 to 0, when a part 0..1 of what comes behind the warm-up is over."""


@SCHEDULES.register("cosine")
class Cosine(_Warming):
    """Warm up along a line, then fall along half a cosine to the run's end; see `_Warming`.

    Args:
        warmup: How long the rate rises.
        start: Factor that the rise begins from.
        final: Factor at the run's end.
    """

    def fall(self, progress: float) -> float:
        """Return (1 + cos(pi p)) / 2."""
        return (1 + math.cos(math.pi * progress)) / 2


@SCHEDULES.register("linear")
class Linear(_Warming):
    """Warm up along a line, then fall along another to the run's end.

    Args:
        warmup: How long the rate rises.
        start: Factor that the rise begins from.
        final: Factor at the run's end; 1 keeps the rate behind the warm-up.
    """

    def fall(self, progress: float) -> float:
        """Return 1 - p."""
        return 1 - progress


@SCHEDULES.register("one_cycle")
class OneCycle(Curve):
    """Rise to lr along half a cosine, and fall along another to nearly nothing; momentum stays as it is.

    Args:
        rise: Part of the run in which it rises.
        start: Factor that it begins from.
        final: Factor at the end.

    Raises:
        ConfigError: if one of them is not within 0..1.

    Source: Smith and Topin, Super-convergence, 2017; as torch's OneCycleLR with cycle_momentum=False.
    """

    def __init__(self, rise: Fraction = 0.3, start: Fraction = 0.04, final: Fraction = 4e-6) -> None:
        self.rise, self.start, self.final = rise, start, final

    def factor(self, step: int, run: RunLength) -> float:
        """Return the point on the half cosine that the step is on."""
        top, last = self.rise * run.steps - 1, run.steps - 1
        if step <= top:
            begin, end, progress = self.start, 1.0, step / top if top > 0 else 1.0
        else:
            begin, end, progress = 1.0, self.final, (step - top) / max(last - top, 1e-9)
        return end + (begin - end) * (1 + math.cos(math.pi * min(progress, 1.0))) / 2


def span_steps(span: Span, run: RunLength) -> int:
    """Return how many steps a span has.

    Raises:
        ConfigError: if it cannot be read.
    """
    if isinstance(span, int | float) and 0 <= span <= 1:
        return round(span * run.steps)
    number, _, unit = str(span).partition(" ")
    factors = {"epochs": run.epoch, "epoch": run.epoch, "steps": 1.0, "step": 1.0}
    if unit not in factors or not number.replace(".", "", 1).isdigit():
        raise ConfigError("warmup", f"expected a part of the run, 0 to 1, or '5 epochs', or '500 steps', got {span!r}")
    return round(float(number) * factors[unit])
