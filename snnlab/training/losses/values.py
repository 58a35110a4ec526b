"""Squared errors of values.

Axes: T steps, B samples, K values.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from snnlab.nn.readouts import REDUCTIONS
from snnlab.nn.temporal import Counts
from snnlab.training.losses.contract import LOSSES, Loss, Valued, mean_over_samples, mean_over_steps, within_lengths

ValueOverTime = Literal["mean", "sum", "last", "max", "per_step"]


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
        self.over_time = over_time
        self._reduce, self._so_far = REDUCTIONS["mean" if over_time == "per_step" else over_time]

    def forward(
        self, y: Tensor, targets: Tensor, lengths: Tensor, counts: Counts, weight: Tensor | None = None
    ) -> Valued:
        if self.over_time == "per_step":
            each = mean_over_steps((within_lengths(y, lengths) - targets).square().mean(-1), lengths)
        else:
            each = (self._reduce(y, lengths) - targets).square().mean(-1)
        loss = mean_over_samples(each, weight)
        return loss, {"mse": loss}

    def readout(self, y: Tensor, lengths: Tensor) -> Tensor:
        """Return the reduction over the valid steps: the values."""
        return self._reduce(y, lengths)

    def running(self, y: Tensor) -> Tensor:
        """Return the reduction up to each step."""
        return self._so_far(y)

    def answers(self, y: Tensor) -> Tensor:
        """Return the reduction up to each step."""
        return self._so_far(y)
