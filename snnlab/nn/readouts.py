"""Readouts: reduce the output of all steps to one readout for each sample, or to a running readout at each step.

Axes: T steps, B samples, K outputs.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from snnlab.errors import ConfigError
from snnlab.nn.layer import valid_steps

Reduction = Callable[[Tensor, Tensor], Tensor]


def time_mean(y: Tensor, lengths: Tensor) -> Tensor:
    """Return the mean over the valid steps."""
    return time_sum(y, lengths) / lengths[:, None]


def time_sum(y: Tensor, lengths: Tensor) -> Tensor:
    """Return the sum over the valid steps."""
    valid = valid_steps(lengths, y.shape[0], y)
    return (y if valid is None else torch.where(valid, y, 0)).sum(0)


def time_max(y: Tensor, lengths: Tensor) -> Tensor:
    """Return the largest value of the valid steps."""
    valid = valid_steps(lengths, y.shape[0], y)
    return (y if valid is None else torch.where(valid, y, -torch.inf)).amax(0)


def time_last(y: Tensor, lengths: Tensor) -> Tensor:
    """Return the value at the last valid step."""
    return y[lengths - 1, torch.arange(y.shape[1], device=y.device)]


def softmax_sum(y: Tensor, lengths: Tensor) -> Tensor:
    """Return the sum over the valid steps of each step's softmax: every step has the same weight."""
    valid = valid_steps(lengths, y.shape[0], y)
    # Zeros before the softmax: a NaN past the end would make the gradient NaN.
    return time_sum((y if valid is None else torch.where(valid, y, 0)).softmax(-1), lengths)


def time_since_first_spike(y: Tensor, lengths: Tensor) -> Tensor:
    """Return the number of valid steps since the first spike, including its step; 0 without a spike.

        score = sum_t (1 - prod_(u <= t) (1 - s[u]))

    An earlier first spike gives a larger score. The gradient reaches all steps up to the second spike of each output.
    Values between 0 and 1, such as votes, are probabilities of a spike.
    """
    valid = valid_steps(lengths, y.shape[0], y)
    if valid is None:
        return _has_spiked(y).sum(0)
    return torch.where(valid, _has_spiked(torch.where(valid, y, 0)), 0).sum(0)


def _has_spiked(s: Tensor) -> Tensor:
    outside = (s < 0) | (s > 1)
    if s.is_meta or (s.device.type != "cpu" and torch.is_grad_enabled()):
        # A step of a training does not read the device, which would wait for it. A NaN makes the loss NaN, and the
        # training's check of the loss then raises this error.
        s = torch.where(outside, torch.nan, s)
    elif bool(outside.any()):  # a NaN passes, and makes the loss NaN too
        raise ConfigError(
            "",
            f"first_spike reads spikes, 0 or 1, got values from {s.min():.3g} to {s.max():.3g}",
            "end the model with a spiking layer, or read out the mean",
        )
    return 1 - (1 - s).cumprod(0)


def _step_numbers(y: Tensor) -> Tensor:
    return torch.arange(1, y.shape[0] + 1, device=y.device, dtype=y.dtype)[:, None, None]


# A reduction with its running version: the readout of the steps up to t, for every t, `[T, B, K]`.
Reductions = tuple[Reduction, Callable[[Tensor], Tensor]]
REDUCTIONS: dict[str, Reductions] = {
    "mean": (time_mean, lambda y: y.cumsum(0) / _step_numbers(y)),
    "sum": (time_sum, lambda y: y.cumsum(0)),
    "last": (time_last, lambda y: y),
    "max": (time_max, lambda y: y.cummax(0).values),
    "softmax_sum": (softmax_sum, lambda y: y.softmax(-1).cumsum(0)),
    "first_spike": (time_since_first_spike, lambda y: _has_spiked(y).cumsum(0)),
}
