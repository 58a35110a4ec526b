from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from snnlab.errors import ConfigError, UnknownSettingError
from snnlab.nn import LAYERS, build_network

from ..refusals import assert_raises

CONV_LIF: dict[str, dict[str, Any]] = {
    "conv1": {"type": "conv2d", "out_channels": 12, "kernel_size": 5},
    "lif1": {"type": "lif"},
    "pool1": {"type": "max_pool", "kernel_size": 2},
    "conv2": {"type": "conv2d", "out_channels": 32, "kernel_size": 5},
    "lif2": {"type": "cuba_lif"},
    "pool2": {"type": "max_pool", "kernel_size": 2},
    "flatten": {"type": "flatten"},
    "out": {"type": "linear", "out_features": 10},
    "readout": {"type": "li", "tau_mem": 20.0},
}


def build(layers: dict[str, Any], in_shape: tuple[int, ...] = (2, 34, 34), dt: float | None = 10.0) -> Any:
    return build_network(layers, in_shape=in_shape, dt=dt)


def test_each_layer_gets_its_input_shape() -> None:
    built = build(CONV_LIF)
    assert built.shapes == {
        "conv1": (12, 30, 30),
        "lif1": (12, 30, 30),
        "pool1": (12, 15, 15),
        "conv2": (32, 11, 11),
        "lif2": (32, 11, 11),
        "pool2": (32, 5, 5),
        "flatten": (800,),
        "out": (10,),
        "readout": (10,),
    }
    assert built.spiking == {"lif1": (12, 30, 30), "lif2": (32, 11, 11)}
    assert [name for name, _ in built.network.named_children()] == list(CONV_LIF)
    assert built.network(torch.zeros(3, 2, 2, 34, 34))[0].shape == (3, 2, 10)


def test_building_keeps_training_mode_and_statistics() -> None:
    network = build({"norm": {"type": "batch_norm"}, "drop": {"type": "dropout"}}).network
    assert all(module.training for module in network.modules())
    assert network.get_buffer("norm.num_batches_tracked") == 0
    assert not network.get_buffer("norm.running_mean").any()


def test_random_numbers_of_probes_do_not_change_the_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    class Noise(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + torch.rand_like(x)

    monkeypatch.setitem(LAYERS._entries, "noise", Noise)
    torch.manual_seed(3)
    first, second = nn.Conv2d(2, 12, 5), nn.Conv2d(12, 32, 5)
    torch.manual_seed(3)
    network = build({"noise": {"type": "noise"}, **CONV_LIF}).network
    assert torch.equal(network.get_parameter("conv1.weight"), first.weight)
    assert torch.equal(network.get_parameter("conv2.weight"), second.weight)


@pytest.mark.parametrize(
    ("name", "node", "fragments"),
    [
        ("a", {"type": "con2d"}, ("model.layers.a.type", "con2d", "conv2d")),
        ("a", {}, ("model.layers.a", "type")),
        ("a", {"type": None}, ("model.layers.a", "type")),
        ("a", {"type": ["lif"]}, ("model.layers.a.type", "[", "]")),
        ("a", None, ("model.layers.a", "mapping")),
        ("a", "lif", ("model.layers.a", "lif")),
        ("a", {"type": "lif", "tau": 1.0}, ("model.layers.a.tau", "tau_mem")),
        ("a", {"type": "lif", "tau_men": 1.0}, ("model.layers.a.tau_men",)),
        ("a", {"type": "lif", "dt": 1.0}, ("model.layers.a.dt",)),
        ("a", {"type": "linear"}, ("model.layers.a", "linear", "out_features")),
        (
            "a",
            {"type": "conv1d", "out_channels": 3, "kernel_size": 3},
            ("model.layers.a", "conv1d", "[C, W]", [2, 34, 34]),
        ),
        (
            "a",
            {"type": "conv2d", "out_channels": 3, "kernel_size": 3, "padding": 40, "padding_mode": "circular"},
            ("model.layers.a", [2, 34, 34]),
        ),
        ("a.b", {"type": "relu"}, ("model.layers", "a.b")),
        ("train", {"type": "relu"}, ("model.layers", "train")),
    ],
)
def test_an_error_names_the_place_of_its_layer(name: str, node: Any, fragments: tuple) -> None:
    with assert_raises((ConfigError, UnknownSettingError), *fragments):
        build({"first": {"type": "identity"}, name: node})


def test_an_error_of_a_later_layer_names_its_input_shape() -> None:
    layers = {**CONV_LIF, "conv3": {"type": "conv2d", "out_channels": 3, "kernel_size": 3}}
    with assert_raises(ConfigError, "model.layers.conv3", "conv2d", 3, "[C, H, W]", [10]):
        build(layers)


def test_constants_in_ms_are_refused_where_steps_have_no_length() -> None:
    assert build({"a": {"type": "lif", "tau_mem": "2 steps"}}, dt=None).shapes == {"a": (2, 34, 34)}
    with assert_raises(ConfigError, "model.layers.a.tau_mem"):
        build({"a": {"type": "lif"}}, dt=None)


def test_the_place_is_the_callers() -> None:
    with assert_raises(ConfigError, "here.a", "type"):
        build_network({"a": {}}, in_shape=(2,), dt=1.0, place="here")
