from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch

from snnlab.nn import Network, build_network
from snnlab.training.optimizer import Group, GroupedOptimizer

LAYERS: dict[str, dict[str, Any]] = {
    "fc": {"type": "linear", "out_features": 8},
    "lif": {"type": "lif", "learn": ["tau_mem"]},
    "out": {"type": "linear", "out_features": 3},
}
ADAMW = partial(torch.optim.AdamW, lr=0.01, weight_decay=0.1)


@pytest.fixture
def network() -> Network:
    return build_network(LAYERS, in_shape=(5,), dt=1.0).network


def named(network: Network, optimizer: torch.optim.Optimizer) -> dict[str, tuple[float, float]]:
    """Return rate and decay of each parameter."""
    names = {id(p): name for name, p in network.named_parameters()}
    return {names[id(p)]: (g["lr"], g["weight_decay"]) for g in optimizer.param_groups for p in g["params"]}


def test_each_parameter_goes_to_the_first_group_that_matches_it(network: Network) -> None:
    groups = [Group("slow", ["out"], {"lr": 0.001}), Group("biases", ["biases"], {"lr": 0.5, "weight_decay": 0.0})]
    optimizer = GroupedOptimizer(ADAMW, groups)(network)
    assert named(network, optimizer) == {
        "fc.weight": (0.01, 0.1),
        "fc.bias": (0.5, 0.0),
        "lif.learned.tau_mem": (0.01, 0.1),
        "out.weight": (0.001, 0.1),
        "out.bias": (0.001, 0.1),
    }
    assert [group["name"] for group in optimizer.param_groups] == ["rest", "slow", "biases"]


def test_weight_decay_applies_to_its_kinds_unless_a_group_sets_it(network: Network) -> None:
    groups = [Group("lif", ["lif"], {"lr": 0.2}), Group("out", ["out.bias"], {"weight_decay": 0.3})]
    assert named(network, GroupedOptimizer(ADAMW, groups, ["weights"])(network)) == {
        "fc.weight": (0.01, 0.1),
        "fc.bias": (0.01, 0.0),
        "lif.learned.tau_mem": (0.2, 0.0),
        "out.weight": (0.01, 0.1),
        "out.bias": (0.01, 0.3),
    }


def test_frozen_parameters_are_in_no_group(network: Network) -> None:
    network.get_parameter("fc.weight").requires_grad_(False)
    for groups in ([], [Group("biases", ["biases"], {"lr": 1.0})]):
        assert "fc.weight" not in named(network, GroupedOptimizer(ADAMW, groups)(network))
