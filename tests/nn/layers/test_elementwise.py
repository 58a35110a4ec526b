from __future__ import annotations

import pytest
import torch

from snnlab.errors import ConfigError
from snnlab.nn import Delay, Scale, Threshold, delay

from ...refusals import assert_raises


def test_each_value_is_scaled_by_its_own_weight() -> None:
    layer = Scale((2,))
    layer.weight.data = torch.tensor([2.0, -1.0])
    assert layer(torch.ones(1, 2)).tolist() == [[2.0, -1.0]]


@pytest.mark.parametrize(("threshold", "at"), [("strict", 0), ("inclusive", 1)])
def test_a_threshold_gives_0_and_1(threshold: str, at: int) -> None:
    layer = Threshold((3,), threshold=threshold)  # pyright: ignore[reportArgumentType]
    assert layer(torch.tensor([[0.5, 1.0, 1.5]])).tolist() == [[0, at, 1]]


def test_each_value_is_delayed_by_its_own_number_of_steps() -> None:
    layer, x = Delay((3,)), torch.arange(1.0, 5.0).reshape(4, 1, 1).expand(4, 1, 3)
    layer.steps.copy_(torch.tensor([0, 1, 3]))
    y, state = layer(x)
    assert y[:, 0].T.tolist() == [[1, 2, 3, 4], [0, 1, 2, 3], [0, 0, 0, 1]]
    assert layer(torch.zeros(1, 1, 3), state)[0].flatten().tolist() == [0, 4, 2]


@pytest.mark.parametrize("given", [1.5, "1.5 steps", "two steps"])
def test_a_delay_of_no_whole_number_of_steps_is_refused(given: float | str) -> None:
    with assert_raises(ConfigError, "delay"):
        delay((2,), 1.0, delay=given)
