"""The oracle of Speck's whole numbers has the values of Sinabs' own tests, and others by hand."""

from __future__ import annotations

import numpy as np
import pytest

from .sinabs_discretize import discretized, scale_of

# The tensor of Sinabs' tests: from -39.0465 to 41.0779.
GIVEN = np.array(
    [
        [[13.5594, -39.0465, -31.1756, 41.0779], [34.7378, -14.0715, -13.4176, 26.0796]],
        [[-17.0537, 2.0017, 2.1757, 33.9470], [-13.5850, 36.3960, 29.9012, -8.1596]],
    ]
)


def test_a_factor_brings_the_farther_end_to_the_end_of_the_bits() -> None:
    assert scale_of(GIVEN, 8) == pytest.approx(127 / 41.0779)
    assert scale_of(GIVEN - 20, 8) == pytest.approx(128 / 59.0465)
    assert scale_of(np.array([-1.0, 1.0]), 8) == 127  # 128 would not hold 1
    assert scale_of(np.zeros(3), 8) == np.inf
    for moved in (GIVEN, GIVEN + 20, GIVEN - 20, GIVEN / 20, GIVEN * 20):
        scaled = moved * scale_of(moved, 8)
        assert scaled.min() >= -128.001
        assert scaled.max() <= 127.001
        assert min(abs(scaled.min() + 128), abs(scaled.max() - 127)) < 1e-3


def test_values_are_multiplied_by_one_factor_and_rounded() -> None:
    found = discretized(GIVEN, None, 10.0, -10.0)
    assert found.scale == pytest.approx(3.0917, abs=1e-4)
    assert found.weight.min() == -121
    assert found.weight.max() == 127
    assert found.weight[0, 0, 0] == 42  # 13.5594 * 3.0917, as in Sinabs' test
    assert (found.v_threshold, found.floor) == (31, -31)


def test_the_smallest_factor_of_weights_biases_and_thresholds_counts() -> None:
    weight = np.array([[-1.0, 0.5]])
    assert discretized(weight, None, 1.0, -1.0)[2:] == (128, -128, 128.0)
    assert discretized(weight, np.array([4.0]), 1.0, -1.0)[2:] == (32, -32, 31.75)  # 127 / 4; 31.75 is 32
    large = discretized(weight, None, 1000.0, -1.0)
    assert (large.v_threshold, large.weight.tolist()) == (32767, [[-33.0, 16.0]])


def test_without_a_floor_the_lowest_state_takes_the_factor_to_1() -> None:
    found = discretized(np.array([[-1.0, 0.4]]), None, 1.0, None)
    assert (found.scale, found.floor, found.v_threshold, found.weight.tolist()) == (1.0, -32768, 1, [[-1.0, 0.0]])


def test_halves_go_to_the_even_number() -> None:
    found = discretized(np.array([[127.0, 0.5, 1.5, 2.5, -0.5, -1.5]]), None, 8.0, -8.0)
    assert found.weight.tolist() == [[127, 0, 2, 2, 0, -2]]
