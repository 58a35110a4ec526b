"""What losses with a weight for each class have in common."""

from __future__ import annotations

from torch import Tensor

from snnlab.training.losses.class_weights import ClassWeight, ClassWeights
from snnlab.training.losses.contract import Loss, Task


class ClassWeighted(Loss):
    """A loss for classes, each with a weight.

    Args:
        class_weight: See `ClassWeights`.

    Raises:
        ConfigError: see `ClassWeights`.
    """

    def __init__(self, class_weight: ClassWeight) -> None:
        super().__init__()
        self.class_weights = ClassWeights(class_weight)

    def bind(self, task: Task) -> None:
        self.class_weights.bind(task.num_classes)

    def answers(self, y: Tensor) -> Tensor:
        """Return the class of the largest readout up to each step."""
        return self.running(y).argmax(-1)

    def count_classes(self, counts: Tensor) -> None:
        self.class_weights.count_classes(counts)
