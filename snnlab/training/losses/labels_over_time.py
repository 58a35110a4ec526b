"""Cross-entropy where steps have labels of their own.

Axes: T steps, B samples, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional

from snnlab.events.targets import IGNORED
from snnlab.nn.temporal import Counts
from snnlab.training.losses.class_weights import ClassWeights
from snnlab.training.losses.contract import LOSSES, Loss, Task, Valued, within_lengths
from snnlab.training.losses.cross_entropy import checked_smoothing


@LOSSES.register("cross_entropy_steps")
class StepCrossEntropy(Loss):
    """Cross-entropy of each labelled step's own output; for `data.targets: steps`.

        loss = mean of w[target] * -log softmax(y[t, b])[target[t, b]] over the labelled steps of all samples

    A recording with more labelled steps weighs more, so that the loss is the same in batches of any size, in any number
    of processes. With `trainer.accumulate_grad_batches` the parts beside it, `loss.parts`, are weighed so too.

    Args:
        label_smoothing: Part of each target that is spread over all classes, 0 to 1.
        class_weight: How much a step of each class counts, a list; null for all alike.
    """

    takes = ("steps",)

    def __init__(self, label_smoothing: float = 0.0, class_weight: Sequence[float] | None = None) -> None:
        super().__init__()
        self.label_smoothing = checked_smoothing(label_smoothing)
        self.class_weights = ClassWeights(class_weight)

    def bind(self, task: Task) -> None:
        self.class_weights.bind(task.num_classes)

    def labelled(self, targets: Tensor) -> Tensor:
        return (targets != IGNORED).sum()

    def forward(
        self, y: Tensor, targets: Tensor, lengths: Tensor, counts: Counts, weight: Tensor | None = None
    ) -> Valued:
        """Return the loss; it has one part. Without a labelled step it is 0."""
        each = functional.cross_entropy(
            within_lengths(y, lengths).flatten(0, 1),
            targets.flatten(),
            reduction="none",
            ignore_index=IGNORED,
            label_smoothing=self.label_smoothing,
        )
        each = self.class_weights(each.unflatten(0, targets.shape), targets)
        each = each if weight is None else each * weight
        loss = each.sum() / self.labelled(targets).clamp(min=1)
        return loss, {"cross_entropy_steps": loss}

    def readout(self, y: Tensor, lengths: Tensor) -> Tensor:
        """Return the output itself, `[T, B, K]`."""
        return y

    def running(self, y: Tensor) -> Tensor:
        """Return the output itself."""
        return y

    def answers(self, y: Tensor) -> Tensor:
        """Return each step's largest output."""
        return y.argmax(-1)
