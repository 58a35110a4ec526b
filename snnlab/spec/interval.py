"""Intervals of numbers, and the annotations of many fields that have one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Interval:
    """An interval of finite numbers; a learned value in it is stored as an unbounded number.

        value = stored;  low + exp(stored);  high - exp(stored);  low + (high - low) / (1 + exp(-stored))

    without a bound, with a lower one, with an upper one, and with both.

    Attributes:
        low: The lower bound.
        high: The upper bound.
        with_low: Whether the interval includes the lower bound.
        with_high: Whether it includes the upper bound.
    """

    low: float = -math.inf
    high: float = math.inf
    with_low: bool = False
    with_high: bool = False

    def __contains__(self, value: float) -> bool:
        above = value >= self.low if self.with_low else value > self.low
        return above and (value <= self.high if self.with_high else value < self.high)

    @property
    def has_ends(self) -> bool:
        """Whether there is a bound; without one, any finite number is valid."""
        return self.low > -math.inf or self.high < math.inf

    def __str__(self) -> str:
        if self.with_low and self.with_high:
            return f"between {_number_text(self.low)} and {_number_text(self.high)}"
        ends = [f">{'=' * self.with_low} {_number_text(self.low)}"] if self.low > -math.inf else []
        ends += [f"<{'=' * self.with_high} {_number_text(self.high)}"] if self.high < math.inf else []
        return " and ".join(ends) or "finite"

    def stored(self, value: float) -> float:
        """Return the unbounded number that is stored for a value."""
        if self.low == -math.inf:
            return value if self.high == math.inf else math.log(self.high - value)
        if self.high == math.inf:
            return math.log(value - self.low)
        part = (value - self.low) / (self.high - self.low)
        return math.log(part) - math.log1p(-part)

    def value(self, stored: Tensor) -> Tensor:
        """Return the value of a stored number."""
        if self.low == -math.inf:
            return stored if self.high == math.inf else self.high - stored.exp()
        if self.high == math.inf:
            return self.low + stored.exp()
        return self.low + (self.high - self.low) * stored.sigmoid()


FINITE = Interval()


def above(low: float) -> Interval:
    """Return the interval of numbers > `low`."""
    return Interval(low)


def at_least(low: float) -> Interval:
    """Return the interval of numbers >= `low`."""
    return Interval(low, with_low=True)


def below(high: float) -> Interval:
    """Return the interval of numbers < `high`."""
    return Interval(high=high)


def between(low: float, high: float, *, with_low: bool = True, with_high: bool = True) -> Interval:
    """Return the interval of numbers between two bounds, which are included by default."""
    return Interval(low, high, with_low, with_high)


# Types of many settings.
Count = Annotated[int, at_least(1)]
NonNegative = Annotated[int, at_least(0)]
Positive = Annotated[float, above(0)]
Finite = Annotated[float, FINITE]
UnitInterval = Annotated[float, between(0, 1)]


def _number_text(number: float) -> str:
    return f"{number:,}" if isinstance(number, int) else f"{number:g}"
