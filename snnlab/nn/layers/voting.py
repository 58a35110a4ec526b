"""Voting: several neurons answer for one class."""

from __future__ import annotations

from torch import Tensor, nn

from snnlab.errors import ConfigError, listing
from snnlab.intervals import Count
from snnlab.nn.layers.checks import Shape, last_axis
from snnlab.nn.layers.registry import LAYERS


class Voting(nn.Module):
    """The mean of each group of consecutive features of the last axis.

        y[k] = mean(x[k * group_size], ..., x[(k + 1) * group_size - 1])

    Args:
        group_size: Features of a group.

    Shape:
        `[N, ..., K * group_size]` to `[N, ..., K]`.
    """

    def __init__(self, group_size: int) -> None:
        super().__init__()
        self.group_size = group_size

    def forward(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (-1, self.group_size)).mean(-1)

    def extra_repr(self) -> str:
        """Return the setting that `print(network)` shows."""
        return f"group_size={self.group_size}"


@LAYERS.register("voting")
def voting(in_shape: Shape, *, group_size: Count) -> Voting:
    """Return the mean of each group of consecutive features; of spikes, the part of the group that votes.

    Args:
        in_shape: Shape of one sample at one step.
        group_size: Features that vote for one output, a divisor of the last axis.

    Shape:
        `[N, ..., K * group_size]` to `[N, ..., K]`.

    Raises:
        ConfigError: if `group_size` does not divide the last axis.

    Source: Fang et al., Incorporating learnable membrane time constant, ICCV 2021.
    """
    features = last_axis("voting", in_shape)
    if features % group_size:
        near = listing(map(str, _near_divisors(features, group_size)))
        raise ConfigError(
            "group_size", f"must divide the input's last axis ({features}), got {group_size}", f"near: {near}"
        )
    return Voting(group_size)


def _near_divisors(number: int, wanted: int) -> list[int]:
    """Return the divisor of `number` below `wanted` and that above, as far as there are."""
    divisors = [n for n in range(1, number + 1) if number % n == 0]
    return [n for n in divisors if n < wanted][-1:] + [n for n in divisors if n > wanted][:1]
