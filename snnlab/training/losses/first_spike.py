"""Squared error of the time of the first spike.

Axes: T steps, B samples, K classes.
"""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from snnlab.errors import ConfigError, located
from snnlab.intervals import at_least
from snnlab.nn.readouts import REDUCTIONS
from snnlab.nn.temporal import Counts
from snnlab.training.losses.class_weights import ClassWeight, ClassWeighted
from snnlab.training.losses.contract import LOSSES, Task, Valued, mean_over_samples
from snnlab.training.losses.spike_goals import goals
from snnlab.training.losses.spiking_output import require_moments, require_spikes


@LOSSES.register("mse_first_spike")
class FirstSpikeError(ClassWeighted):
    """Squared error of the time of each output's first spike, for classes, in parts of the recording.

        loss = w[target] * mean_k ((time[k] - goal[k]) / steps)^2
        time[k] = steps - sum_t (1 - prod_(u <= t) (1 - s[u, k]))

    An output that never fires counts as one that fires when the recording is over, and its gradient still reaches all
    steps: the product makes a first spike anywhere change the time by what it would be earlier. The output that fires
    first is the answer. For cross-entropy of these times see `over_time: first_spike` of `cross_entropy`.

    Args:
        correct: When the right class's output is to fire first, from the recording's start on.
        incorrect: When the others are to; null: when the recording is over, which is never.
        class_weight: How much a recording of each class counts: a list, `balanced`, or null for all alike.

    Source: the goals are those of mse_temporal_loss in snnTorch; the gradient is not.
    """

    def __init__(
        self,
        correct: Annotated[float, "ms; steps where they have no length", at_least(0)] = 0.0,
        incorrect: Annotated[float | None, "ms; steps where they have no length", at_least(0)] = None,
        class_weight: ClassWeight = None,
    ) -> None:
        super().__init__(class_weight)
        if correct == incorrect:
            raise ConfigError("correct", f"must differ from incorrect, both are {correct:g}")
        self.correct, self.incorrect = correct, incorrect
        self._step = 1.0
        self._reduce, self._so_far = REDUCTIONS["first_spike"]

    def bind(self, task: Task) -> None:
        super().bind(task)
        require_spikes(task.built, "mse_first_spike reads spikes", "set loss=cross_entropy")
        require_moments(task.num_steps, "mse_first_spike")
        self._step = task.dt or 1.0
        if self.correct >= task.num_steps * self._step:
            unit = "steps" if task.dt is None else "ms"
            raise ConfigError(
                "correct",
                (
                    f"{self.correct:g} {unit} is when the recording's {task.num_steps * self._step:g}"
                    f" {unit} are over, which silence meets"
                ),
            )

    def forward(
        self, y: Tensor, targets: Tensor, lengths: Tensor, counts: Counts, weight: Tensor | None = None
    ) -> Valued:
        steps = lengths.to(y.dtype)
        time = steps[:, None] - self.readout(y, lengths)
        right, wrong = (self._goal(at, steps) for at in (self.correct, self.incorrect))
        goal = goals(targets, y.shape[-1], right, wrong, y.dtype)
        each = ((time - goal) / steps[:, None]).square().mean(-1)
        loss = mean_over_samples(self.class_weights(each, targets), weight)
        return loss, {"mse_first_spike": loss}

    def readout(self, y: Tensor, lengths: Tensor) -> Tensor:
        """Return the steps since each output's first spike."""
        with located("loss"):
            return self._reduce(y, lengths)

    def running(self, y: Tensor) -> Tensor:
        """Return the steps since each output's first spike until each step."""
        with located("loss"):
            return self._so_far(y)

    def _goal(self, at: float | None, steps: Tensor) -> Tensor:
        return steps if at is None else torch.full_like(steps, at / self._step).minimum(steps)
