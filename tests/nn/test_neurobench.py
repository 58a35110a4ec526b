"""NeuroBench counts the same, on the same network and on an equal network in snnTorch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from snnlab.nn import build_network
from snnlab.nn.network import Network
from snnlab.nn.operations import OperationCounts, connection_sparsity, count_operations, footprint_bytes

pytestmark = pytest.mark.peers

SHAPE = (2, 12, 11)
IMAGES: dict[str, dict[str, Any]] = {
    "strided": {"type": "conv2d", "out_channels": 5, "kernel_size": 3, "padding": 1, "stride": 2},
    "lif1": {"type": "lif", "tau_mem": 20.0, "v_threshold": 0.3},
    "grouped": {"type": "conv2d", "out_channels": 10, "kernel_size": 3, "padding": "same", "dilation": 2, "groups": 5},
    "lif2": {"type": "lif", "tau_mem": 20.0, "v_threshold": 0.2},
    "pool": {"type": "avg_pool", "kernel_size": 2},
    "around": {"type": "conv2d", "out_channels": 4, "kernel_size": 3, "padding": 1, "padding_mode": "circular"},
    "lif3": {"type": "lif", "tau_mem": 20.0, "v_threshold": 0.2},
    "flatten": {"type": "flatten"},
    "fc": {"type": "linear", "out_features": 6},
    "relu": {"type": "relu"},
    "out": {"type": "linear", "out_features": 3, "bias": False},
}
ROWS: dict[str, dict[str, Any]] = {
    "conv": {"type": "conv1d", "out_channels": 6, "kernel_size": 5, "padding": 2},
    "lif": {"type": "lif", "tau_mem": 20.0, "v_threshold": 0.2},
    "flatten": {"type": "flatten"},
    "out": {"type": "linear", "out_features": 3},
}


SEVERAL_A_STEP: dict[str, dict[str, Any]] = {
    "fc": {"type": "linear", "out_features": 10},
    "several": {"type": "lif", "spikes": "several", "tau_mem": "5 steps", "input_gain": 8.0},
    "out": {"type": "linear", "out_features": 4},
    "last": {"type": "lif", "tau_mem": 20.0, "v_threshold": 0.3},
}


class Outputs(torch.nn.Identity):
    """The output of neurons, as an activation that NeuroBench can hook."""


def by_neurobench(network: Network, x: Tensor) -> dict[str, Any]:
    """Count with NeuroBench, one recording and one step at a time: it judges the inputs of a batch together."""
    from neurobench.benchmarks import Benchmark
    from neurobench.metrics.static import ConnectionSparsity, Footprint
    from neurobench.metrics.workload import ActivationSparsity, SynapticOperations
    from neurobench.models import NeuroBenchModel

    class Stepped(NeuroBenchModel):
        def __call__(self, batch: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
            state, outputs = None, []
            for step in batch.transpose(0, 1).split(1):
                y, state = network(step, state)
                outputs.append(y[0])
            return torch.stack(outputs, 1)

        def __net__(self) -> Network:  # pyright: ignore[reportIncompatibleMethodOverride]
            return network

    samples = x.transpose(0, 1)
    recordings = torch.utils.data.TensorDataset(samples, torch.zeros(len(samples)))
    loader = torch.utils.data.DataLoader(recordings, batch_size=1)
    with torch.no_grad():
        metrics = [[Footprint, ConnectionSparsity], [SynapticOperations, ActivationSparsity]]
        model = Stepped()
        model.add_activation_module(Outputs)
        return Benchmark(model, loader, [], [], metrics).run(quiet=True)


def ours(network: Network, x: Tensor) -> OperationCounts:
    with torch.no_grad(), count_operations(network) as operations:
        network(x, counts={})
        found = operations.totals()
    assert found is not None
    return found


@pytest.mark.parametrize(("layers", "shape"), [(IMAGES, SHAPE), (ROWS, (2, 14))])
@pytest.mark.parametrize("largest", [1, 3])
def test_operations_are_those_of_neurobench_on_the_same_network(
    layers: dict[str, Any], shape: tuple[int, ...], largest: int
):
    pytest.importorskip("neurobench", reason="NeuroBench is not there")
    network = build_network(layers, in_shape=shape, dt=10.0, num_steps=7).network.eval()
    with torch.no_grad():
        for weight in (p for p in network.parameters() if p.dim() > 1):
            weight *= torch.rand_like(weight) < 0.7  # pruned
    x = torch.randint(0, largest + 1, (7, 3, *shape)).float() * (torch.rand(7, 3, *shape) < 0.2)
    theirs, found = by_neurobench(network, x), ours(network, x)
    metrics = found.metrics("test")
    assert found.acs > 0
    assert (found.macs > 0) == (largest > 1 or layers is IMAGES)
    assert theirs["SynapticOperations"] == {
        "Effective_MACs": metrics["test/synops_macs"],
        "Effective_ACs": metrics["test/synops_acs"],
        "Dense": metrics["test/synops_dense"],
    }
    assert theirs["Footprint"] == footprint_bytes(network)
    assert theirs["ConnectionSparsity"] == pytest.approx(connection_sparsity(network), abs=5e-5)


def test_nonzero_outputs_equal_neurobench_for_several_spikes_a_step():
    pytest.importorskip("neurobench", reason="NeuroBench is not there")
    network = build_network(SEVERAL_A_STEP, in_shape=(8,), dt=10.0).network.eval()
    x = (torch.rand(9, 3, 8) < 0.5).float() * 3
    shown = Network({"several": network.get_submodule("several"), "outputs": Outputs()})
    seen = {"fc": network.get_submodule("fc"), "shown": shown, "out": network.get_submodule("out")}
    theirs = by_neurobench(Network({**seen, "last": network.get_submodule("last"), "outputs": Outputs()}), x)
    found, counts = ours(network, x), dict[str, Tensor]()
    with torch.no_grad():
        network(x, counts=counts)
    assert sum(float(n.sum()) for n in counts.values()) > found.active > 0  # several in one output
    assert found.outputs == 9 * 3 * 14
    sparsity = found.metrics("test")["test/activation_sparsity"]
    assert 0 < sparsity < 1
    assert theirs["ActivationSparsity"] == pytest.approx(sparsity)


def test_the_same_network_in_snntorch_has_the_same_operations():
    pytest.importorskip("neurobench", reason="NeuroBench is not there")
    import snntorch
    from neurobench.benchmarks import Benchmark
    from neurobench.metrics.workload import ActivationSparsity, MembraneUpdates, SynapticOperations
    from neurobench.models import SNNTorchModel

    leaky = {"type": "lif", "beta": 0.9, "input_gain": 1.0, "reset_delay": True, "threshold": "strict"}
    layers = {
        "fc": {"type": "linear", "out_features": 12},
        "lif1": leaky,
        "out": {"type": "linear", "out_features": 4},
        "lif2": leaky,
    }
    network = build_network(layers, in_shape=(8,), dt=10.0).network.eval()
    equal_network = torch.nn.Sequential(
        network.get_submodule("fc"), snntorch.Leaky(0.9, init_hidden=True),
        network.get_submodule("out"), snntorch.Leaky(0.9, init_hidden=True, output=True),
    )  # fmt: skip
    x = (torch.rand(9, 3, 8) < 0.6).float()
    recordings = torch.utils.data.TensorDataset(x.transpose(0, 1), torch.zeros(3))
    loader = torch.utils.data.DataLoader(recordings, batch_size=1)
    metrics = [[], [SynapticOperations, ActivationSparsity, MembraneUpdates]]
    with torch.no_grad():
        theirs = Benchmark(SNNTorchModel(equal_network), loader, [], [], metrics).run(quiet=True)
    found = ours(network, x)
    values = found.metrics("test")
    assert 0 < found.active < found.outputs
    assert theirs["SynapticOperations"]["Effective_ACs"] == values["test/synops_acs"]
    assert theirs["SynapticOperations"]["Dense"] == values["test/synops_dense"]
    assert theirs["ActivationSparsity"] == pytest.approx(values["test/activation_sparsity"])
    # NeuroBench does not count a membrane that does not change; with biases all change.
    assert theirs["MembraneUpdates"] == values["test/membrane_updates"]
