"""Which numbers a setting may have, and how one that is learned is stored so that it keeps to them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Interval:
    """The finite numbers between two ends; what is learned is stored as a number without ends.

        value = stored;  low + exp(stored);  high - exp(stored);  low + (high - low) / (1 + exp(-stored))

    without an end, with the lower one, with the upper one, and with both.

    Attributes:
        low: The lower end.
        high: The upper end.
        with_low: Whether the lower end is one of the numbers.
        with_high: Whether the upper end is one.
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
        """Whether there is an end, or any finite number will do."""
        return self.low > -math.inf or self.high < math.inf

    def __str__(self) -> str:
        if self.with_low and self.with_high:
            return f"between {_short(self.low)} and {_short(self.high)}"
        ends = [f">{'=' * self.with_low} {_short(self.low)}"] if self.low > -math.inf else []
        ends += [f"<{'=' * self.with_high} {_short(self.high)}"] if self.high < math.inf else []
        return " and ".join(ends) or "finite"

    def stored(self, value: float) -> float:
        """Return the number that stands for a value between the ends."""
        if self.low == -math.inf:
            return value if self.high == math.inf else math.log(self.high - value)
        if self.high == math.inf:
            return math.log(value - self.low)
        part = (value - self.low) / (self.high - self.low)
        return math.log(part) - math.log1p(-part)

    def value(self, stored: Tensor) -> Tensor:
        """Return the value that a number stands for."""
        if self.low == -math.inf:
            return stored if self.high == math.inf else self.high - stored.exp()
        if self.high == math.inf:
            return self.low + stored.exp()
        return self.low + (self.high - self.low) * stored.sigmoid()


FINITE = Interval()


def above(low: float) -> Interval:
    """Return the numbers above one."""
    return Interval(low)


def at_least(low: float) -> Interval:
    """Return a number and those above it."""
    return Interval(low, with_low=True)


def below(high: float) -> Interval:
    """Return the numbers below one."""
    return Interval(high=high)


def between(low: float, high: float, *, with_low: bool = True, with_high: bool = True) -> Interval:
    """Return the numbers between two, with these where nothing else is said."""
    return Interval(low, high, with_low, with_high)


# What many settings are.
Count = Annotated[int, at_least(1)]
NotNegative = Annotated[int, at_least(0)]
Positive = Annotated[float, above(0)]
Finite = Annotated[float, FINITE]
Fraction = Annotated[float, between(0, 1)]


def _short(number: float) -> str:
    return f"{number:,}" if isinstance(number, int) else f"{number:g}"
