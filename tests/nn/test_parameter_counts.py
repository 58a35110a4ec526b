"""Trainable parameters by kind, each counted once."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from snnlab.nn import Network, build_network
from snnlab.nn.network import BuiltNetwork
from snnlab.nn.parameter_counts import ParameterCounts, count_parameters


def counts(layers: dict[str, Any], in_shape: tuple[int, ...] = (2, 6, 6)) -> ParameterCounts:
    return count_parameters(build_network(layers, in_shape=in_shape, dt=1.0), in_shape)


def test_weights_norms_and_learned_constants_are_counted_apart() -> None:
    layers = {
        "conv": {"type": "conv2d", "out_channels": 3, "kernel_size": 3, "bias": True},
        "norm": {"type": "batch_norm"},
        "lif": {"type": "lif", "tau_mem": 10.0, "learn": {"tau_mem": "channel"}},
        "flatten": {"type": "flatten"},
        "out": {"type": "linear", "out_features": 5, "bias": False},
    }
    assert counts(layers) == ParameterCounts(weights=3 * 2 * 9 + 3 + 48 * 5, norms=6, neurons=3)


def test_the_weights_of_a_feedback_are_weights_and_adaptation_is_used() -> None:
    learned = {"type": "adlif", "recurrent": True, "learn": {"a": "channel", "b": "channel"}}
    assert counts({"lif": learned}, (4,)) == ParameterCounts(weights=16, neurons=8)


class WithUnused(nn.Module):
    """A layer with a delay, and a parameter that it does not use."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.delays = nn.Parameter(torch.ones(4)), nn.Parameter(torch.ones(7))
        self.position = nn.Parameter(torch.ones(9))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight + self.delays.sum()


def test_delays_unused_and_shared_parameters() -> None:
    layer, again = WithUnused(), WithUnused()
    again.weight = layer.weight
    frozen = nn.Linear(4, 4).requires_grad_(False)
    network = Network({"a": layer, "frozen": frozen, "b": again})
    built = BuiltNetwork(network, {}, {}, 1)
    assert count_parameters(built, (4,)) == ParameterCounts(weights=4, delays=14, unused=18)


def test_learned_delays_are_counted_apart_from_their_weights() -> None:
    learned = {"max": 4, "learn": True}
    layers = {
        "fc": {"type": "linear", "out_features": 6, "delay": learned | {"count": 2}},
        "lif": {"type": "lif", "recurrent": {"delay": learned}},
        "axon": {"type": "delay", "delay": learned},
        "out": {"type": "linear", "out_features": 2, "delay": {"max": 4}},
    }
    weights = 5 * 6 * 2 + 6 + 6 * 6 + 6 * 2 + 2
    assert counts(layers, (5,)) == ParameterCounts(weights=weights, delays=5 * 6 * 2 + 6 * 6 + 6)
