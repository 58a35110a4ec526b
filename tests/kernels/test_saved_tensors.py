"""Tensors saved for the backward pass are freed with the graph, and earlier with checkpointing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from snnlab.kernels import events, spike_conv
from snnlab.nn import Network, build_network
from snnlab.nn.neurons.base import set_backend

pytestmark = pytest.mark.compiled

STEPS, BATCH = 6, 4


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make small networks use all kernels."""
    monkeypatch.setattr(spike_conv, "SMALL", 1)
    monkeypatch.setattr(spike_conv, "FEW", 1.0)
    monkeypatch.setattr(spike_conv, "GAIN", 100.0)
    monkeypatch.setattr(events, "MAX_SAVED", 1)
    monkeypatch.setattr(events, "TIME_BLOCK", 2 * BATCH * 8 * 10 * 10)


def network() -> Network:
    torch.manual_seed(0)
    conv = {"type": "conv2d", "out_channels": 8, "kernel_size": 3, "bias": False}
    lif = {"type": "lif", "tau_mem": 20.0}
    layers = {"conv1": conv, "n1": lif, "conv2": conv, "n2": lif}
    built = build_network(layers, in_shape=(2, 12, 12), dt=5.0).network
    set_backend(built, "numba")
    built.configure(sparse_input="always")
    return built


def frames() -> Tensor:
    return (torch.rand(STEPS, BATCH, 2, 12, 12, generator=torch.Generator().manual_seed(1)) < 0.1).float()


def test_no_node_of_the_graph_holds_arrays_or_tensors_besides_saved_ones() -> None:
    y, _ = network()(frames())
    nodes, seen = [y.grad_fn], set()
    while nodes:
        node = nodes.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        nodes += [following for following, _ in node.next_functions]
        for name, value in vars(node).items() if hasattr(node, "__dict__") else ():
            for part in value if isinstance(value, list | tuple) else [value]:
                # The lengths: one number for each sample.
                assert not isinstance(part, Tensor) or part.numel() <= 1, name
                assert not isinstance(part, np.ndarray) or part.size <= BATCH, name
    assert {"_LoopFunctionBackward", "_ConvolutionBackward"} <= {type(node).__name__ for node in seen}


@pytest.mark.long
def test_saved_tensors_go_through_checkpoint_hooks() -> None:
    kinds: set[torch.dtype] = set()

    def pack(saved: Tensor) -> Tensor:
        kinds.add(saved.dtype)
        return saved.clone()

    net = network()
    net(frames())[0].sum().backward()
    expected = [p.grad.clone() for p in net.parameters() if p.grad is not None]
    net.zero_grad()
    with saved_tensors_hooks(pack, lambda saved: saved):
        y, _ = net(frames())
    y.sum().backward()
    assert {torch.int32, torch.int64} <= kinds
    assert all(torch.equal(p.grad, e) for p, e in zip(net.parameters(), expected, strict=True) if p.grad is not None)
