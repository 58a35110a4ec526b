"""A convolution that processes only spikes gives the same result."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from snnlab.kernels import spike_conv
from snnlab.nn import Network, build_network
from snnlab.nn.neurons.base import set_backend
from snnlab.nn.stages import SpikeConvolution

from ..marks import mostly_long

pytestmark = pytest.mark.compiled

Node = Mapping[str, Any]

SHAPE = (2, 14, 13)
STEPS, BATCH = 7, 5
LIF: Node = {"type": "lif", "tau_mem": 20.0}
CONV: Node = {"type": "conv2d", "out_channels": 16, "kernel_size": 3, "bias": False}
BETWEEN: dict[str, Mapping[str, Node]] = {
    "nothing": {},
    "max pooling": {"pool1": {"type": "max_pool", "kernel_size": 2}},
    "average pooling": {"pool1": {"type": "avg_pool", "kernel_size": 2}},
}


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Use the sparse loops for all supported convolutions, and return whether the spikes of each call were few."""
    taken: list[bool] = []
    few = spike_conv._find_spikes

    def seen(x: Tensor, _: float) -> spike_conv.SparseFrames | None:
        taken.append(True)
        return few(x, 1.0)

    monkeypatch.setattr(spike_conv, "SMALL", 1)
    monkeypatch.setattr(spike_conv, "GAIN", 100.0)
    monkeypatch.setattr(spike_conv, "_find_spikes", seen)
    return taken


def network(between: Mapping[str, Node], conv2: Node = CONV, *, fuses: bool = True) -> Network:
    """Return a network with exact sums: its weights are multiples of 1/8."""
    torch.manual_seed(0)
    layers = {"conv1": {**CONV, "out_channels": 12}, "n1": LIF, **between, "conv2": conv2, "n2": LIF}
    built = build_network(layers, in_shape=SHAPE, dt=5.0).network
    with torch.no_grad():
        for name in ("conv1", "conv2"):
            weight = built.get_submodule(name).get_parameter("weight")
            weight.copy_((torch.randn(weight.shape) * 8).round() / 8)
    set_backend(built, "numba")
    built.configure(fuse=fuses, sparse_input="never")
    return built


def frames() -> Tensor:
    """Return frames of events."""
    return (torch.rand(STEPS, BATCH, *SHAPE, generator=torch.Generator().manual_seed(1)) < 0.1).float()


def answer(net: Network) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
    """Return outputs, counts and gradients."""
    x = frames()
    counts: dict[str, Tensor] = {}
    y, _ = net(x, counts=counts)
    (y * torch.randn(y.shape, generator=torch.Generator().manual_seed(2))).sum().backward()
    return y, counts, {name: p.grad for name, p in net.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("segments", [0, 3], ids=["kept", "recomputed"])
@pytest.mark.parametrize("between", mostly_long([pytest.param(one, id=name) for name, one in BETWEEN.items()], 1))
def test_it_is_the_same_network(between: Mapping[str, Node], segments: int, always: list[bool]) -> None:
    net, plain = network(between), network(between, fuses=False)
    net.configure(checkpoint_segments=segments)
    y, counts, gradients = answer(net)
    assert always
    expected, of_counts, of_gradients = answer(plain)
    assert y.count_nonzero() > 50
    assert torch.equal(y, expected)
    assert all(torch.equal(counts[name], n) for name, n in of_counts.items())
    assert gradients.keys() == of_gradients.keys()
    for name, gradient in of_gradients.items():
        error = (gradients[name] - gradient).abs().max() / gradient.abs().max()
        assert error < 1e-4, f"{name} is off by {error:.1e}"


def test_the_spikes_are_those_of_the_last_neuron() -> None:
    net = network(BETWEEN["max pooling"])
    ways = {stage.name: stage for stage in net.plan(frames()).stages}
    assert list(ways) == ["conv1", "n1", "conv2", "n2"]
    assert isinstance(ways["conv2"], SpikeConvolution)
    assert ways["conv2"].layer is net.get_submodule("conv2")
    assert not isinstance(ways["conv1"], SpikeConvolution)


@pytest.mark.parametrize(
    ("between", "conv2"),
    [
        ({"norm": {"type": "batch_norm"}}, CONV),
        ({}, {**CONV, "stride": 2}),
        ({}, {**CONV, "dilation": 2}),
        ({}, {**CONV, "groups": 2}),
    ],
    ids=["batch norm", "stride", "dilation", "groups"],
)
def test_other_inputs_and_convolutions_are_not_sparse(between: Mapping[str, Node], conv2: Node) -> None:
    net = network(between, conv2)
    assert not any(isinstance(stage, SpikeConvolution) for stage in net.plan(frames()).stages)


def test_a_convolution_with_a_hook_is_not_sparse(always: list[bool]) -> None:
    net, seen = network(BETWEEN["max pooling"]), []

    def see(_: nn.Module, __: Any, y: Tensor) -> None:
        seen.append(y.detach().clone())

    net.get_submodule("conv2").register_forward_hook(see)
    y = answer(net)[0]
    assert not always
    assert seen[0].shape == (STEPS * BATCH, 16, 4, 3)
    assert torch.equal(y, answer(network(BETWEEN["max pooling"]))[0])


@pytest.mark.parametrize("backend", ["reference"])
def test_other_backends_use_the_dense_convolution(backend: Any, always: list[bool]) -> None:
    net = network(BETWEEN["max pooling"])
    set_backend(net, backend)
    answer(net)
    assert not always


def test_low_precision_uses_the_dense_convolution(always: list[bool]) -> None:
    net = network(BETWEEN["max pooling"])
    with torch.autocast("cpu", torch.bfloat16):
        answer(net)
    assert not always
