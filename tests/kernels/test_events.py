"""Neurons on events give the same results in blocks of time, and save less memory.

Axes: T steps, B samples.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from snnlab.kernels import events
from snnlab.nn import Network, build_network
from snnlab.nn.neurons.base import set_backend

pytestmark = pytest.mark.compiled

Node = Mapping[str, Any]

SHAPE = (2, 11, 9)
STEPS, BATCH = 11, 3
NEURONS: dict[str, Node] = {
    "lif": {"type": "lif", "tau_mem": 20.0},
    "late": {"type": "lif", "reset_delay": True, "detach_reset": False},
    "late value": {"type": "lif", "reset": "value", "reset_delay": True, "detach_reset": False},
    "value": {"type": "lif", "reset": "value", "detach_reset": False, "learn": ["v_threshold"]},
    "cuba": {"type": "cuba_lif", "input_gain": 1.0, "learn": ["tau_syn", "tau_mem", "v_threshold"]},
    "learned": {"type": "lif", "learn": {"tau_mem": "channel"}},
    "given": {"type": "lif", "surrogate": {"type": "multi_gaussian"}, "reset_delay": True, "detach_reset": False},
}
POOLS: dict[str, Node | None] = {
    "no pool": None,
    "max": {"type": "max_pool", "kernel_size": 2},
    "average": {"type": "avg_pool", "kernel_size": 2},
}


def network(neuron: Node, pool: Node | None) -> Network:
    torch.manual_seed(0)
    layers: dict[str, Node] = {
        "conv1": {"type": "conv2d", "out_channels": 6, "kernel_size": 3, "padding": 1},
        "n1": neuron,
    } | ({} if pool is None else {"pool1": pool})
    built = build_network(layers, in_shape=SHAPE, dt=5.0).network.double()
    with torch.no_grad():
        built.get_parameter("conv1.weight").mul_(4.0)
    set_backend(built, "numba")
    built.configure(sparse_input="always")
    return built


def outputs_and_gradients(net: Network, lengths: Tensor | None) -> tuple[list[Tensor], list[Tensor]]:
    """Return outputs, counts and states, and gradients of the parameters and of the first states."""
    generator = torch.Generator().manual_seed(1)
    x = (torch.rand(STEPS, BATCH, *SHAPE, generator=generator) < 0.1).double()
    with torch.no_grad():
        _, state = net(x)
    before = {"n1": type(state["n1"])(*(part.detach().requires_grad_() for part in state["n1"]))}
    counts: dict[str, Tensor] = {}
    y, after = net(x, before, lengths=lengths, counts=counts)
    parts = [y, *counts.values(), *after["n1"]]
    sums = [(part * torch.randn(part.shape, generator=generator)).sum() for part in parts]
    return parts, list(torch.autograd.grad(torch.stack(sums).sum(), [*net.parameters(), *before["n1"]]))


@pytest.mark.long
@pytest.mark.parametrize(
    ("kind", "pooling"),
    [
        pytest.param(kind, list(POOLS)[at % 3], marks=[pytest.mark.slow] * (at > 0))
        for at, kind in enumerate(("lif", "late", "value", "cuba", "learned", "given"))
    ],
)
def test_blocks_of_time_change_no_spike_and_no_gradient(
    kind: str, pooling: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    neuron, pool = NEURONS[kind], POOLS[pooling]
    lengths = torch.tensor([11, 0, 5]) if pooling != "average" else None
    whole, gradients = outputs_and_gradients(network(neuron, pool), lengths)
    assert whole[0].count_nonzero() > 20
    monkeypatch.setattr(events, "MAX_SAVED", 1)
    monkeypatch.setattr(events, "TIME_BLOCK", 3 * BATCH * 6 * 11 * 9)
    blocks, block_gradients = outputs_and_gradients(network(neuron, pool), lengths)
    assert all(torch.equal(a, b) for a, b in zip(whole, blocks, strict=True))
    for gradient, expected in zip(block_gradients, gradients, strict=True):
        assert torch.allclose(gradient, expected, rtol=1e-9, atol=1e-12 * expected.abs().max().item())


@pytest.mark.long
def test_a_block_of_time_has_at_least_one_step(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, _ = outputs_and_gradients(network(NEURONS["lif"], None), None)
    monkeypatch.setattr(events, "MAX_SAVED", 1)
    monkeypatch.setattr(events, "TIME_BLOCK", 1)
    blocks, _ = outputs_and_gradients(network(NEURONS["lif"], None), None)
    assert torch.equal(whole[0], blocks[0])


@pytest.mark.long
def test_a_second_backward_pass_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "MAX_SAVED", 1)
    monkeypatch.setattr(events, "TIME_BLOCK", 1000)
    net = network(NEURONS["lif"], POOLS["average"])
    x = (torch.rand(STEPS, BATCH, *SHAPE, generator=torch.Generator().manual_seed(1)) < 0.1).double()
    loss = net(x)[0].square().sum()
    weight = net.get_parameter("conv1.weight")
    (once,) = torch.autograd.grad(loss, weight, retain_graph=True)
    (twice,) = torch.autograd.grad(loss, weight)
    assert torch.equal(once, twice)


def test_frames_have_few_events_up_to_the_given_fraction_anywhere() -> None:
    for order in ((0, 1, 2, 3, 4), (0, 1, 4, 2, 3), (1, 0, 2, 3, 4)):
        x = torch.zeros(10, 9, *SHAPE).permute(order)
        for held in (x[0], x[-1]):
            x.zero_()
            held.copy_((torch.arange(held.numel()) < 100).view(held.shape))
            assert events.has_few_events(x, 100 / x.numel())
            held[-1, -1, -1, -1] = float("nan")
            assert not events.has_few_events(x, 100 / x.numel())
