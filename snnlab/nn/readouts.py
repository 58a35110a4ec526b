"""From the network's output at every step to one answer a sample, and to the answer at each step so far.

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
    """Return the sum over the valid steps of each step's softmax: every step has one vote to share out."""
    valid = valid_steps(lengths, y.shape[0], y)
    # Zeros before it: what is no number past the end would make the gradient none.
    return time_sum((y if valid is None else torch.where(valid, y, 0)).softmax(-1), lengths)


def time_since_first_spike(y: Tensor, lengths: Tensor) -> Tensor:
    """Return the number of valid steps since the first spike, that step too; 0 where there is none.

        score = sum_t (1 - prod_(u <= t) (1 - s[u]))

    The earlier the first spike, the larger; the gradient reaches the spikes until the second one of each output. Values
    between 0 and 1, such as votes, are taken as the chance of a spike.

    Raises:
        ConfigError: if a value is below 0 or above 1, as a membrane's are: the product has no meaning for them.
    """
    valid = valid_steps(lengths, y.shape[0], y)
    if valid is None:
        return _has_spiked(y).sum(0)
    return torch.where(valid, _has_spiked(torch.where(valid, y, 0)), 0).sum(0)


def _has_spiked(s: Tensor) -> Tensor:
    # A NaN passes, and makes the loss one, which is noticed there as what it is.
    if bool(((s < 0) | (s > 1)).any()):
        raise ConfigError(
            "",
            f"first_spike reads spikes, 0 or 1, got values from {s.min():.3g} to {s.max():.3g}",
            "end the model with a spiking layer, or read out the mean",
        )
    return 1 - (1 - s).cumprod(0)


def _steps(y: Tensor) -> Tensor:
    return torch.arange(1, y.shape[0] + 1, device=y.device, dtype=y.dtype)[:, None, None]


# Each reduction with the values it would have had if the recording had ended at step t, `[T, B, K]`.
REDUCTIONS: dict[str, tuple[Reduction, Callable[[Tensor], Tensor]]] = {
    "mean": (time_mean, lambda y: y.cumsum(0) / _steps(y)),
    "sum": (time_sum, lambda y: y.cumsum(0)),
    "last": (time_last, lambda y: y),
    "max": (time_max, lambda y: y.cummax(0).values),
    "softmax_sum": (softmax_sum, lambda y: y.softmax(-1).cumsum(0)),
    "first_spike": (time_since_first_spike, lambda y: _has_spiked(y).cumsum(0)),
}
