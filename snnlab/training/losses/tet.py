"""Temporal efficient training.

Axes: T steps, B samples, K classes.
"""

from __future__ import annotations

from torch import Tensor

from snnlab.errors import ConfigError
from snnlab.nn.readouts import REDUCTIONS
from snnlab.nn.temporal import Counts
from snnlab.training.losses.class_weights import ClassWeight, ClassWeighted
from snnlab.training.losses.contract import LOSSES, Valued, mean_over_samples, mean_over_steps, within_lengths
from snnlab.training.losses.cross_entropy import checked_smoothing, each_step


@LOSSES.register("tet")
class TemporalEfficientTraining(ClassWeighted):
    """Cross-entropy of each step's own output, and how far each output is from a level.

        loss = mean_t [(1 - mix) * w[target] * -log softmax(y[t])[target] + mix * mean_k (y[t, k] - level)^2]

    The readout is the mean over the steps.

    Args:
        mix: The paper's lambda, from 0 (cross-entropy alone) to below 1; 0.001 for CIFAR10-DVS.
        level: The paper's phi: what all outputs are drawn to.
        label_smoothing: Part of each target that is spread over all classes, 0 to 1.
        class_weight: How much a recording of each class counts: a list, `balanced`, or null for all alike.

    Source: Deng et al., Temporal Efficient Training, ICLR 2022.
    """

    def __init__(
        self,
        mix: float = 0.0,
        level: float = 1.0,
        label_smoothing: float = 0.0,
        class_weight: ClassWeight = None,
    ) -> None:
        super().__init__(class_weight)
        if not 0 <= mix < 1:
            raise ConfigError(f"mix: is a part of the loss, 0 <= mix < 1, got {mix:g}")
        self.mix, self.level = mix, level
        self.label_smoothing = checked_smoothing(label_smoothing)
        self._reduce, self._so_far = REDUCTIONS["mean"]

    def forward(
        self, y: Tensor, targets: Tensor, lengths: Tensor, counts: Counts, weight: Tensor | None = None
    ) -> Valued:
        y = within_lengths(y, lengths)
        each = mean_over_steps(each_step(y, targets, self.label_smoothing), lengths)
        each = self.class_weights(each, targets)
        if self.mix:
            apart = mean_over_steps((y - self.level).square().mean(-1), lengths)
            each = (1 - self.mix) * each + self.mix * apart
        loss = mean_over_samples(each, weight)
        return loss, {"tet": loss}

    def readout(self, y: Tensor, lengths: Tensor) -> Tensor:
        """Return the mean over the valid steps."""
        return self._reduce(y, lengths)

    def running(self, y: Tensor) -> Tensor:
        """Return the means up to each step."""
        return self._so_far(y)
