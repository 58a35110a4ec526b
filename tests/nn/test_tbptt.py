"""Truncated backpropagation through time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from snnlab.nn import Network, build_network
from snnlab.nn.tbptt import run_windows

Layers = Mapping[str, Mapping[str, Any]]
STEPS, BATCH, SHAPE = 11, 4, (2, 9, 8)
CONV = {"type": "conv2d", "out_channels": 4, "kernel_size": 3}
LIF = {"type": "lif", "v_threshold": 0.4}
END = {"flatten": {"type": "flatten"}, "out": {"type": "linear", "out_features": 5}, "readout": {"type": "li"}}
NETWORKS: dict[str, Layers] = {
    "conv": {"conv": CONV, "lif": {**LIF, "learn": ["tau_mem"]}, "pool": {"type": "max_pool", "kernel_size": 2}, **END},
    "norm": {"conv": CONV, "norm": {"type": "batch_norm"}, "lif": LIF, **END},
    "dropout": {"conv": CONV, "lif": LIF, "drop": {"type": "dropout", "p": 0.3}, **END},
    "recurrent": {
        "flatten1": {"type": "flatten"},
        "fc": {"type": "linear", "out_features": 12},
        "alif": {"type": "alif", "v_threshold": 0.4, "recurrent": True},
        "out": END["out"],
        "readout": END["readout"],
    },
    "block": {"block": {"type": "sequential", "layers": {"conv": CONV, "lif": LIF}}, **END},
}
LENGTHS = torch.tensor([11, 3, 7, 0])


def network(layers: Layers) -> Network:
    torch.manual_seed(0)
    return build_network(layers, in_shape=SHAPE, dt=5.0).network


def frames() -> Tensor:
    return (torch.rand(STEPS, BATCH, *SHAPE, generator=torch.Generator().manual_seed(1)) < 0.3).float()


def targets() -> Tensor:
    return torch.randint(5, (STEPS, BATCH), generator=torch.Generator().manual_seed(2))


def loss_of(y: Tensor, steps: slice = slice(None)) -> Tensor:
    each = functional.cross_entropy(y.flatten(0, 1), targets().flatten(), reduction="none").view(STEPS, BATCH)
    return each[steps].sum()


def gradients(net: Network) -> dict[str, Tensor]:
    found = {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}
    net.zero_grad(set_to_none=True)
    return found


def assert_same(one: Mapping[str, Tensor], other: Mapping[str, Tensor], exactly: bool) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], rtol=0 if exactly else 1e-4, atol=0 if exactly else 1e-6)


@pytest.mark.parametrize(
    ("layers", "steps", "lengths"),
    [(layers, STEPS + 5 * (at % 2), (None, LENGTHS)[at // 2 % 2]) for at, layers in enumerate(NETWORKS.values())],
    ids=NETWORKS,
)
def test_a_window_of_all_steps_is_full_backpropagation_bit_for_bit(
    layers: Layers, steps: int, lengths: Tensor | None
) -> None:
    found = []
    for window in (steps, None):
        net, counts = network(layers), dict[str, Tensor]()
        torch.manual_seed(3)
        if window is None:
            y = net(frames(), lengths=lengths, counts=counts)[0]
        else:
            y = run_windows(net, frames(), window, lengths=lengths, counts=counts)
        (loss_of(y) + sum(n.square().mean() for n in counts.values())).backward()
        found.append({"y": y.detach(), **gradients(net), **{f"counts {k}": n.detach() for k, n in counts.items()}})
    assert_same(*found, exactly=True)


@pytest.mark.parametrize("layers", [layers for name, layers in NETWORKS.items() if name != "norm"])
def test_output_and_counts_are_those_of_the_whole(layers: Layers) -> None:
    found, lengths = [], LENGTHS
    for window in (4, STEPS):
        net, counts = network(layers), dict[str, Tensor]()
        torch.manual_seed(3)
        y = run_windows(net, frames(), window, lengths=lengths, counts=counts)
        found.append({"y": y.detach(), **{name: n.detach() for name, n in counts.items()}})
    assert any(n.sum() > 0 for name, n in found[0].items() if name != "y")
    assert_same(*found, exactly=False)


@pytest.mark.parametrize("layers", [layers for name, layers in NETWORKS.items() if name != "norm"])
def test_a_loss_of_the_first_window_has_the_full_gradient(layers: Layers) -> None:
    found = []
    for window in (4, STEPS):
        net = network(layers)
        torch.manual_seed(3)
        loss_of(run_windows(net, frames(), window), slice(0, 4)).backward()
        found.append(gradients(net))
    assert_same(*found, exactly=False)


@pytest.mark.parametrize("name", ["conv", "recurrent", "block"])
def test_the_gradient_is_that_of_windows_written_out_with_the_state_detached(name: str) -> None:
    net = network(NETWORKS[name])
    loss_of(run_windows(net, frames(), 4)).backward()
    found = gradients(net)
    outputs, state = [], None
    for window in frames().split(4):
        y, state = net(window, state)
        state = {key: detached(part) for key, part in state.items()}
        outputs.append(y)
    loss_of(torch.cat(outputs)).backward()
    assert_same(found, gradients(net), exactly=False)
    loss_of(net(frames())[0]).backward()
    full = gradients(net)
    assert any(not torch.allclose(full[key], value, rtol=1e-3) for key, value in found.items())


def detached(part: Any) -> Any:
    if isinstance(part, Tensor):
        return part.detach()
    if isinstance(part, dict):
        return {key: detached(value) for key, value in part.items()}
    return type(part)(*map(detached, part))


def test_batch_norm_sees_each_window_once() -> None:
    net = network(NETWORKS["norm"])
    loss_of(run_windows(net, frames(), 4)).backward()
    assert int(net.get_buffer("norm.num_batches_tracked")) == 3


def test_it_works_with_checkpoint_segments() -> None:
    found = []
    for segments in (None, 2):
        net = network(NETWORKS["conv"])
        if segments is not None:
            net.configure(checkpoint_segments=segments)
        loss_of(run_windows(net, frames(), 5)).backward()
        found.append(gradients(net))
    assert_same(*found, exactly=False)


def test_without_a_gradient_there_are_no_windows() -> None:
    net = network(NETWORKS["norm"])
    with torch.no_grad():
        y = run_windows(net, frames(), 4)
    assert torch.equal(y, network(NETWORKS["norm"])(frames())[0])
