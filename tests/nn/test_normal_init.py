"""Initial weights of a given standard deviation or bound: layers and numbers of connections."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from snnlab.errors import ConfigError
from snnlab.nn import INITS, Network, build_network

from ..refusals import assert_raises

LAYERS: dict[str, dict[str, Any]] = {
    "conv": {"type": "conv2d", "out_channels": 64, "kernel_size": 3},
    "flatten": {"type": "flatten"},
    "fc": {"type": "linear", "out_features": 300, "weight_norm": True},
    "lif": {"type": "lif", "recurrent": {"autapses": False}},
    "block": {"type": "sequential", "layers": {"fc": {"type": "linear", "out_features": 200}}},
}


def network() -> Network:
    torch.manual_seed(0)
    return build_network(LAYERS, in_shape=(16, 5, 5), dt=1.0).network


def initialized(net: Network, **settings: Any) -> list[str]:
    torch.manual_seed(1)
    return INITS.build("normal", settings, "model.init", dt=1.0)(net)


def weight(net: Network, name: str) -> torch.Tensor:
    return net.get_submodule(name).weight.detach()  # pyright: ignore[reportReturnType, reportCallIssue]


@pytest.mark.parametrize(
    ("fan", "connections"),
    [
        ("in", {"conv": 16 * 9, "fc": 64 * 9, "lif.feedback": 300, "block.fc": 300}),
        ("out", {"conv": 64 * 9, "fc": 300, "lif.feedback": 300, "block.fc": 200}),
    ],
)
def test_the_deviation_is_the_gain_over_the_root_of_the_connections(fan: str, connections: dict[str, int]) -> None:
    net = network()
    assert initialized(net, gain=0.5, fan=fan) == ["conv", "fc", "lif", "block.fc"]
    for name, number in connections.items():
        assert weight(net, name).std().item() == pytest.approx(0.5 / number**0.5, rel=0.03)
        assert weight(net, name).mean().abs().item() < 0.01


def test_a_transposed_convolutions_axes_are_taken_the_other_way_round() -> None:
    node = {"up": {"type": "conv_transpose2d", "out_channels": 64, "kernel_size": 3}}
    net = build_network(node, in_shape=(16, 5, 5), dt=1.0).network
    initialized(net, gain=1.0)
    assert weight(net, "up").std().item() == pytest.approx((16 * 9) ** -0.5, rel=0.03)


def test_only_named_layers_are_initialized_and_biases_do_not_change() -> None:
    net, as_built = network(), network()
    assert initialized(net, layers=["lif", "block"]) == ["lif", "block.fc"]
    for name, before in as_built.named_parameters():
        after = net.get_parameter(name)
        assert torch.equal(before, after) == (name not in ("lif.feedback.weight", "block.fc.weight"))


def test_errors_name_the_setting() -> None:
    with assert_raises(ConfigError, "model.init.gain", "> 0"):
        INITS.build("normal", {"gain": 0.0}, "model.init", dt=1.0)
    with assert_raises(ConfigError, "layers", "fcc", "fc"):
        initialized(network(), layers=["fcc"])
    with assert_raises(ConfigError, "layers", "flatten"):
        initialized(network(), layers=["flatten"])


def test_it_sets_any_module_of_torch() -> None:
    net = Network({"fc": nn.Linear(400, 300)})
    assert initialized(net) == ["fc"]
    assert weight(net, "fc").std().item() == pytest.approx(0.05, rel=0.03)


def test_xavier_counts_feedback_and_input_weights_as_one_matrix() -> None:
    net = network()
    torch.manual_seed(1)
    assert INITS.build("xavier_uniform", {}, "model.init")(net) == ["conv", "fc", "lif", "block.fc"]
    joint = (6 / (64 * 9 + 300 + 300)) ** 0.5
    bounds = {"conv": (6 / (16 * 9 + 64 * 9)) ** 0.5, "fc": joint, "lif.feedback": joint, "block.fc": (6 / 500) ** 0.5}
    for name, bound in bounds.items():
        drawn = weight(net, name).abs()
        assert 0.99 * bound < drawn.max() <= bound * 1.000001
        assert drawn.mean().item() == pytest.approx(bound / 2, rel=0.03)
