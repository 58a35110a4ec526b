"""How much a recording of each class counts.

Axes: B samples, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from snnlab.errors import ConfigError
from snnlab.training.losses.contract import Loss, Task

ClassWeight = Sequence[float] | Literal["balanced"] | None


class ClassWeights(nn.Module):
    """A weight for each class: given, or such that all classes count alike.

        balanced: weight[k] = recordings / (classes * recordings of k), over the training recordings

    A batch's loss stays the mean over its recordings of weight times loss; torch divides by the sum of the weights in
    the batch instead, so that a recording would count more or less with the company it is in.

    Args:
        given: A list, one weight a class, each >= 0; `balanced`; None weighs all alike.

    Raises:
        ConfigError: if a weight is negative, or all are 0.
    """

    weights: Tensor | None

    def __init__(self, given: ClassWeight) -> None:
        super().__init__()
        self.balanced = given == "balanced"
        weights = None if given is None or isinstance(given, str) else torch.tensor([float(w) for w in given])
        if weights is not None and (not weights.numel() or bool((weights < 0).any()) or not bool(weights.any())):
            raise ConfigError("class_weight", f"weights are >= 0 and not all 0, got {given}")
        # What comes from the data comes from them again; a checkpoint need not hold it.
        self.register_buffer("weights", weights, persistent=False)

    def bind(self, num_classes: int) -> None:
        """Raise a ConfigError if there are not as many weights as classes."""
        if self.weights is not None and not self.balanced and len(self.weights) != num_classes:
            raise ConfigError("class_weight", f"has {len(self.weights)} weights, but there are {num_classes} classes")

    def count_classes(self, counts: Tensor) -> None:
        """Take the numbers of the training recordings, `[K]`, where all classes are to count alike."""
        if self.balanced:
            many = counts.to(torch.float32)
            self.weights = torch.where(many > 0, many.sum() / ((many > 0).sum() * many.clamp(min=1)), 1.0)

    def forward(self, each: Tensor, targets: Tensor) -> Tensor:
        """Return each sample's loss times the weight of its class; both have the same shape.

        Raises:
            RuntimeError: if classes are to be balanced and were never counted.
        """
        if self.weights is None:
            if self.balanced:
                raise RuntimeError("class_weight: balanced needs count_classes before the first batch")
            return each
        # A step without a label has no class; its loss is 0 already.
        return each * self.weights.to(each.dtype)[targets.clamp(min=0)]


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
