"""Networks whose weights are multiples of a power of two: sums in any order have the same bits."""

from __future__ import annotations

from typing import Any

import torch

from snnlab.nn.network import Network, build_network

SHAPE = (2, 8, 8)
CONV: dict[str, Any] = {"type": "conv2d", "out_channels": 6, "kernel_size": 3, "padding": 1}
LIF: dict[str, Any] = {"type": "lif"}
LAYERS: dict[str, dict[str, Any]] = {
    "conv": CONV,
    "lif": LIF,
    "pool": {"type": "avg_pool", "kernel_size": 2},
    "conv2": CONV,
    "iaf": {"type": "iaf", "spikes": "several"},
    "block": {"type": "residual", "layers": {"conv": CONV, "lif": LIF}},
    "flatten": {"type": "flatten"},
    "out": {"type": "linear", "out_features": 5},
    "recurrent": {"type": "lif", "recurrent": {"type": "dense", "bias": False}},
}


def grid_network(layers: dict[str, dict[str, Any]] = LAYERS) -> Network:
    """Return a network with random weights of 8 bits."""
    torch.manual_seed(0)
    network = build_network(layers, in_shape=SHAPE, dt=1.0).network.eval()
    with torch.no_grad():
        for name, values in network.named_parameters():
            if name.endswith(("weight", "bias")):
                values.copy_(torch.randint(-127, 128, values.shape) / 128)
    return network
