from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from snnlab.analysis.layer_statistics import NetworkStatistics, measure
from snnlab.nn import LI, LIF, Network

Measured = Callable[..., NetworkStatistics]


@pytest.fixture
def chain() -> Network:
    """Return two spiking layers of 6 neurons and a readout, steps of 10 ms."""
    torch.manual_seed(0)
    return Network(
        {
            "fc1": nn.Linear(4, 6, bias=False),
            "lif1": LIF(dt=10.0),
            "fc2": nn.Linear(6, 6, bias=False),
            "lif2": LIF(dt=10.0),
            "out": nn.Linear(6, 2, bias=False),
            "readout": LI(dt=10.0),
        }
    )


@pytest.fixture
def frames() -> Tensor:
    """Return 12 steps of 5 samples of 4 channels; nothing comes before step 2."""
    x = torch.rand(12, 5, 4, generator=torch.Generator().manual_seed(1)) * 3
    x[:2] = 0
    return x


def weight_of(network: Network, name: str) -> Tensor:
    """Return a linear layer's weight."""
    layer = network.get_submodule(name)
    assert isinstance(layer, nn.Linear)
    return layer.weight


def objective(y: Tensor, counts: object) -> Tensor:
    return y.mean(0).square().sum()


@pytest.fixture
def measured() -> Measured:
    """Return a function that measures a network on frames with a loss of its output's mean."""

    def call(network: Network, x: Tensor, lengths: Tensor | None = None, **settings: object) -> NetworkStatistics:
        lengths = torch.full((x.shape[1],), x.shape[0]) if lengths is None else lengths
        return measure(network, x, lengths, objective, **{"dt": 10.0, **settings})  # type: ignore[arg-type]

    return call
