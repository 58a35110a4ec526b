"""The fan-out of neurons, compared with the outputs that change when a neuron spikes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from snnlab.errors import ConfigError
from snnlab.nn import build_network
from snnlab.nn.fan_out import fan_out

from ..refusals import assert_raises

Layers = dict[str, dict[str, Any]]
LIF = {"type": "lif", "tau_mem": 10.0}
CONV: Layers = {
    "conv1": {"type": "conv2d", "out_channels": 2, "kernel_size": 3},
    "lif1": LIF,
    "pool": {"type": "max_pool", "kernel_size": 2, "ceil_mode": True},
    "conv2": {"type": "conv2d", "out_channels": 4, "kernel_size": 3, "padding": 1, "stride": 2, "groups": 2},
    "norm": {"type": "batch_norm"},
    "lif2": LIF,
    "mean": {"type": "avg_pool", "kernel_size": 2, "stride": 1},
    "flatten": {"type": "flatten"},
    "drop": {"type": "dropout", "p": 0.5},
    "out": {"type": "linear", "out_features": 5},
    "last": LIF,
}


def built(layers: Layers, in_shape: tuple[int, ...] = (1, 9, 9)) -> Any:
    torch.manual_seed(0)
    return build_network(layers, in_shape=in_shape, dt=1.0)


def reached(layers: list[nn.Module], shape: tuple[int, ...]) -> Tensor:
    """Return the number of nonzero outputs if only one neuron spikes, for each neuron, with weights of 1."""
    many = torch.zeros(shape)
    for place in torch.cartesian_prod(*(torch.arange(n) for n in shape)):
        x = torch.zeros(1, *shape)
        x[0][tuple(place)] = 1.0
        for layer in layers:
            x = layer(x)
        many[tuple(place)] = (x != 0).sum()
    return many


def test_it_is_the_number_of_outputs_that_one_spike_changes() -> None:
    of = built(CONV)
    conv = nn.Conv2d(2, 4, 3, 2, 1, groups=2, bias=False)
    nn.init.ones_(conv.weight)
    found = fan_out(of, (1, 9, 9))
    assert torch.equal(found["lif1"], reached([nn.MaxPool2d(2, ceil_mode=True), conv], (2, 7, 7)))
    assert len(found["lif1"].unique()) > 1  # corners reach fewer
    # A cell in two windows reaches both.
    windows = reached([nn.AvgPool2d(2, 1)], (4, 2, 2))
    assert torch.equal(found["lif2"], 5 * windows)
    assert torch.equal(found["last"], torch.zeros(5))


def test_it_does_not_change_the_network() -> None:
    of = built(CONV)
    network = of.network
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network.configure(checkpoint_segments=2)
    settings, state = network.run_settings, torch.get_rng_state()
    found = fan_out(of, (1, 9, 9))
    assert network.run_settings == settings
    assert network.training
    assert not any(module._forward_hooks for module in network.modules())
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(value.grad is None for value in network.parameters())
    assert not any(many.requires_grad for many in found.values())


def test_recurrent_neurons_reach_their_own_layer_too() -> None:
    dense = built(
        {
            "fc": {"type": "linear", "out_features": 4},
            "lif": {**LIF, "recurrent": {"type": "dense", "autapses": False}},
            "out": {"type": "linear", "out_features": 3},
        },
        (6,),
    )
    assert fan_out(dense, (6,))["lif"].tolist() == [3.0 + 3.0] * 4
    conv = built(
        {
            "conv": {"type": "conv2d", "out_channels": 2, "kernel_size": 3},
            "lif": {**LIF, "recurrent": {"type": "conv", "kernel_size": 3}},
        }
    )
    assert fan_out(conv, (1, 9, 9))["lif"].unique().tolist() == [18.0]


def test_blocks_are_passed() -> None:
    layers: Layers = {
        "fc": {"type": "linear", "out_features": 4},
        "lif": LIF,
        "around": {"type": "residual", "layers": {"inner": {"type": "linear", "out_features": 4}, "own": LIF}},
        "loop": {
            "type": "loop",
            "layers": {"a": {"type": "linear", "out_features": 4, "weight_norm": True}, "spikes": LIF},
            "feedback": {"layers": {"back": {"type": "linear", "out_features": 4}}},
        },
        "both": {
            "type": "parallel",
            "branches": {
                "p": {"x": {"type": "linear", "out_features": 2}},
                "q": {"y": {"type": "gru", "hidden_size": 3}},
            },
        },
    }
    found = {name: many.unique().tolist() for name, many in fan_out(built(layers, (6,)), (6,)).items()}
    # lif: into the block and past it into the loop; own: into the loop; spikes: both branches, 3 gates, and feedback.
    assert found == {"lif": [4.0 + 4.0], "around.own": [4.0], "loop.spikes": [2.0 + 3 * 3.0 + 4.0]}


def test_a_layer_with_unknown_fan_out_is_rejected() -> None:
    within = {"inner": {"type": "linear", "out_features": 4}, "own": LIF}
    joined = {"type": "residual", "connect": "iand", "layers": within}
    of = built({"fc": {"type": "linear", "out_features": 4}, "lif": LIF, "x": joined}, (6,))
    with assert_raises(ConfigError, "", "operations", "x"):
        fan_out(of, (6,))


def test_delays_change_no_fan_out_but_several_of_a_connection_do() -> None:
    delay = {"max": 3.0, "learn": True}
    layers: Layers = {
        "lif": {**LIF, "recurrent": {"delay": delay}},
        "axon": {"type": "delay", "delay": delay},
        "fc": {"type": "linear", "out_features": 5, "delay": delay | {"count": 2}},
    }
    assert fan_out(built(layers, (4,)), (4,))["lif"].tolist() == [4 + 5 * 2] * 4
