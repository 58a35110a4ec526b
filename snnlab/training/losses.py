"""Losses: from the output at every step, the targets and the lengths to a scalar and its named parts.

Axes: T steps, B samples, K outputs: classes, or values.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from snnlab.errors import ConfigError, listing
from snnlab.events.targets import IGNORED, Targets
from snnlab.nn.readouts import REDUCTIONS
from snnlab.nn.temporal import Counts, valid_steps
from snnlab.registry import Registry

LOSSES = Registry("loss")

OverTime = Literal["mean", "sum", "last", "max", "first_spike", "per_step"]
ValueOverTime = Literal["mean", "sum", "last", "max", "per_step"]


class Loss(nn.Module, ABC):
    """What a network is trained for.

    Shape:
        y: `[T, B, K]`; targets: classes `[B]`, values `[B, K]`, or labels of steps `[T, B]`; lengths: `[B]`; counts:
        see `TemporalLayer`; weight: `[B]`.
    """

    takes: ClassVar[tuple[Targets, ...]] = ("class",)
    """What the targets may be."""

    @abstractmethod
    def forward(
        self, y: Tensor, targets: Tensor, lengths: Tensor, counts: Counts, weight: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss and its parts by name: means over the samples of each one's own, times its weight."""

    @abstractmethod
    def readout(self, y: Tensor, lengths: Tensor) -> Tensor:
        """Return what is compared with the targets: `[B, K]`, or `[T, B, K]` where steps have targets of their own.

        Of classes, the largest of K is the answer; values are the answer themselves.
        """

    @abstractmethod
    def answers(self, y: Tensor) -> Tensor:
        """Return the answer at each step from what was seen until then: classes `[T, B]`, or values `[T, B, K]`."""


