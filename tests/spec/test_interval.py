from __future__ import annotations

import math

import pytest
import torch

from snnlab.spec.interval import FINITE, Interval, above, at_least, below, between

INTERVALS = [
    (FINITE, "finite", [-1e9, 0, 3.5], []),
    (above(0), "> 0", [1e-9, 1], [0, -1]),
    (at_least(1), ">= 1", [1, 2], [0.999]),
    (below(1), "< 1", [-5, 0.999], [1]),
    (Interval(high=0, with_high=True), "<= 0", [-1, 0], [1e-9]),
    (between(0, 1), "between 0 and 1", [0, 0.5, 1], [-0.1, 1.1]),
    (between(0, 1, with_high=False), ">= 0 and < 1", [0, 0.5], [1]),
    (between(1, 20_000), "between 1 and 20,000", [1, 20_000], [0, 20_001]),
]


@pytest.mark.parametrize(("interval", "text", "inside", "outside"), INTERVALS)
def test_an_interval_says_which_numbers_are_in_it(
    interval: Interval, text: str, inside: list[float], outside: list[float]
) -> None:
    assert str(interval) == text
    assert all(number in interval for number in inside)
    assert not any(number in interval for number in [*outside, math.nan, math.inf, -math.inf])


@pytest.mark.parametrize(
    ("interval", "value"), [(FINITE, -2.5), (above(1.0), 1.25), (below(0.5), -3.0), (Interval(-1, 2), 1.9)]
)
def test_what_is_stored_for_a_value_gives_it_back_and_no_number_leaves_the_interval(
    interval: Interval, value: float
) -> None:
    stored = torch.tensor(interval.stored(value), dtype=torch.float64)
    assert interval.value(stored).item() == pytest.approx(value, rel=1e-12)
    anywhere = interval.value(torch.linspace(-20, 20, 41, dtype=torch.float64))
    assert all(number in interval for number in anywhere.tolist())
