"""Batch normalizations folded into the layer before them."""

from __future__ import annotations

import torch

from snnlab.errors import ConfigError
from snnlab.nn import Network, build_network
from snnlab.nn.fold_norm import fold_norm

from ..refusals import assert_raises

LIF = {"type": "lif", "tau_mem": 10.0}
BLOCK = {
    "conv": {"type": "conv2d", "out_channels": 4, "kernel_size": 3, "padding": 1, "bias": False, "weight_norm": True}
}
LAYERS = {
    "conv1": {"type": "conv2d", "out_channels": 4, "kernel_size": 3},
    "norm1": {"type": "batch_norm", "affine": False},
    "norm2": {"type": "batch_norm"},
    "lif1": LIF,
    "twice": {"type": "repeat", "times": 2, "layers": {**BLOCK, "norm": {"type": "batch_norm"}, "lif": LIF}},
    "skip": {
        "type": "residual",
        "layers": {"conv": {"type": "conv2d", "out_channels": 4, "kernel_size": 1}, "norm": {"type": "batch_norm"}},
        "shortcut": {"conv": {"type": "conv2d", "out_channels": 4, "kernel_size": 1}, "norm": {"type": "batch_norm"}},
    },
    "flatten": {"type": "flatten"},
    "fc": {"type": "linear", "out_features": 5},
    "norm3": {"type": "batch_norm"},
    "li": {"type": "li"},
}


def trained() -> tuple[Network, torch.Tensor]:
    torch.manual_seed(0)
    network = build_network(LAYERS, in_shape=(2, 8, 8), dt=1.0).network.double()
    x = torch.rand(6, 3, 2, 8, 8, dtype=torch.float64)
    for _ in range(3):
        network(x)  # statistics
    with torch.no_grad():
        for name, value in network.named_parameters():
            if "norm" in name:
                value.add_(torch.rand_like(value))
    return network.eval(), x


def test_the_folded_network_answers_the_same_without_norms() -> None:
    network, x = trained()
    folded = fold_norm(network)
    assert not [name for name, _ in folded.named_modules() if "norm" in name]
    torch.testing.assert_close(folded(x)[0], network(x)[0], rtol=1e-9, atol=1e-9)


def test_a_norm_after_neurons_stays() -> None:
    layers = {"lif": LIF, "norm": {"type": "batch_norm"}}
    network = build_network(layers, in_shape=(3,), dt=1.0).network
    assert "norm" in dict(fold_norm(network).named_children())


def test_a_network_without_settings_is_refused() -> None:
    with assert_raises(ConfigError, "fold_norm"):
        fold_norm(Network({"flatten": torch.nn.Flatten()}))
