"""Squared errors of rates and counts of spikes, with goals for the right class and for the others.

Axes: T steps, B samples, K classes.
"""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor
from torch.nn import functional

from snnlab.errors import ConfigError
from snnlab.intervals import at_least, between
from snnlab.nn.readouts import REDUCTIONS
from snnlab.nn.temporal import Counts
from snnlab.training.losses.class_weights import ClassWeight, ClassWeighted
from snnlab.training.losses.contract import LOSSES, Task, Valued, mean_over_samples
from snnlab.training.losses.spiking_output import require_spikes


def goals(targets: Tensor, classes: int, right: Tensor | float, wrong: Tensor | float, dtype: torch.dtype) -> Tensor:
    """Return `right` for the class of each sample and `wrong` for the others, `[B, K]`.

    Args:
        targets: Classes, `[B]`.
        classes: K.
        right: A number, or one a sample, `[B]`.
        wrong: As `right`.
        dtype: That of what comes out.
    """
    is_right = functional.one_hot(targets, classes).bool()
    right, wrong = (torch.as_tensor(x, dtype=dtype, device=targets.device).reshape(-1, 1) for x in (right, wrong))
    return torch.where(is_right, right, wrong)


def require_apart(right: tuple[str, float], wrong: tuple[str, float], unit: str) -> None:
    """Raise a ConfigError if both goals are the same, so that nothing can be learnt."""
    if right[1] == wrong[1]:
        raise ConfigError(right[0], f"must differ from {wrong[0]}, both are {right[1]:g} {unit}")


@LOSSES.register("mse_rate")
class RateError(ClassWeighted):
    """Squared error of each output's mean over the valid steps, for classes: of spikes, of their rate.

        loss = w[target] * mean_k (mean_t y[t, k] - goal[k])^2
        goal[k] = correct_rate for the target, incorrect_rate for the others

    Args:
        correct_rate: What the mean of the right class's output is to be; of spikes at most 1.
        incorrect_rate: What that of the others is to be.
        class_weight: How much a recording of each class counts: a list, `balanced`, or null for all alike.

    Source: with 1 and 0, Fang et al., Incorporating learnable membrane time constant, ICCV 2021.
    """

    def __init__(
        self,
        correct_rate: Annotated[float, "spikes a step", at_least(0)] = 1.0,
        incorrect_rate: Annotated[float, "spikes a step", at_least(0)] = 0.0,
        class_weight: ClassWeight = None,
    ) -> None:
        super().__init__(class_weight)
        require_apart(("correct_rate", correct_rate), ("incorrect_rate", incorrect_rate), "spikes a step")
        self.correct_rate, self.incorrect_rate = correct_rate, incorrect_rate
        self._reduce, self._so_far = REDUCTIONS["mean"]

    def forward(
        self, y: Tensor, targets: Tensor, lengths: Tensor, counts: Counts, weight: Tensor | None = None
    ) -> Valued:
        goal = goals(targets, y.shape[-1], self.correct_rate, self.incorrect_rate, y.dtype)
        each = (self.readout(y, lengths) - goal).square().mean(-1)
        loss = mean_over_samples(self.class_weights(each, targets), weight)
        return loss, {"mse_rate": loss}

    def readout(self, y: Tensor, lengths: Tensor) -> Tensor:
        """Return the mean over the valid steps."""
        return self._reduce(y, lengths)

    def running(self, y: Tensor) -> Tensor:
        """Return the means up to each step."""
        return self._so_far(y)


@LOSSES.register("mse_count")
class CountError(ClassWeighted):
    """Squared error of each output's number of spikes, for classes, divided by the number of valid steps.

        loss = w[target] * mean_k (sum_t s[t, k] - goal[k])^2 / steps

    The goals are numbers of spikes a recording, or rates times each recording's own number of steps.

    Args:
        correct_rate: Rate that the right class's output is to have; snnTorch, which rounds the goals down, calls it so.
        incorrect_rate: Rate that the others are to have.
        correct_count: Spikes that the right class's output is to give, in place of the rates.
        incorrect_count: Spikes that the others are to give.
        class_weight: How much a recording of each class counts: a list, `balanced`, or null for all alike.

    Source: counts: Shrestha and Orchard, SLAYER, NeurIPS 2018. rates: Eshraghian et al., Training spiking neural
        networks using lessons from deep learning, Proceedings of the IEEE 2023.
    """

    def __init__(
        self,
        correct_rate: Annotated[float, "spikes a step", between(0, 1)] = 1.0,
        incorrect_rate: Annotated[float, "spikes a step", between(0, 1)] = 0.0,
        correct_count: Annotated[float | None, "spikes", at_least(0)] = None,
        incorrect_count: Annotated[float | None, "spikes", at_least(0)] = None,
        class_weight: ClassWeight = None,
    ) -> None:
        super().__init__(class_weight)
        self.counted = correct_count is not None
        if self.counted != (incorrect_count is not None):
            raise ConfigError("correct_count", "goes together with incorrect_count", "set both or neither")
        if correct_count is not None and incorrect_count is not None:
            require_apart(("correct_count", correct_count), ("incorrect_count", incorrect_count), "spikes")
            self.right, self.wrong = correct_count, incorrect_count
        else:
            require_apart(("correct_rate", correct_rate), ("incorrect_rate", incorrect_rate), "spikes a step")
            self.right, self.wrong = correct_rate, incorrect_rate
        self._reduce, self._so_far = REDUCTIONS["sum"]

    def bind(self, task: Task) -> None:
        super().bind(task)
        require_spikes(task.built, "mse_count counts spikes", "set loss=mse_rate for the mean of any output")
        if self.counted and self.right > task.num_steps:
            raise ConfigError("correct_count", f"{self.right:g} spikes do not fit into {task.num_steps} steps")

    def forward(
        self, y: Tensor, targets: Tensor, lengths: Tensor, counts: Counts, weight: Tensor | None = None
    ) -> Valued:
        steps = 1 if self.counted else lengths.to(y.dtype)
        goal = goals(targets, y.shape[-1], self.right * steps, self.wrong * steps, y.dtype)
        each = (self.readout(y, lengths) - goal).square().mean(-1) / lengths
        loss = mean_over_samples(self.class_weights(each, targets), weight)
        return loss, {"mse_count": loss}

    def readout(self, y: Tensor, lengths: Tensor) -> Tensor:
        """Return the numbers of spikes in the valid steps."""
        return self._reduce(y, lengths)

    def running(self, y: Tensor) -> Tensor:
        """Return the numbers of spikes up to each step."""
        return self._so_far(y)
