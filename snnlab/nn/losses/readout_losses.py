"""Losses of a readout: cross-entropy over time or at each step, and squared error of values, also at each step.

Axes: T steps, B samples, K classes or values.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from torch import Tensor
from torch.nn import functional

from snnlab.errors import ConfigError, error_context
from snnlab.nn.layer import Counts
from snnlab.nn.losses.loss import (
    LOSSES,
    ClassWeighted,
    ClassWeights,
    Loss,
    LossAndTerms,
    LossContext,
    Readout,
    ReducedLoss,
    mean_over_samples,
    mean_over_steps,
    within_lengths,
)
from snnlab.nn.losses.spike_targets import require_several_steps, require_spikes
from snnlab.spec.declared import setting
from snnlab.spec.field import Help
from snnlab.spec.interval import NonNegative, between
from snnlab.target_kinds import IGNORED

FractionBelowOne = Annotated[float, between(0, 1, with_high=False)]
LabelSmoothing = Annotated[FractionBelowOne, Help("Fraction of each target that is spread over all classes.")]


@LOSSES.register("cross_entropy")
class CrossEntropy(ClassWeighted):
    """Cross-entropy of the output's mean (sum, last, max) over the valid steps.

        loss = w[target] * -sum_k q[k] log softmax(mean_t y[t])[k],   q = (1 - e) * onehot(target) + e / K

    with w the class weight and e the label smoothing. For spikes, `sum` is their number and `mean` their rate, in
    spikes a step. The readout of `softmax_sum` is sum_t softmax(y[t]); that of `first_spike` is the number of steps
    since the output's first spike; that of `per_step` is the mean, and its loss is the mean over t of the loss of each
    step.

    Args:
        readout: The readout.
        from_step: Index of the first step that is read out; of a recording that ends before it, this one is zero.

    Source: softmax_sum: Bittar and Garner, A surrogate gradient spiking baseline for speech command recognition,
        Frontiers in Neuroscience 2022; Hammouamri et al., Learning delays, ICLR 2024. per_step: Deng et al., Temporal
        Efficient Training, ICLR 2022. label_smoothing: Szegedy et al., Rethinking the Inception architecture, CVPR
        2016.
    """

    reduction: Readout = setting(default="mean", kw_only=False, alias="readout")
    label_smoothing: LabelSmoothing = 0.0
    from_step: NonNegative = 0

    @property
    def of_each_step(self) -> bool:
        return self.reduction == "per_step" and not self.from_step

    def bind(self, context: LossContext) -> None:
        super().bind(context)
        require_step(self.from_step, context, "from_step")
        if self.reduction == "first_spike":
            with error_context("readout"):
                require_spikes(context.built, "first_spike reads spikes", "read out the mean")
                require_several_steps(context.num_steps, "first_spike")

    def forward(
        self, y: Tensor, targets: Tensor, lengths: Tensor, counts: Counts, weight: Tensor | None = None
    ) -> LossAndTerms:
        if self.reduction == "per_step":
            y, lengths = self._read_steps(y, lengths)
            each = mean_over_steps(each_step(within_lengths(y, lengths), targets, self.label_smoothing), lengths)
        else:
            scores = self.readout(y, lengths)
            each = functional.cross_entropy(scores, targets, reduction="none", label_smoothing=self.label_smoothing)
        loss = mean_over_samples(self.class_weights(each, targets), weight)
        return loss, {"cross_entropy": loss}

    def readout(self, y: Tensor, lengths: Tensor) -> Tensor:
        """Return the reduction over the valid steps."""
        with error_context("loss.readout"):
            return super().readout(*self._read_steps(y, lengths))

    def running(self, y: Tensor) -> Tensor:
        """Return the reduction up to each step; zeros before the first step that is read out."""
        with error_context("loss.readout"):
            return torch.cat([torch.zeros_like(y[: self.from_step]), super().running(y[self.from_step :])])

    def _read_steps(self, y: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Return the steps that are read out and their number in each sample, at least 1."""
        if not self.from_step:
            return y, lengths
        return within_lengths(y, lengths)[self.from_step :], (lengths - self.from_step).clamp(min=1)


def require_step(step: int, context: LossContext, name: str) -> None:
    """Raise a ConfigError for the setting `name` if recordings have no step of this index."""
    if step >= context.num_steps:
        raise ConfigError(name, f"must be below the {context.num_steps} steps, got {step}")


def each_step(y: Tensor, targets: Tensor, smoothing: float) -> Tensor:
    """Return the cross-entropy of each step's output and the recording's class, `[T, B]`."""
    each = functional.cross_entropy(
        y.flatten(0, 1), targets.repeat(y.shape[0]), reduction="none", label_smoothing=smoothing
    )
    return each.unflatten(0, y.shape[:2])


