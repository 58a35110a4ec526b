"""Normalizations; those over the batch are temporal layers, because they leave out the steps after a sample's end.

Axes: T steps, B samples, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from snnlab.compat import BatchNormNd
from snnlab.errors import ConfigError
from snnlab.nn.layer import (
    LAYERS,
    Counts,
    InShape,
    NumSteps,
    Reach,
    TemporalLayer,
    copy_to,
    first_axis,
    in_host_memory,
    short_lengths,
    valid_steps,
)
from snnlab.spec.interval import Count, Positive, between


class BatchNorm(TemporalLayer, BatchNormNd):
    """Batch normalization over all valid steps and samples together.

        y = weight * (x - mean) / sqrt(var + eps) + bias

    In training mean and variance are those of the valid steps, for each channel; in evaluation the running ones. If
    all steps are valid it equals torch's BatchNorm of the T * B samples; the state dict is the same. A single value per
    channel, such as the last step of the longest recording within a `loop`, has no variance: it is normalized by the
    running statistics, which then do not change.

    Args:
        num_features: Channels, the first axis of a sample.
        eps: Added to the variance.
        momentum: Fraction of the newest batch in the running statistics; None makes them the mean of all batches.
        affine: Whether there are a weight and a bias.

    Shape:
        x: `[T, B, C, ...]`; returns the same shape, with zeros after a sample's length, and no state.
    """

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = True) -> None:
        super().__init__(num_features, eps, momentum, affine)

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, x: Tensor, state: None = None, *, lengths: Tensor | None = None, counts: Counts | None = None
    ) -> tuple[Tensor, None]:
        # In host memory, because the number of valid steps is a size.
        lengths = short_lengths(in_host_memory(lengths), x.shape[0])
        valid = None if lengths is None else valid_steps(lengths, x.shape[0], lengths[None])
        samples = x.flatten(0, 1)
        if valid is None:
            y = self._normalize(samples)
        else:
            kept = copy_to(x.device, valid.flatten().nonzero().squeeze(1))
            y = torch.zeros_like(samples).index_put((kept,), self._normalize(samples[kept]))
        return y.unflatten(0, x.shape[:2]), None

    def _normalize(self, samples: Tensor) -> Tensor:
        """Normalize samples `[N, C, ...]`."""
        if not self.training or samples.numel() != self.num_features:
            return super().forward(samples)
        require_statistics(self, samples)
        mean, var = self.running_mean, self.running_var
        return F.batch_norm(samples, mean, var, self.weight, self.bias, False, 0.0, self.eps)

    def _check_input_dim(self, input: Tensor) -> None:
        # Any number of axes after the channels is valid; torch's classes differ only in this check.
        if input.dim() < 2:
            raise ValueError(f"batch_norm needs an input of at least 1 axis, got {list(input.shape[1:])}")


def require_statistics(norm: BatchNormNd, x: Tensor) -> None:
    """Raise a ConfigError if a norm has no running statistics yet, which replace those of a single value.

    If all batches were like that it would never have any, and would do nothing.
    """
    tracked = norm.num_batches_tracked
    if tracked is None or tracked.is_meta or not bool(tracked.any()):
        raise ConfigError(
            "",
            f"batch_norm in training needs more than 1 value for each channel, got {list(x.shape)}",
            "take larger batches",
        )


class PerStepState(NamedTuple):
    """Number of normalized steps of each sample, int64 `[B]`, in host memory."""

    step: Tensor


class PerStepBatchNorm(TemporalLayer, BatchNormNd):
    """Batch normalization of each step separately, with its own statistics, weight and bias.

        y[t] = weight[t] * (x[t] - mean[t]) / sqrt(var[t] + eps) + bias[t]

    In training mean and variance are those of the samples for which step t is valid, for each channel; in evaluation
    the running ones of that step. A step with only a single valid value per channel has no variance: it is normalized
    by the running statistics, which then do not change. BNTT is this without the bias.

    Args:
        num_features: Channels, the first axis of a sample.
        num_steps: Steps of a whole recording.
        eps: Added to the variance.
        momentum: Fraction of the newest batch in the running statistics; None makes them the mean of all batches.
        affine: Whether there are a weight and a bias.

    Shape:
        x: `[T, B, C, ...]` with T = num_steps; in evaluation also T = 1, the first of single steps, and with a state
        any number of remaining steps; state: `PerStepState(step [B])`; returns the same shape, with zeros after a
        sample's length, and the state.

    Source: Kim and Panda, Revisiting batch normalization for training low-latency deep SNNs, Front. Neurosci. 2021.
    """

    reach: Reach = "recording"
    running_mean: Tensor  # pyright: ignore[reportIncompatibleVariableOverride]
    running_var: Tensor  # pyright: ignore[reportIncompatibleVariableOverride]
    num_batches_tracked: Tensor  # pyright: ignore[reportIncompatibleVariableOverride]

    def __init__(
        self,
        num_features: int,
        num_steps: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine)
        self.num_steps = num_steps
        for name, one in self.named_parameters():
            self.register_parameter(name, nn.Parameter(one.detach().expand(num_steps, num_features).clone()))
        for name, one in self.named_buffers():
            self.register_buffer(name, one.expand(num_steps, *one.shape).clone())

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        x: Tensor,
        state: PerStepState | None = None,
        *,
        lengths: Tensor | None = None,
        counts: Counts | None = None,
    ) -> tuple[Tensor, PerStepState]:
        num_steps, batch = x.shape[:2]
        if self.training and x[0].numel() == self.num_features:
            require_statistics(self, x)
        if state is None and num_steps != self.num_steps and (self.training or num_steps != 1):
            raise self._length_error(num_steps)
        before = torch.zeros(batch, dtype=torch.int64, device="cpu") if state is None else state.step.cpu()
        lengths = in_host_memory(lengths)
        valid = valid_steps(lengths, num_steps, before.expand(num_steps, -1))
        samples = x.flatten(0, 1)
        if state is None and valid is None:
            # Splitting and joining along the folded axis keeps channels-last memory.
            y = torch.cat([self._normalize(x_t, t) for t, x_t in enumerate(samples.split(max(batch, 1)))])
            return y.unflatten(0, x.shape[:2]), PerStepState(before + num_steps)
        at = before + torch.arange(num_steps, device="cpu")[:, None]
        own = num_steps if lengths is None else lengths.clamp(max=num_steps)
        y = self._normalize_each(samples, (at if valid is None else torch.where(valid, at, -1)).flatten())
        return y.unflatten(0, x.shape[:2]), PerStepState(before + own)

    def _normalize_each(self, samples: Tensor, at: Tensor) -> Tensor:
        """Normalize each sample with the statistics of its step `at`; -1 makes it zero."""
        past, *sizes = torch.bincount(at + 1, minlength=self.num_steps + 1).tolist()
        if len(sizes) > self.num_steps:
            raise self._length_error(len(sizes))
        order = copy_to(samples.device, at.argsort(stable=True)[past:])
        parts = [self._normalize(part, t) for t, part in enumerate(samples[order].split(sizes))]
        return torch.zeros_like(samples).index_put((order,), torch.cat(parts))

    def _normalize(self, samples: Tensor, t: int) -> Tensor:
        """Normalize samples `[N, C, ...]` of step t."""
        mean, var = self.running_mean[t], self.running_var[t]
        weight, bias = (None, None) if self.weight is None else (self.weight[t], self.bias[t])
        if not self.training or samples.numel() <= self.num_features:
            return F.batch_norm(samples, mean, var, weight, bias, False, 0.0, self.eps)
        seen = self.num_batches_tracked[t].add_(1)
        momentum = 1.0 / float(seen) if self.momentum is None else self.momentum
        return F.batch_norm(samples, mean, var, weight, bias, True, momentum, self.eps)

    def _length_error(self, num_steps: int) -> ValueError:
        return ValueError(
            f"batch_norm per_step was built for {self.num_steps} steps, got {num_steps}; build the network for this"
            " number, or, to continue a recording, pass the state (PerStepState)"
        )

    def _check_input_dim(self, input: Tensor) -> None:
        """Accept any number of axes after the channels."""

    def extra_repr(self) -> str:
        """Return the settings that `print(network)` shows."""
        return f"{super().extra_repr()}, num_steps={self.num_steps}"


@LAYERS.register("batch_norm")
def batch_norm(
    in_shape: InShape,
    num_steps: NumSteps = None,
    *,
    eps: Positive = 1e-5,
    momentum: Annotated[float | None, between(0, 1)] = 0.1,
    affine: bool = True,
    per_step: bool = False,
) -> BatchNorm | PerStepBatchNorm:
    """Normalize each channel over all valid steps and samples together, or at each step separately.

    Args:
        eps: Added to the variance.
        momentum: Fraction of the newest batch in the running statistics; null makes them the mean of all batches.
        affine: Whether there are a weight and a bias.
        per_step: Whether each step has its own statistics, weight and bias; this fixes the number of steps.

    Shape:
        `[T, B, C, ...]` to the same.
    """
    channels = first_axis("batch_norm", in_shape)
    if not per_step:
        return BatchNorm(channels, eps, momentum, affine)
    if num_steps is None:
        raise ConfigError("per_step", "needs the number of steps, which is not known here", "remove it")
    return PerStepBatchNorm(channels, num_steps, eps, momentum, affine)


@LAYERS.register("layer_norm")
def layer_norm(
    in_shape: InShape,
    *,
    normalized_shape: int | Sequence[int] | None = None,
    eps: Positive = 1e-5,
    elementwise_affine: bool = True,
    bias: bool = True,
) -> nn.LayerNorm:
    """Normalize each sample at each step over its last axes.

    Args:
        normalized_shape: Sizes of the last axes, over which it normalizes; by default all axes.
        eps: Added to the variance.
        elementwise_affine: Whether there is a weight.
        bias: Whether there is a bias.

    Shape:
        `[N, ...]` to the same.
    """
    first_axis("layer_norm", in_shape)
    sizes = (normalized_shape,) if isinstance(normalized_shape, int) else normalized_shape
    last = in_shape if sizes is None else tuple(sizes)
    if not last or in_shape[-len(last) :] != last:
        raise ConfigError("normalized_shape", f"must be how the input's shape {list(in_shape)} ends, got {list(last)}")
    return nn.LayerNorm(list(last), eps, elementwise_affine, bias)


@LAYERS.register("group_norm")
def group_norm(in_shape: InShape, *, num_groups: Count, eps: Positive = 1e-5, affine: bool = True) -> nn.GroupNorm:
    """Normalize each sample at each step over groups of channels.

    Args:
        num_groups: Number of groups, a divisor of the channels.
        eps: Added to the variance.
        affine: Whether there are a weight and a bias for each channel.

    Shape:
        `[N, C, ...]` to the same.
    """
    channels = first_axis("group_norm", in_shape)
    if channels % num_groups:
        raise ConfigError("num_groups", f"must divide the input's channels ({channels}), got {num_groups}")
    return nn.GroupNorm(num_groups, channels, eps, affine)
