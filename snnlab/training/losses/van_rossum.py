"""The distance of van Rossum between the output's spikes and a regular train.

Axes: T steps, B samples, K classes.
"""

from __future__ import annotations

import math
from typing import Annotated

import torch
from torch import Tensor

from snnlab.errors import ConfigError
from snnlab.intervals import above, at_least
from snnlab.nn.readouts import REDUCTIONS
from snnlab.nn.temporal import Counts
from snnlab.training.losses.class_weights import ClassWeight, ClassWeighted
from snnlab.training.losses.contract import LOSSES, Task, Valued, mean_over_samples, within_lengths
from snnlab.training.losses.spike_goals import require_apart
from snnlab.training.losses.spiking_output import require_spikes

# Steps that one matrix product goes over.
_BLOCK = 256


@LOSSES.register("van_rossum")
class VanRossum(ClassWeighted):
    """Van Rossum's distance between each output's spikes and a regular train, at one rate for the right class.

        loss = w[target] * mean_k (1 / tau) integral (f_k - g_k)^2 dt,   f[t] = exp(-dt/tau) f[t-1] + s[t]
             = w[target] * mean_k (1 - exp(-2 dt/tau)) / 2 * sum_t (f_k[t] - g_k[t])^2

    over the valid steps, where g is made of the wanted train as f is of the spikes s. A spike too many, or too few,
    costs 1/2. A train of r spikes a step has its spikes where floor(r t + 1/2) increases, the first in the middle of
    the first interval. A short tau asks for spikes at these moments, a long one for their number. The output with the
    most spikes is the answer.

    Args:
        tau: Time constant of the trace that a spike leaves.
        correct_rate: Rate of the train that the right class's output is to give.
        incorrect_rate: Rate of that of the others.
        class_weight: How much a recording of each class counts: a list, `balanced`, or null for all alike.

    Source: van Rossum, A novel spike distance, Neural Computation 13(4), 2001.
    """

    def __init__(
        self,
        tau: Annotated[float, "ms; steps where they have no length", above(0)],
        correct_rate: Annotated[float, "Hz; spikes a step where steps have no length", at_least(0)],
        incorrect_rate: Annotated[float, "Hz; spikes a step where steps have no length", at_least(0)] = 0.0,
        class_weight: ClassWeight = None,
    ) -> None:
        super().__init__(class_weight)
        require_apart(("correct_rate", correct_rate), ("incorrect_rate", incorrect_rate), "spikes in their time")
        self.tau, self.correct_rate, self.incorrect_rate = tau, correct_rate, incorrect_rate
        self._dt: float | None = None
        self._reduce, self._so_far = REDUCTIONS["sum"]

    def bind(self, task: Task) -> None:
        super().bind(task)
        require_spikes(task.built, "van_rossum compares spikes", "set loss=cross_entropy")
        self._dt = task.dt
        for name in ("correct_rate", "incorrect_rate"):
            rate = getattr(self, name)
            if self._per_step(rate) > 1:
                most = "1 spike a step" if task.dt is None else f"{1000 / task.dt:g} Hz, a spike in every step"
                raise ConfigError(name, f"is at most {most}, got {rate:g}")

    def forward(
        self, y: Tensor, targets: Tensor, lengths: Tensor, counts: Counts, weight: Tensor | None = None
    ) -> Valued:
        right, wrong = (self.train_of(rate, y) for rate in (self.correct_rate, self.incorrect_rate))
        is_right = targets[:, None] == torch.arange(y.shape[-1], device=y.device)
        apart = y - torch.where(is_right, right[:, None, None], wrong[:, None, None])
        constants = (self._dt or 1.0) / self.tau  # of a step
        trace = traces(within_lengths(apart, lengths), constants)
        each = within_lengths(trace.square().mean(-1), lengths).sum(0) * (-math.expm1(-2 * constants) / 2)
        loss = mean_over_samples(self.class_weights(each, targets), weight)
        return loss, {"van_rossum": loss}

    def readout(self, y: Tensor, lengths: Tensor) -> Tensor:
        """Return the numbers of spikes in the valid steps."""
        return self._reduce(y, lengths)

    def running(self, y: Tensor) -> Tensor:
        """Return the numbers of spikes up to each step."""
        return self._so_far(y)

    def train_of(self, rate: float, like: Tensor) -> Tensor:
        """Return a regular train of a rate, `[T]`."""
        steps = torch.arange(len(like) + 1, dtype=torch.float64)
        return (steps * self._per_step(rate) + 0.5).floor().diff().to(like)

    def _per_step(self, rate: float) -> float:
        return rate if self._dt is None else rate * self._dt / 1000.0


def traces(s: Tensor, constants: float) -> Tensor:
    """Return f[t] = exp(-constants) f[t-1] + s[t] for every t, a matrix product for each block of steps.

    Args:
        s: What each step adds.
        constants: Length of a step in time constants.

    Shape:
        s: `[T, ...]`; returns the same.
    """
    since = torch.arange(min(len(s), _BLOCK), device=s.device, dtype=s.dtype)
    left = torch.exp(-constants * (since[:, None] - since).clamp(min=0)).tril()
    blocks: list[Tensor] = []
    for block in s.split(_BLOCK):
        f = torch.tensordot(left[: len(block), : len(block)], block, 1)
        if blocks:
            f = f + torch.tensordot(torch.exp(-constants * (since[: len(block)] + 1)), blocks[-1][-1], 0)
        blocks.append(f)
    return blocks[0] if len(blocks) == 1 else torch.cat(blocks)
