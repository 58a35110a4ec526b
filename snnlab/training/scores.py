"""How near the answers of an epoch are to the targets: accuracy for classes and steps, errors for values.

Axes: T steps, B samples, K outputs.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import Metric

from snnlab.events.targets import IGNORED, Targets

# What is seen on the way is of this process alone; only at an epoch's end do all processes bring theirs together.
LOCAL: dict[str, bool] = {"sync_on_compute": False, "compute_with_cache": False}


def score_of(targets: Targets, outputs: int, names: Sequence[str] | None = None) -> Metric:
    """Return the metric for a kind of targets; its `compute` gives a dict.

    Args:
        targets: The kind.
        outputs: Number of classes, or of values.
        names: What values are called; None: by their numbers.
    """
    return ValueErrors(names or [*map(str, range(outputs))]) if targets == "value" else Accuracy()


def counted(kind: Targets, targets: Tensor) -> Tensor | int:
    """Return over how many samples, or labelled steps, a batch's loss is a mean."""
    return (targets != IGNORED).sum() if kind == "steps" else len(targets)


class Accuracy(Metric):
    """The fraction of samples, or of labelled steps, whose largest output is that of their class."""

    full_state_update = False
    right: Tensor
    total: Tensor

    def __init__(self) -> None:
        super().__init__(**LOCAL)
        for name in ("right", "total"):
            self.add_state(name, torch.zeros((), dtype=torch.int64), "sum", persistent=True)

    def update(self, scores: Tensor, targets: Tensor) -> None:
        """Add scores `[B, K]` or `[T, B, K]` and targets `[B]` or `[T, B]`."""
        self.right += (scores.argmax(-1) == targets).sum()
        self.total += (targets != IGNORED).sum()

    def compute(self) -> dict[str, Tensor]:
        """Return it; 0 where nothing is labelled."""
        return {"accuracy": self.right / self.total.clamp(min=1)}


class ValueErrors(Metric):
    """Mean absolute error, root of the mean squared error, and R^2, of values.

        mae = mean |y - t|,   rmse = sqrt(mean (y - t)^2)
        r2 = mean_k (1 - sum (y_k - t_k)^2 / sum (t_k - mean t_k)^2)

    Sums in double precision: whatever the batches, the figures are those of all samples at once. r2 is 1 for right
    answers, 0 for their mean, and leaves out values whose targets are all the same; 0 where all are. Of several values,
    which may have other units, each has its own figures too.

    Args:
        names: What the values are called.
    """

    full_state_update = False
    samples: Tensor
    absolute: Tensor
    squared: Tensor
    sums: Tensor
    squares: Tensor

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(**LOCAL)
        self.names = list(names)
        self.add_state("samples", torch.zeros((), dtype=torch.int64), "sum", persistent=True)
        for name in ("absolute", "squared", "sums", "squares"):
            self.add_state(name, torch.zeros(len(names), dtype=torch.float64), "sum", persistent=True)

    def update(self, scores: Tensor, targets: Tensor) -> None:
        """Add answers and targets `[B, K]`."""
        targets = targets.double()
        error = scores.double() - targets
        self.samples += len(targets)
        self.absolute += error.abs().sum(0)
        self.squared += error.square().sum(0)
        self.sums += targets.sum(0)
        self.squares += targets.square().sum(0)

    def compute(self) -> dict[str, Tensor]:
        """Return mae, rmse and r2, and of several values `mae/NAME` and so on."""
        spread = self.squares - self.sums.square() / self.samples
        # What rounding may leave of the same number many times.
        varies = spread > 1e-12 * self.squares
        r2 = torch.where(varies, 1 - self.squared / spread, 0)
        mae, mse = self.absolute / self.samples, self.squared / self.samples
        found = {"mae": mae.mean(), "rmse": mse.mean().sqrt(), "r2": r2.sum() / varies.sum().clamp(min=1)}
        if len(self.names) > 1:
            for place, name in enumerate(self.names):
                of_value = {"mae": mae[place], "rmse": mse[place].sqrt(), "r2": r2[place]}
                found |= {f"{key}/{name}": value for key, value in of_value.items()}
        return found
