"""Neurons fused with their pooling, or working in the memory of their input, give the same results."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from snnlab.errors import SnnlabError
from snnlab.nn import Network, build_network
from snnlab.nn.network import NetworkState
from snnlab.nn.neurons.base import set_backend
from snnlab.nn.stages import CompactMaxPool, FusedNeuron, Stage

from ..refusals import assert_raises, assert_text_has

Node = Mapping[str, Any]

# An odd size, so that pooling drops a row and a column.
SHAPE = (2, 13, 11)
STEPS, BATCH = 7, 5

CONV: Node = {"type": "conv2d", "out_channels": 6, "kernel_size": 3}
POOLS: dict[str, Node] = {
    "max": {"type": "max_pool", "kernel_size": 2},
    "average": {"type": "avg_pool", "kernel_size": 2},
    "max of 3": {"type": "max_pool", "kernel_size": 3},
    "average of 3": {"type": "avg_pool", "kernel_size": 3},
}
NEURONS: dict[str, Node] = {
    "lif": {"type": "lif", "tau_mem": 20.0},
    "value": {"type": "lif", "reset": "value", "detach_reset": False},
    "late": {"type": "lif", "reset_delay": True, "detach_reset": False},
    "learned": {"type": "lif", "learn": {"tau_mem": "channel", "v_threshold": "neuron"}},
    "cuba": {"type": "cuba_lif", "input_gain": 1.0, "learn": ["tau_syn"]},
    "decay": {"type": "cuba_lif", "synapse": "decay_first", "input_gain": 1.0, "learn": ["tau_syn", "tau_mem"]},
    "gain": {"type": "iaf", "learn": ["v_threshold"]},
}


def network(neuron: Node, pool: Node, backend: str = "numba", *, fuses: bool = True) -> Network:
    """Return a network of two such layers, always with the same weights."""
    torch.manual_seed(0)
    layers = {"conv1": CONV, "n1": neuron, "pool1": pool, "conv2": CONV, "n2": neuron, "flatten": {"type": "flatten"}}
    built = build_network(layers, in_shape=SHAPE, dt=5.0).network
    with torch.no_grad():  # so that the neurons of the second layer spike for any pooling
        built.get_parameter("conv2.weight").mul_(10.0)
    set_backend(built, backend)  # pyright: ignore[reportArgumentType]
    built.configure(fuse=fuses)
    return built


def stages(net: Network) -> dict[str, Stage]:
    """Return the stages by name."""
    return {stage.name: stage for stage in net.plan(frames()).stages}


def frames() -> Tensor:
    """Return frames in channels-last memory."""
    x = torch.randn(STEPS * BATCH, *SHAPE, generator=torch.Generator().manual_seed(1)) * 3
    return x.to(memory_format=torch.channels_last).unflatten(0, (STEPS, BATCH))


def answer(net: Network, lengths: Tensor | None) -> tuple[Tensor, NetworkState, dict[str, Tensor], dict[str, Tensor]]:
    """Return output, state, counts, and gradients of a loss of all of them."""
    counts: dict[str, Tensor] = {}
    y, state = net(frames(), lengths=lengths, counts=counts)
    weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(2))
    loss = (y * weights).sum() + sum(n.square().mean() for n in counts.values()) + state["n1"].v.square().mean()
    loss.backward()
    gradients = {name: p.grad for name, p in net.named_parameters() if p.grad is not None}
    return y, state, counts, gradients


@pytest.mark.compiled
@pytest.mark.parametrize(
    ("kind", "pooling"),
    [
        pytest.param(kind, list(POOLS)[at % 4], marks=[pytest.mark.slow] * (at > 0))
        for at, kind in enumerate([*NEURONS, "late", "learned"])
    ],
)
def test_it_is_the_same_network(kind: str, pooling: str) -> None:
    neuron, pool = NEURONS[kind], POOLS[pooling]
    lengths = None if pooling == "average" else torch.tensor([7, 0, 3, 1, 9])
    y, state, counts, gradients = answer(network(neuron, pool), lengths)
    expected = answer(network(neuron, pool, "reference"), lengths)
    assert y.count_nonzero() > y.numel() / 50
    assert torch.equal(y, expected[0])
    for name, part in expected[1].items():
        assert all(torch.equal(a, b) for a, b in zip(state[name], part, strict=True)), name
    assert counts.keys() == expected[2].keys() == {"n1", "n2"}
    assert all(torch.equal(counts[name], n) for name, n in expected[2].items())
    assert gradients.keys() == expected[3].keys()
    for name, gradient in expected[3].items():
        error = (gradients[name] - gradient).abs().max() / gradient.abs().max()
        assert error < 1e-4, f"{name} is off by {error:.1e}"


@pytest.mark.long
@pytest.mark.compiled
@pytest.mark.parametrize("threads", [1])
def test_gradients_do_not_depend_on_the_threads(threads: int) -> None:
    before = torch.get_num_threads()
    found = []
    for of in (threads, 3):
        torch.set_num_threads(of)
        net = network(NEURONS["learned"], POOLS["max"])
        x = torch.rand(STEPS, 40, 6, 11, 9, generator=torch.Generator().manual_seed(3))
        y, _ = net.get_submodule("n1")(x)
        y.sum().backward()
        found.append([p.grad for p in net.parameters() if p.grad is not None])
    torch.set_num_threads(before)
    assert found[0]
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_fusion_does_not_change_names_and_state_dict() -> None:
    net = network(NEURONS["lif"], POOLS["max"])
    net.configure(sparse_input="never")
    ways = stages(net)
    assert list(ways) == ["conv1", "n1", "conv2", "n2", "flatten"]
    assert isinstance(ways["n1"], FusedNeuron)
    assert ways["n1"].pooling == ("pool1", net.get_submodule("pool1"))
    assert ways["n1"].inplace
    assert isinstance(ways["n2"], FusedNeuron)
    assert ways["n2"].pool is None
    assert [name for name, _ in net.layers()] == ["conv1", "n1", "pool1", "conv2", "n2", "flatten"]
    assert net.state_dict().keys() == network(NEURONS["lif"], POOLS["max"], "reference").state_dict().keys()


@pytest.mark.parametrize("hooked", ["n1", "pool1", "conv1"])
def test_a_layer_with_a_hook_is_not_fused(hooked: str) -> None:
    seen: list[Tensor] = []

    def see(_: nn.Module, __: Any, y: Any) -> None:
        seen.append(y[0] if isinstance(y, tuple) else y)

    net, plain = network(NEURONS["lif"], POOLS["max"]), network(NEURONS["lif"], POOLS["max"], fuses=False)
    for each in (net, plain):
        each.get_submodule(hooked).register_forward_hook(see)
        each(frames())
    assert len(seen) == 2
    assert torch.equal(*seen)


def test_it_can_be_switched_off() -> None:
    net = network(NEURONS["lif"], POOLS["max"], fuses=False)
    assert list(stages(net)) == [name for name, _ in net.layers()]


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"stride": 1}, "squares"),
        ({"padding": 1}, "squares"),
        ({"kernel_size": (2, 3)}, "squares"),
        ({"ceil_mode": True}, "squares"),
    ],
)
def test_other_poolings_are_not_fused_and_the_log_says_why(
    settings: dict[str, Any], why: str, caplog: pytest.LogCaptureFixture
) -> None:
    net = network(NEURONS["lif"], {**POOLS["max"], **settings})
    with caplog.at_level(logging.DEBUG, logger="snnlab"):
        y, _ = net(frames())
    assert_text_has(caplog.text, "pool1", why)
    assert torch.equal(y, network(NEURONS["lif"], {**POOLS["max"], **settings}, fuses=False)(frames())[0])


OVERLAPPING: Node = {"type": "max_pool", "kernel_size": 3, "stride": 2, "padding": 1}


def test_a_max_pooling_that_is_not_fused_saves_bytes_and_gives_the_same_gradients() -> None:
    net = network(NEURONS["lif"], OVERLAPPING)
    assert isinstance(stages(net)["pool1"], CompactMaxPool)
    y, _, _, gradients = answer(net, torch.tensor([7, 0, 3, 1, 9]))
    expected = answer(network(NEURONS["lif"], OVERLAPPING, fuses=False), torch.tensor([7, 0, 3, 1, 9]))
    assert torch.equal(y, expected[0])
    for name, gradient in expected[3].items():
        torch.testing.assert_close(gradients[name], gradient)


def _hook(net: Network) -> None:
    net.get_submodule("pool1").register_forward_hook(lambda *_: None)


@pytest.mark.parametrize(
    "change",
    [
        _hook,
        lambda net: net.configure(fuse=False),
        lambda net: set_backend(net, "reference"),
        lambda net: setattr(net, "n1", nn.ReLU()) or setattr(net, "n2", nn.ReLU()),
        lambda net: setattr(net.pool1, "ceil_mode", True),
        lambda net: setattr(net.pool1, "dilation", 2),
    ],
    ids=["hook", "not fused", "reference", "no neurons", "ceil_mode", "dilation"],
)
def test_torch_runs_a_max_pooling_otherwise(change: Callable[[Any], None]) -> None:
    net = network(NEURONS["lif"], OVERLAPPING)
    change(net)
    assert type(stages(net)["pool1"]) is Stage
    with torch.no_grad():
        assert type(stages(network(NEURONS["lif"], OVERLAPPING))["pool1"]) is Stage


def test_an_input_in_other_memory_format_is_not_fused() -> None:
    net = network(NEURONS["lif"], POOLS["max"])
    neuron, pool = net.get_submodule("n1"), net.get_submodule("pool1")
    net = Network({"n1": neuron, "pool1": pool})
    x = torch.randn(STEPS, BATCH, 6, 11, 9)
    y, _ = net(x)
    assert torch.equal(y, F.max_pool2d(neuron(x)[0].flatten(0, 1), 2).unflatten(0, (STEPS, BATCH)))


def test_the_input_of_the_network_is_never_written_over() -> None:
    net = Network({"n1": network(NEURONS["lif"], POOLS["max"]).get_submodule("n1")})
    x = torch.randn(STEPS, BATCH, 6, 11, 9, requires_grad=True)
    before = x.detach().clone()
    net(x)[0].sum().backward()
    assert torch.equal(x, before)


def test_a_second_backward_pass_through_the_same_graph_gives_the_same() -> None:
    net = network(NEURONS["value"], POOLS["max"])
    y = net(frames())[0].sum()
    once, again, last = (
        torch.autograd.grad(y, list(net.parameters()), retain_graph=keep) for keep in (True, True, False)
    )
    for gradients in zip(once, again, last, strict=True):
        assert gradients[0].any()
        assert all(torch.equal(gradients[0], other) for other in gradients[1:])


def test_a_second_derivative_is_rejected() -> None:
    net = network(NEURONS["lif"], POOLS["max"])
    first = next(net.parameters())
    (gradient,) = torch.autograd.grad(net(frames())[0].sum(), [first])
    assert not gradient.requires_grad
    with assert_raises(SnnlabError, "", "backend"):
        torch.autograd.grad(net(frames())[0].sum(), [first], create_graph=True)


def test_the_output_of_a_user_defined_convolution_is_not_overwritten() -> None:
    class Mine(nn.Conv2d):
        def forward(self, input: Tensor) -> Tensor:
            self.kept = super().forward(input)
            return self.kept

    net = network(NEURONS["lif"], POOLS["max"])
    ways = stages(Network({"conv1": Mine(2, 6, 3), "n1": net.get_submodule("n1")}))
    assert isinstance(ways["n1"], FusedNeuron)
    assert not ways["n1"].inplace
