"""Losses that read hidden outputs and states over time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from snnlab.errors import ConfigError
from snnlab.nn import BuiltNetwork, build_network
from snnlab.nn.losses import CrossEntropy, LossContext, bind_records, recorded
from snnlab.nn.record import record

from ...refusals import assert_raises

T, B = 9, 3
LENGTHS = torch.tensor([9, 4, 7])
LAYERS: dict[str, dict[str, Any]] = {
    "conv": {"type": "conv2d", "out_channels": 3, "kernel_size": 3},
    "lif": {"type": "lif", "v_threshold": 0.3},
    "pool": {"type": "max_pool", "kernel_size": 2},
    "flatten": {"type": "flatten"},
    "fc": {"type": "linear", "out_features": 6},
    "cuba": {"type": "cuba_lif", "v_threshold": 0.2, "recurrent": True},
    "out": {"type": "linear", "out_features": 3},
}
NAMES = ["lif", "lif.v", "cuba", "cuba.i"]


class Reading(CrossEntropy):
    """Reads hidden layers; its value is theirs."""

    def __init__(self, records: Sequence[str]) -> None:
        super().__init__()
        self.records = records

    def forward(self, y: Tensor, targets: Tensor, lengths: Tensor, counts: Any, weight: Any = None) -> Any:
        self.read = {name: recorded(counts, name) for name in self.records}
        loss = torch.stack([one.square().mean() for one in self.read.values()]).sum()
        return loss, {"reading": loss}


def built_with(records: Sequence[str]) -> tuple[BuiltNetwork, Reading]:
    torch.manual_seed(0)
    built, loss = build_network(LAYERS, in_shape=(2, 6, 6), dt=2.0), Reading(records)
    loss.bind(LossContext(built, (2, 6, 6), 2.0, T, 3))
    bind_records(loss, built)
    return built, loss


def test_it_reads_spikes_and_states_of_all_steps_and_gradients_flow_through_them() -> None:
    built, loss = built_with(NAMES)
    x, counts = (torch.rand(T, B, 2, 6, 6, generator=torch.Generator().manual_seed(1)) < 0.5).float(), {}
    y, _ = built.network(x, lengths=LENGTHS, counts=counts)
    loss(y, torch.zeros(B, dtype=torch.int64), LENGTHS, counts)[0].backward()
    known = record(built.network, x, lengths=LENGTHS)
    assert known.spikes["lif"].sum() > 0
    expected = [known.spikes["lif"], known.states["lif"]["v"], known.spikes["cuba"], known.states["cuba"]["i"]]
    for name, value in zip(NAMES, expected, strict=True):
        torch.testing.assert_close(loss.read[name].detach(), value, rtol=1e-5, atol=1e-6)
    gradient = built.network.get_parameter("conv.weight").grad
    assert gradient is not None
    assert gradient.abs().sum() > 0
    assert built.network.get_parameter("out.weight").grad is None


@pytest.mark.parametrize(("name", "facts"), [("lfi", ("lif",)), ("lif.w", ("lif", "v")), ("conv", ("lif", "cuba"))])
def test_a_name_that_is_no_layer_of_neurons_or_no_state_is_refused(name: str, facts: tuple[str, ...]) -> None:
    with assert_raises(ConfigError, "loss.records", *facts):
        built_with([name])
