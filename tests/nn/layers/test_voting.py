from __future__ import annotations

from typing import Any

import pytest
import torch

from snnlab.errors import ConfigError
from snnlab.nn import LAYERS, build_network

from ...refusals import assert_raises


def build(in_shape: tuple[int, ...], group_size: int) -> Any:
    return LAYERS.build("voting", {"group_size": group_size}, "layers.a", in_shape=in_shape)


def test_each_output_is_the_mean_of_its_neighbours() -> None:
    votes = torch.tensor([[1.0, 0, 1, 1, 0, 0]])
    torch.testing.assert_close(build((6,), 3)(votes), torch.tensor([[2 / 3, 1 / 3]]))
    assert build((6,), 2)(votes).tolist() == [[0.5, 1.0, 0.0]]


def test_it_acts_on_the_last_axis() -> None:
    x = torch.rand(2, 3, 20)
    y = build((3, 20), 5)(x)
    assert y.shape == (2, 3, 4)
    torch.testing.assert_close(y[1, 2, 3], x[1, 2, 15:].mean())
    assert build_network({"a": {"type": "voting", "group_size": 5}}, in_shape=(3, 20), dt=None).shapes["a"] == (3, 4)


@pytest.mark.parametrize(
    ("in_shape", "group_size", "facts"),
    [
        ((800,), 7, ("layers.a.group_size", "800", "7", "5", "8")),
        ((7,), 9, ("layers.a.group_size", "7", "9")),
        ((11,), 10, ("layers.a.group_size", "11", "10", "1")),
        ((10,), 0, ("layers.a.group_size",)),
        ((), 2, ("layers.a", "voting", 1, [])),
    ],
)
def test_mistakes_are_named(in_shape: tuple[int, ...], group_size: int, facts: tuple) -> None:
    with assert_raises(ConfigError, *facts):
        build(in_shape, group_size)


@pytest.mark.peers
def test_it_is_spikingjellys() -> None:
    layer = pytest.importorskip("spikingjelly.activation_based.layer")
    x = (torch.rand(4, 110) < 0.3).float()
    torch.testing.assert_close(build((110,), 11)(x), layer.VotingLayer(11)(x))
