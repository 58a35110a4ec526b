"""Normalisations; that over the batch knows time, because it must leave out what is past a sample's end."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from snnlab.nn.layers.checks import Shape, first_axis, require_fraction, require_positive
from snnlab.nn.layers.registry import LAYERS
from snnlab.nn.temporal import Counts, TemporalLayer, valid_steps


class BatchNorm(TemporalLayer, _BatchNorm):
    """Batch normalisation over all valid steps and samples together.

        y = weight * (x - mean) / sqrt(var + eps) + bias

    In training mean and variance are those of the valid steps, for each channel; in evaluation the running
    ones. Where all steps are valid it is torch's BatchNorm of the T * B samples; the state dict is the same.

    Args:
        num_features: Channels, the first axis of a sample.
        eps: Added to the variance.
        momentum: How far the running statistics move at once; None makes them the mean of all.
        affine: Whether there are a weight and a bias.

    Shape:
        x: `[T, B, C, ...]`; returns the same, with zeros past a sample's length, and no state.
    """

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = True) -> None:
        super().__init__(num_features, eps, momentum, affine)

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, x: Tensor, state: None = None, *, lengths: Tensor | None = None, counts: Counts | None = None
    ) -> tuple[Tensor, None]:
        """Run all steps; see `TemporalLayer`."""
        valid = valid_steps(lengths, x.shape[0], x)
        samples = x.flatten(0, 1)
        if valid is None:
            y = super().forward(samples)
        else:
            kept = valid.flatten().nonzero().squeeze(1)
            y = torch.zeros_like(samples).index_put((kept,), super().forward(samples[kept]))
        return y.unflatten(0, x.shape[:2]), None

    def _check_input_dim(self, input: Tensor) -> None:
        # Any number of axes behind the channels will do; torch's classes differ in nothing but this.
        if input.dim() < 2:
            raise ValueError(f"batch_norm needs an input of at least 1 axis, got {list(input.shape[1:])}")


@LAYERS.register("batch_norm")
def batch_norm(in_shape: Shape, *, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = True) -> BatchNorm:
    """Normalise each channel over all valid steps and samples together.

    Args:
        in_shape: Shape of one sample at one step.
        eps: Added to the variance.
        momentum: How far the running statistics move at once, 0 to 1; null makes them the mean of all.
        affine: Whether there are a weight and a bias.

    Shape:
        `[T, B, C, ...]` to the same.

    Raises:
        ValueError: if a setting is out of its range.
    """
    require_positive(eps=eps)
    require_fraction(momentum=0.0 if momentum is None else momentum)
    return BatchNorm(first_axis("batch_norm", in_shape), eps, momentum, affine)


@LAYERS.register("layer_norm")
def layer_norm(
    in_shape: Shape,
    *,
    normalized_shape: int | Sequence[int] | None = None,
    eps: float = 1e-5,
    elementwise_affine: bool = True,
    bias: bool = True,
) -> nn.LayerNorm:
    """Normalise each sample at each step over its last axes.

    Args:
        in_shape: Shape of one sample at one step.
        normalized_shape: Sizes of the last axes to normalise over; all axes by default.
        eps: Added to the variance.
        elementwise_affine: Whether there is a weight.
        bias: Whether there is a bias too.

    Shape:
        `[N, ...]` to the same.

    Raises:
        ValueError: if `normalized_shape` is not how the input's shape ends, or `eps` is not positive.
    """
    first_axis("layer_norm", in_shape)
    require_positive(eps=eps)
    given = (normalized_shape,) if isinstance(normalized_shape, int) else normalized_shape
    last = in_shape if given is None else tuple(given)
    if not last or in_shape[-len(last) :] != last:
        raise ValueError(f"normalized_shape must be how the input's shape {list(in_shape)} ends, got {list(last)}")
    return nn.LayerNorm(list(last), eps, elementwise_affine, bias)


@LAYERS.register("group_norm")
def group_norm(in_shape: Shape, *, num_groups: int, eps: float = 1e-5, affine: bool = True) -> nn.GroupNorm:
    """Normalise each sample at each step over groups of channels.

    Args:
        in_shape: Shape of one sample at one step.
        num_groups: Groups, a divisor of the channels.
        eps: Added to the variance.
        affine: Whether there are a weight and a bias for each channel.

    Shape:
        `[N, C, ...]` to the same.

    Raises:
        ValueError: if the channels cannot be divided so, or a setting is not positive.
    """
    channels = first_axis("group_norm", in_shape)
    require_positive(num_groups=num_groups, eps=eps)
    if channels % num_groups:
        raise ValueError(f"num_groups must divide the input's channels ({channels}), got {num_groups}")
    return nn.GroupNorm(num_groups, channels, eps, affine)