@LOSSES.register("cross_entropy_steps")
class StepCrossEntropy(Loss):
    """Cross-entropy of the output at each labelled step; for `data.targets: steps`.

        loss = mean of w[target] * -log softmax(y[t, b])[target[t, b]] over the labelled steps of all samples

    A recording with more labelled steps has more weight, so that the loss is the same for any batch size and any number
    of processes. With `trainer.accumulate_grad_batches` the terms of `loss.regularizers` are weighted in the same way.

    Args:
        class_weight: Weight of a step of each class, a list; null for equal weights.
    """

    supported_targets = ("steps",)
    label_smoothing: LabelSmoothing = 0.0
    class_weight: Sequence[float] | None = None

    def prepare(self) -> None:
        self.class_weights = ClassWeights(self.class_weight)

    @property
    def of_each_step(self) -> bool:
        return True

    def bind(self, context: LossContext) -> None:
        self.class_weights.bind(context.num_classes)

    def num_labelled_steps(self, targets: Tensor) -> Tensor:
        return (targets != IGNORED).sum()

    def forward(
        self, y: Tensor, targets: Tensor, lengths: Tensor, counts: Counts, weight: Tensor | None = None
    ) -> LossAndTerms:
        """Return the loss, which has one term; it is 0 without a labelled step."""
        each = functional.cross_entropy(
            within_lengths(y, lengths).flatten(0, 1),
            targets.flatten(),
            reduction="none",
            ignore_index=IGNORED,
            label_smoothing=self.label_smoothing,
        )
        each = self.class_weights(each.unflatten(0, targets.shape), targets)
        each = each if weight is None else each * weight
        loss = each.sum() / self.num_labelled_steps(targets).clamp(min=1)
        return loss, {"cross_entropy_steps": loss}

    def readout(self, y: Tensor, lengths: Tensor) -> Tensor:
        """Return the output itself, `[T, B, K]`."""
        return y

    def running(self, y: Tensor) -> Tensor:
        """Return the output itself."""
        return y

    def answers(self, y: Tensor) -> Tensor:
        """Return the class of each step's largest output."""
        return y.argmax(-1)


@LOSSES.register("tet")
class TemporalEfficientTraining(ClassWeighted):
    """Cross-entropy of the output at each step, and squared distance of each output from a level.

        loss = mean_t [(1 - mix) * w[target] * -log softmax(y[t])[target] + mix * mean_k (y[t, k] - level)^2]

    The readout is the mean over the steps.

    Args:
        mix: The paper's lambda, from 0 (only cross-entropy) to below 1; 0.001 for CIFAR10-DVS.
        level: The paper's phi, the level of all outputs.

    Source: Deng et al., Temporal Efficient Training, ICLR 2022.
    """

    mix: FractionBelowOne = 0.0
    level: float = 1.0
    label_smoothing: LabelSmoothing = 0.0

    @property
    def of_each_step(self) -> bool:
        return True

    def forward(
        self, y: Tensor, targets: Tensor, lengths: Tensor, counts: Counts, weight: Tensor | None = None
    ) -> LossAndTerms:
        y = within_lengths(y, lengths)
        each = mean_over_steps(each_step(y, targets, self.label_smoothing), lengths)
        each = self.class_weights(each, targets)
        if self.mix:
            distance = mean_over_steps((y - self.level).square().mean(-1), lengths)
            each = (1 - self.mix) * each + self.mix * distance
        loss = mean_over_samples(each, weight)
        return loss, {"tet": loss}


ValueReadout = Literal["mean", "sum", "last", "max", "per_step"]


@LOSSES.register("mse")
class SquaredError(ReducedLoss):
    """Squared error of the output's mean (sum, last, max) over the valid steps; for `data.targets: value`.

        loss = mean_k (mean_t y[t, k] - target[k])^2;   per_step: the mean over t of mean_k (y[t, k] - target[k])^2

    Args:
        readout: The readout; that of `per_step` is the mean, and its loss is the mean of the losses of all steps.
    """

    supported_targets = ("value",)
    reduction: ValueReadout = setting(  # pyright: ignore[reportIncompatibleVariableOverride]
        default="mean", kw_only=False, alias="readout"
    )

    @property
    def of_each_step(self) -> bool:
        return self.reduction == "per_step"

    def forward(
        self, y: Tensor, targets: Tensor, lengths: Tensor, counts: Counts, weight: Tensor | None = None
    ) -> LossAndTerms:
        if self.reduction == "per_step":
            each = mean_over_steps((within_lengths(y, lengths) - targets).square().mean(-1), lengths)
        else:
            each = (self.readout(y, lengths) - targets).square().mean(-1)
        loss = mean_over_samples(each, weight)
        return loss, {"mse": loss}

    def answers(self, y: Tensor) -> Tensor:
        """Return the readout of the steps up to each step, `[T, B, K]`."""
        return self.running(y)


@LOSSES.register("mse_series")
class SeriesSquaredError(Loss):
    """Squared error of the output at each step; for `data.targets: series`.

        loss = mean_t mean_k (y[t, k] - target[t, k])^2

    Args:
        score_from: Index of the first step that mae, rmse and r2 measure; the loss is the mean of all steps.
    """

    supported_targets = ("series",)
    score_from: NonNegative = setting(default=0, kw_only=False)

    @property
    def of_each_step(self) -> bool:
        return True

    def bind(self, context: LossContext) -> None:
        require_step(self.score_from, context, "score_from")

    def forward(
        self, y: Tensor, targets: Tensor, lengths: Tensor, counts: Counts, weight: Tensor | None = None
    ) -> LossAndTerms:
        each = mean_over_steps((within_lengths(y, lengths) - targets).square().mean(-1), lengths)
        loss = mean_over_samples(each, weight)
        return loss, {"mse_series": loss}

    def readout(self, y: Tensor, lengths: Tensor) -> Tensor:
        """Return the output from `score_from` on, `[T - score_from, B, K]`."""
        return y[self.score_from :]

    def readout_targets(self, targets: Tensor) -> Tensor:
        """Return the targets from `score_from` on."""
        return targets[self.score_from :]

    def running(self, y: Tensor) -> Tensor:
        """Return the output itself."""
        return y

    def answers(self, y: Tensor) -> Tensor:
        """Return the output itself, `[T, B, K]`."""
        return y
