"""What several seeds came to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, stdev
from typing import NamedTuple

from scipy.special import stdtrit

LEVEL = 0.95


class Spread(NamedTuple):
    """Mean and spread over seeds.

    Attributes:
        n: How many there are.
        mean: Their mean.
        sd: Their standard deviation, with n - 1; None where there is but one.
        low: Lower end of the mean's 95 % interval; None likewise.
        high: Its upper end.
    """

    n: int
    mean: float
    sd: float | None = None
    low: float | None = None
    high: float | None = None


def spread(values: Sequence[float]) -> Spread:
    """Return mean, standard deviation and interval of values.

        mean +- t(n - 1) sd / sqrt(n)

    with the 97.5 % point of Student's t. It is the interval of what other seeds would come to on the same recordings.

    Raises:
        ValueError: if there is none.
    """
    if not values:
        raise ValueError("no values have no mean")
    n, mean = len(values), fmean(values)
    if n == 1:
        return Spread(1, mean)
    sd = stdev(values)
    half = float(stdtrit(n - 1, (1 + LEVEL) / 2)) * sd / math.sqrt(n)
    return Spread(n, mean, sd, mean - half, mean + half)
