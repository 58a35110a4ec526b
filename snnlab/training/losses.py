"""Losses: from the output at every step, the targets and the lengths to a scalar and its named parts.

Axes: T steps, B samples, K classes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from snnlab.errors import ConfigError, listing
from snnlab.nn.readouts import REDUCTIONS
from snnlab.nn.temporal import Counts, valid_steps
from snnlab.registry import Registry

LOSSES = Registry("loss")

OverTime = Literal["mean", "sum", "last", "max", "first_spike", "per_step"]


class Loss(nn.Module, ABC):
    """What a network is trained for.

    Shape:
        y: `[T, B, K]`; targets: `[B]`; lengths: `[B]`; counts: see `TemporalLayer`; weight: `[B]`.
    """

    @abstractmethod
    def forward(
        self, y: Tensor, targets: Tensor, lengths: Tensor, counts: Counts, weight: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss and its parts by name: means over the samples of each one's own, times its weight."""

    @abstractmethod
    def readout(self, y: Tensor, lengths: Tensor) -> Tensor:
        """Return the scores `[B, K]` whose largest is the answer."""

    @abstractmethod
    def answers(self, y: Tensor) -> Tensor:
        """Return the answer at each step from what was seen until then, `[T, B]`."""


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
        valid = valid_steps(lengths, y.shape[0], each)
        each = each if valid is None else torch.where(valid, each, 0)
        each = each.sum(0) / lengths
        return (each if weight is None else each * weight).mean()


@contextmanager
def _named() -> Iterator[None]:
    """Put the setting's place before what a reduction says of a network whose output it cannot read."""
    try:
        yield
    except ValueError as error:
        raise ConfigError(f"loss.over_time: {error}") from error
