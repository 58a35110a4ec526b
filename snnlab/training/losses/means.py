"""Means over steps and samples, without what stands past a sample's end.

Axes: T steps, B samples.
"""

from __future__ import annotations

import torch
from torch import Tensor

from snnlab.nn.temporal import valid_steps


def within_lengths(each: Tensor, lengths: Tensor) -> Tensor:
    """Return `each`, `[T, B, ...]`, with zeros past each sample's end, whatever stood there."""
    valid = valid_steps(lengths, each.shape[0], each)
    return each if valid is None else torch.where(valid, each, 0)


def mean_over_steps(each: Tensor, lengths: Tensor) -> Tensor:
    """Return each sample's mean over its valid steps, `[T, B]` to `[B]`."""
    return within_lengths(each, lengths).sum(0) / lengths


def mean_over_samples(each: Tensor, weight: Tensor | None) -> Tensor:
    """Return the mean of `each`, `[B]`, times `weight`, `[B]`."""
    return (each if weight is None else each * weight).mean()