@LOSSES.register("cross_entropy")
class CrossEntropy(Loss):
    """Cross-entropy of the output's mean (sum, last, max) over the valid steps.

        loss = -log softmax(mean_t y[t])[target];   per_step: the mean over t of -log softmax(y[t])[target]

    Args:
        over_time: How the steps become one readout; `first_spike` counts the steps since an output's first spike;
            `per_step` reads out the mean and averages each step's own loss.

    Raises:
        ValueError: if over_time is another word; later, if `first_spike` is given other values than spikes.

    Source: per_step: Deng et al., Temporal Efficient Training, ICLR 2022.
    """

    def __init__(self, over_time: OverTime = "mean") -> None:
        super().__init__()
        if over_time not in get_args(OverTime):
            raise ValueError(f"over_time is one of {listing(get_args(OverTime))}, got '{over_time}'")
        self.over_time = over_time
        self._reduce, self._so_far = REDUCTIONS["mean" if over_time == "per_step" else over_time]

    def forward(
        self, y: Tensor, targets: Tensor, lengths: Tensor, counts: Counts, weight: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss; it has one part."""
        of = self._per_step if self.over_time == "per_step" else self._of_readout
        loss = of(y, targets, lengths, weight)
        return loss, {"cross_entropy": loss}

    def readout(self, y: Tensor, lengths: Tensor) -> Tensor:
        """Return the reduction over the valid steps."""
        with _named():
            return self._reduce(y, lengths)

    def answers(self, y: Tensor) -> Tensor:
        """Return the largest output of the reduction up to each step."""
        with _named():
            return self._so_far(y).argmax(-1)

    def _of_readout(self, y: Tensor, targets: Tensor, lengths: Tensor, weight: Tensor | None) -> Tensor:
        scores = self.readout(y, lengths)
        if weight is None:
            return functional.cross_entropy(scores, targets)
        return (functional.cross_entropy(scores, targets, reduction="none") * weight).mean()

    def _per_step(self, y: Tensor, targets: Tensor, lengths: Tensor, weight: Tensor | None) -> Tensor:
        each = functional.cross_entropy(y.flatten(0, 1), targets.repeat(y.shape[0]), reduction="none").unflatten(
            0, y.shape[:2]
        )
        return _weighted(_mean_over_steps(each, lengths), weight)


@LOSSES.register("mse")
class SquaredError(Loss):
    """Squared error of the output's mean (sum, last, max) over the valid steps; for `data.targets: value`.

        loss = mean_k (mean_t y[t, k] - target[k])^2;   per_step: the mean over t of mean_k (y[t, k] - target[k])^2

    Args:
        over_time: How the steps become the answer; `per_step` reads out the mean and averages each step's own loss.

    Raises:
        ValueError: if over_time is another word.
    """

    takes = ("value",)

    def __init__(self, over_time: ValueOverTime = "mean") -> None:
        super().__init__()
        if over_time not in get_args(ValueOverTime):
            raise ValueError(f"over_time is one of {listing(get_args(ValueOverTime))}, got '{over_time}'")
        self.over_time = over_time
        self._reduce, self._so_far = REDUCTIONS["mean" if over_time == "per_step" else over_time]

    def forward(
        self, y: Tensor, targets: Tensor, lengths: Tensor, counts: Counts, weight: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss; it has one part."""
        if self.over_time == "per_step":
            each = _mean_over_steps((y - targets).square().mean(-1), lengths)
        else:
            each = (self._reduce(y, lengths) - targets).square().mean(-1)
        loss = _weighted(each, weight)
        return loss, {"mse": loss}

    def readout(self, y: Tensor, lengths: Tensor) -> Tensor:
        """Return the reduction over the valid steps: the values."""
        return self._reduce(y, lengths)

    def answers(self, y: Tensor) -> Tensor:
        """Return the reduction up to each step."""
        return self._so_far(y)


@LOSSES.register("cross_entropy_steps")
class StepCrossEntropy(Loss):
    """Cross-entropy of each labelled step's own output; for `data.targets: steps`.

        loss = mean of -log softmax(y[t, b])[target[t, b]] over the labelled steps of all samples

    A recording with more labelled steps weighs more, so that the loss is the same in batches of any size.
    """

    takes = ("steps",)

    def forward(
        self, y: Tensor, targets: Tensor, lengths: Tensor, counts: Counts, weight: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss; it has one part. Without a labelled step it is 0."""
        each = functional.cross_entropy(
            y.flatten(0, 1), targets.flatten(), reduction="none", ignore_index=IGNORED
        ).unflatten(0, targets.shape)
        each = each if weight is None else each * weight
        loss = each.sum() / (targets != IGNORED).sum().clamp(min=1)
        return loss, {"cross_entropy_steps": loss}

    def readout(self, y: Tensor, lengths: Tensor) -> Tensor:
        """Return the output itself, `[T, B, K]`."""
        return y

    def answers(self, y: Tensor) -> Tensor:
        """Return each step's largest output."""
        return y.argmax(-1)


def check_takes(loss: Loss, name: str, targets: Targets) -> None:
    """Refuse a loss that is for other targets.

    Args:
        loss: The loss.
        name: Its `type`.
        targets: The data's.

    Raises:
        ConfigError: naming the losses that are for these targets.
    """
    if targets in loss.takes:
        return
    able = (other for other in LOSSES if targets in getattr(LOSSES.get(other, "loss"), "takes", ()))
    instead = " or ".join(f"loss={other}" for other in able)
    raise ConfigError(f"loss: {name} is for {_OF[loss.takes[0]]}, data.targets={targets} needs {instead}")


_OF: dict[Targets, str] = {"class": "classes", "value": "values", "steps": "labels at each step"}


def _mean_over_steps(each: Tensor, lengths: Tensor) -> Tensor:
    """Return each sample's mean over its valid steps, `[T, B]` to `[B]`."""
    valid = valid_steps(lengths, each.shape[0], each)
    each = each if valid is None else torch.where(valid, each, 0)
    return each.sum(0) / lengths


def _weighted(each: Tensor, weight: Tensor | None) -> Tensor:
    return (each if weight is None else each * weight).mean()


@contextmanager
def _named() -> Iterator[None]:
    """Put the setting's place before what a reduction says of a network whose output it cannot read."""
    try:
        yield
    except ValueError as error:
        raise ConfigError(f"loss.over_time: {error}") from error
