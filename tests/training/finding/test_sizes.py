from __future__ import annotations

import pytest

from snnlab.training.finding.sizes import Tried, available_memory, fastest, sizes


@pytest.mark.parametrize(
    ("first", "last", "found"), [(4, 4, [4]), (4, 33, [4, 8, 16, 32]), (1, 1, [1]), (3, 12, [3, 6, 12])]
)
def test_sizes_double_up_to_the_last(first: int, last: int, found: list[int]) -> None:
    assert sizes(first, last) == found


def test_the_smallest_that_is_as_fast_as_any_is_taken() -> None:
    tried = [Tried(size, speed, None) for size, speed in ((4, 50.0), (8, 97.0), (16, 100.0), (32, 99.0))]
    assert fastest(tried) == 8


def test_some_memory_is_left() -> None:
    left = available_memory()
    assert left is None or left > 0
