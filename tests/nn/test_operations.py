"""Operations are counted by layer, with and without fusion."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from snnlab.nn import build_network
from snnlab.nn.network import Network
from snnlab.nn.operations import OperationCounts, count_nonzero_steps, count_operations, footprint_bytes

CONV = {
    "conv1": {"type": "conv2d", "out_channels": 4, "kernel_size": 3, "padding": 1, "stride": 2},
    "lif1": {"type": "lif", "tau_mem": 20.0, "v_threshold": 0.3},
    "pool1": {"type": "max_pool", "kernel_size": 2},
    "flatten": {"type": "flatten"},
    "out": {"type": "linear", "out_features": 3},
    "readout": {"type": "li", "tau_mem": 20.0},
}
SHAPE = (2, 9, 8)


def network(layers: dict[str, Any] = CONV, shape: tuple[int, ...] = SHAPE) -> Network:
    torch.manual_seed(0)
    return build_network(layers, in_shape=shape, dt=10.0, num_steps=6).network.eval()


def spikes(*shape: int, rate: float = 0.3) -> Tensor:
    return (torch.rand(*shape, generator=torch.Generator().manual_seed(1)) < rate).float()


def count(net: Network, x: Tensor, lengths: Tensor | None = None) -> OperationCounts:
    with torch.no_grad(), count_operations(net) as operations:
        net(x, lengths=lengths, counts={})
        found = operations.totals()
    assert found is not None
    return found


def test_steps_past_a_samples_end_cost_nothing():
    net, x = network(), spikes(6, 2, *SHAPE)
    x[4:, 1] = 0.0
    lengths = torch.tensor([6, 4])
    apart = count(net, x[:, :1]) + count(net, x[:4, 1:])
    assert count(net, x, lengths) == apart


def test_counts_are_the_same_for_single_steps_and_split_batches():
    net, x = network(), spikes(6, 3, *SHAPE)
    whole = count(net, x)
    with torch.no_grad(), count_operations(net) as operations:
        state = None
        for step in x.split(1):
            _, state = net(step, state, counts={})
        stepped = operations.totals()
    assert stepped is not None
    assert stepped._replace(samples=3) == whole
    assert count(net, x[:, :1]) + count(net, x[:, 1:]) == whole


def test_convolving_event_by_event_changes_no_count():

    net, x = network({**CONV, "conv1": {**CONV["conv1"], "stride": 1}}), spikes(6, 2, *SHAPE, rate=0.05)
    frames = count(net, x)
    net.configure(sparse_input="always")
    assert count(net, x) == frames


@pytest.mark.parametrize("kind", [True, {"type": "dense", "autapses": False}])
def test_feedback_counts_for_each_spike_but_the_last_steps(kind: Any):
    layers = {
        "fc": {"type": "linear", "out_features": 8, "bias": False},
        "lif": {"type": "lif", "tau_mem": 20.0, "v_threshold": 0.2, "recurrent": kind},
    }
    net, x = network(layers, (5,)), spikes(7, 2, 5, rate=0.6)
    found = count(net, x)
    with torch.no_grad():
        y = net(x)[0]
    fan_out = 8 if kind is True else 7
    assert y.sum() > 0
    assert found.dense == 14 * (5 * 8 + 8 * 8)
    assert found.acs == x.sum() * 8 + y[:-1].sum() * fan_out


def test_a_gru_counts_its_hidden_weights():
    net, x = network({"gru": {"type": "gru", "hidden_size": 4}}, (5,)), spikes(7, 2, 5)
    found = count(net, x)
    assert found.dense == 14 * (12 * 5 + 12 * 4)
    assert (found.macs, found.acs) == (14 * 12 * 4, x.sum() * 12)


def test_layers_in_blocks_and_loops_count_too():
    inner = {"fc": {"type": "linear", "out_features": 5, "bias": False}, "lif": {"type": "lif", "tau_mem": 20.0}}
    net, x = network({"block": {"type": "residual", "layers": inner}}, (5,)), spikes(7, 2, 5)
    assert count(net, x).acs == x.sum() * 5
    back = {"from": "lif", "to": "fc", "layers": {"back": {"type": "linear", "out_features": 5, "bias": False}}}
    net = network({"loop": {"type": "loop", "layers": inner, "feedback": back}}, (5,))
    assert count(net, x).dense == 14 * 2 * 25


@pytest.mark.parametrize("values", [[0.0, 1.0], [0.0, 1.0, -1.0], [0.0, 0.5, 1.0], [0.0, 2.0]])
def test_the_compiled_loop_equals_torch(values: list[float]):
    rng = torch.Generator().manual_seed(0)
    x = torch.tensor(values)[torch.randint(0, len(values), (50, 3), generator=rng)]
    valid = torch.rand(50, generator=rng) < 0.7
    # Half precision, as on a GPU, is counted by torch.
    assert torch.equal(count_nonzero_steps(x, valid), count_nonzero_steps(x.half(), valid))
    assert count_nonzero_steps(x, valid).sum() == ((x != 0) & valid[:, None]).sum()


def test_bytes_are_those_of_parameters_and_buffers():
    net = network({"fc": {"type": "linear", "out_features": 8}, "norm": {"type": "batch_norm"}}, (5,))
    assert footprint_bytes(net) == 4 * (5 * 8 + 8 + 4 * 8) + 8


class Own(torch.nn.Module):
    """A user-defined layer with a nested layer."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = torch.nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return 2 * self.fc(x)


def test_totals_are_none_for_weights_of_unknown_use():
    net = Network({"fc": torch.nn.Linear(3, 3), "own": Own()})
    with torch.no_grad(), count_operations(net) as operations:
        net(spikes(4, 2, 3), counts={})
    assert operations.totals() is None


@pytest.mark.parametrize("several", ["one", "several"])
def test_nonzero_outputs_are_counted_with_and_without_graded_spikes(several: str):
    neuron = {"type": "lif", "spikes": several, "tau_mem": 20.0, "v_threshold": 0.1}
    layers = {"flatten": {"type": "flatten"}, "fc": {"type": "linear", "out_features": 40}, "neuron": neuron}
    net, x = network(layers), 4.0 * spikes(6, 2, *SHAPE)
    lengths = torch.tensor([6, 3])
    y = net(x, lengths=lengths)[0]
    assert (y.max() > 1) == (several == "several")
    assert count(net, x, lengths).active == y.count_nonzero()


def test_each_weight_with_a_delay_costs_an_operation_for_each_spike_of_its_source():
    delay = {"max": 20.0, "learn": True}
    layers = {
        "fc": {"type": "linear", "out_features": 8, "bias": False, "delay": delay | {"count": 2}},
        "lif": {"type": "lif", "tau_mem": 20.0, "v_threshold": 0.2, "recurrent": {"delay": delay}},
        "axon": {"type": "delay", "delay": delay},
        "out": {"type": "linear", "out_features": 3},
    }
    net, x = network(layers, (4,)), spikes(6, 2, 4)
    with torch.no_grad():
        fired, _ = net.get_submodule("lif")(net.get_submodule("fc")(x)[0], counts={})
        arrived, _ = net.get_submodule("axon")(fired)
    found = count(net, x)
    assert found.macs == 0
    assert found.acs == 8 * 2 * x.sum() + 8 * fired[:-1].sum() + 3 * arrived.sum()
    assert found.dense == 12 * (4 * 8 * 2 + 8 * 8 + 8 * 3)
