"""In training a silent layer near its threshold starts to spike, and one far below its threshold stays silent."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from snnlab.analysis.findings import steps_until_spiking
from snnlab.nn import LIF, Network

from .conftest import objective, weight_of


@pytest.mark.parametrize(("v_threshold", "spikes"), [(2.0, True), (1e6, False)])
def test_steps_until_a_silent_layer_spikes(chain: Network, frames: Tensor, v_threshold: float, spikes: bool):
    chain.lif2 = LIF(dt=10.0, v_threshold=v_threshold)
    with torch.no_grad():
        weight_of(chain, "fc2").mul_(0.1)
    lengths = torch.full((5,), 12)

    def make(network: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.Adam(network.parameters(), lr=0.2)

    def higher_output(y: Tensor, counts: object) -> Tensor:
        return objective(y - 1.0, counts)

    found = steps_until_spiking(chain, frames, lengths, higher_output, make, ["lif2"])
    assert (found["lif2"] is not None) == spikes
    assert found["lif2"] is None or 1 <= found["lif2"] <= 10
