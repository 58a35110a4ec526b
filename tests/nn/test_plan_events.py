"""A first convolution that is summed event by event gives the same result."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from snnlab.event_frames import EventFrames
from snnlab.kernels.events import find_events
from snnlab.nn import Network, build_network
from snnlab.nn.neurons.base import set_backend
from snnlab.nn.stages import FusedEvents

from ..marks import mostly_long

Node = Mapping[str, Any]

SHAPE = (2, 13, 11)
STEPS, BATCH = 7, 5

CONVOLUTIONS: dict[str, Node] = {
    "plain": {"kernel_size": 3},
    "bias": {"kernel_size": 5, "bias": True},
    "padded": {"kernel_size": 5, "padding": 2},
    "uneven": {"kernel_size": (2, 4), "padding": (0, 3), "bias": True},
    "wide": {"kernel_size": 1, "out_channels": 40},
}
POOLS: dict[str, Node | None] = {
    "no pool": None,
    "max": {"type": "max_pool", "kernel_size": 2},
    "average of 3": {"type": "avg_pool", "kernel_size": 3},
    "another": {"type": "max_pool", "kernel_size": 3, "stride": 2},
}
NEURONS: dict[str, Node] = {
    "lif": {"type": "lif", "tau_mem": 20.0},
    "late": {"type": "lif", "reset_delay": True, "detach_reset": False},
    "cuba": {"type": "cuba_lif", "input_gain": 1.0, "learn": ["tau_syn", "v_threshold"]},
    "learned": {"type": "lif", "learn": {"tau_mem": "channel"}},
    # Their gradients need the output of the convolution, which is computed then.
    "filter": {"type": "lif", "input_gain": "1-a", "learn": ["tau_mem"]},
    "decay": {"type": "cuba_lif", "synapse": "decay_first", "input_gain": 1.0, "learn": ["tau_syn"]},
}


def network(convolution: Node, neuron: Node, pool: Node | None, *, events: bool) -> Network:
    """Return a network with exact sums: its weights are multiples of 1/8."""
    torch.manual_seed(0)
    layers: dict[str, Node] = {"conv1": {"type": "conv2d", "out_channels": 6, "bias": False, **convolution}}
    layers |= {"n1": neuron} | ({} if pool is None else {"pool1": pool})
    built = build_network(layers, in_shape=SHAPE, dt=5.0).network
    with torch.no_grad():
        for parameter in built.get_submodule("conv1").parameters():
            parameter.copy_((torch.randn(parameter.shape) * 8).round() / 8)
    set_backend(built, "numba")
    built.configure(sparse_input="always" if events else "never")
    return built


def on_events(net: Network) -> bool:
    """Return whether a network can begin on events."""
    net.configure(sparse_input="always")
    return any(isinstance(stage, FusedEvents) for stage in net.plan(frames()).stages) or net.accepts_event_lists


def frames() -> Tensor:
    """Return frames with few events, some with several in one cell or negative."""
    generator = torch.Generator().manual_seed(1)
    values = torch.randint(-1, 4, (STEPS, BATCH, *SHAPE), generator=generator).float()
    return values * (torch.rand(values.shape, generator=generator) < 0.1)


def answer(
    net: Network, lengths: Tensor | None = None, *, outputs_alone: bool = False
) -> tuple[list[Tensor], dict[str, Tensor]]:
    """Return output, counts and state, and gradients of a loss of all of them or of only the output."""
    counts: dict[str, Tensor] = {}
    y, state = net(frames(), lengths=lengths, counts=counts)
    parts = [y] if outputs_alone else [y, *counts.values(), *state["n1"]]
    weights = (torch.randn(part.shape, generator=torch.Generator().manual_seed(2)) for part in parts)
    torch.stack([(part * weight).sum() for part, weight in zip(parts, weights, strict=True)]).sum().backward()
    return parts, {name: p.grad for name, p in net.named_parameters() if p.grad is not None}


def some(count: int) -> list[Any]:
    """Return names of a convolution, a neuron and a pooling each."""
    names = [list(each) for each in (CONVOLUTIONS, NEURONS, POOLS)]
    return [tuple(each[(at * (1 + n // 2) + n) % len(each)] for n, each in enumerate(names)) for at in range(count)]


@pytest.mark.long
@pytest.mark.compiled
@pytest.mark.parametrize(("conv", "kind", "pooling"), mostly_long(some(4), 1, 0))
def test_it_is_the_same_convolution(conv: str, kind: str, pooling: str) -> None:
    convolution, neuron, pool = CONVOLUTIONS[conv], NEURONS[kind], POOLS[pooling]
    lengths = torch.tensor([7, 0, 3, 1, 9]) if pooling != "another" else None
    parts, gradients = answer(network(convolution, neuron, pool, events=True), lengths)
    expected, of_expected = answer(network(convolution, neuron, pool, events=False), lengths)
    assert parts[0].count_nonzero() > 50
    assert all(torch.equal(a, b) for a, b in zip(parts, expected, strict=True))
    assert_close(gradients, of_expected)


SURROGATES = ("superspike", "atan", "triangle", "rectangular", "sigmoid")


@pytest.mark.long
@pytest.mark.parametrize(
    ("surrogate", "pool", "conv"),
    [("superspike", "average", "bias"), *zip(SURROGATES, [*POOLS, "average"], CONVOLUTIONS, strict=True)],
)
def test_gradients_of_only_the_outputs_are_the_same(surrogate: str, pool: str, conv: str) -> None:
    convolution = CONVOLUTIONS[conv]
    pooling = (POOLS | {"average": {"type": "avg_pool", "kernel_size": 2}})[pool]
    neuron = {**NEURONS["lif"], "surrogate": {"type": surrogate}}
    (parts, gradients), (expected, of_expected) = (
        answer(network(convolution, neuron, pooling, events=events), outputs_alone=True) for events in (True, False)
    )
    assert torch.equal(parts[0], expected[0])
    assert_close(gradients, of_expected)


def assert_close(gradients: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert gradients.keys() == expected.keys()
    for name, gradient in expected.items():
        error = (gradients[name] - gradient).abs().max() / gradient.abs().max()
        assert error < 1e-4, f"{name} is off by {error:.1e}"


def test_without_gradients_it_is_the_same_too() -> None:
    with torch.no_grad():
        pair = [
            network(CONVOLUTIONS["bias"], NEURONS["cuba"], POOLS["max"], events=e)(frames())[0] for e in (True, False)
        ]
    assert torch.equal(*pair)


def test_convolution_neuron_and_pooling_are_one_stage() -> None:
    net = network(CONVOLUTIONS["plain"], NEURONS["lif"], POOLS["max"], events=True)
    (stage,) = net.plan(frames()).stages
    assert isinstance(stage, FusedEvents)
    assert stage.name == "n1"
    assert stage.layers == tuple(net.layers())


def test_frames_that_require_gradients_get_them() -> None:
    x = frames().requires_grad_()
    network(CONVOLUTIONS["plain"], NEURONS["lif"], None, events=True)(x)[0].sum().backward()
    assert x.grad is not None
    assert x.grad.count_nonzero()


def test_a_hook_on_the_convolution_sees_its_output() -> None:
    net = network(CONVOLUTIONS["plain"], NEURONS["lif"], POOLS["max"], events=True)
    expected = net(frames())[0]
    seen: list[Tensor] = []

    def see(_: nn.Module, __: Any, y: Tensor) -> None:
        seen.append(y)

    net.get_submodule("conv1").register_forward_hook(see)
    assert torch.equal(net(frames())[0], expected)
    assert seen[0].shape == (STEPS * BATCH, 6, 11, 9)


@pytest.mark.parametrize(
    "convolution", [{"kernel_size": 3, "stride": 2}, {"kernel_size": 3, "dilation": 2}, {"kernel_size": 3, "groups": 2}]
)
def test_other_convolutions_do_not_run_on_events(convolution: Node) -> None:
    net = build_network(
        {"conv1": {"type": "conv2d", "out_channels": 6, **convolution}, "n1": NEURONS["lif"]}, in_shape=SHAPE, dt=5.0
    )
    assert not on_events(net.network)


@pytest.mark.parametrize(
    ("frame", "dtype"),
    [
        ((3, 13, 11), torch.float32),
        ((1, 13, 11), torch.float32),
        ((2, 2, 2), torch.float32),
        ((2, 13, 11), torch.float64),
    ],
    ids=["more channels", "fewer channels", "too small", "other precision"],
)
def test_invalid_frames_raise_the_error_of_the_convolution(frame: tuple[int, ...], dtype: torch.dtype) -> None:
    def message(*, events: bool) -> str:
        net = network(CONVOLUTIONS["plain"], NEURONS["lif"], POOLS["max"], events=events)
        with pytest.raises(RuntimeError) as error:
            net(torch.ones(STEPS, BATCH, *frame, dtype=dtype))
        return str(error.value)

    assert message(events=True) == message(events=False)


def test_a_network_of_one_layer_does_not_run_on_events() -> None:
    net = build_network({"n1": NEURONS["lif"]}, in_shape=SHAPE, dt=5.0).network
    assert not on_events(net)


@pytest.mark.parametrize(
    ("conv", "kind", "pooling"), [pytest.param("plain", "lif", "max"), pytest.param("bias", "cuba", "average of 3")]
)
def test_lists_of_events_are_the_same_input(conv: str, kind: str, pooling: str) -> None:
    net = network(CONVOLUTIONS[conv], NEURONS[kind], POOLS[pooling], events=True)
    assert net.accepts_event_lists
    lists = EventFrames(frames().shape, *find_events(frames()))
    found, expected = (_answer(net, x) for x in (lists, frames()))
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    with torch.no_grad():
        assert torch.equal(net(lists)[0], expected[0])


def _answer(net: Network, x: Tensor | EventFrames) -> list[Tensor]:
    """Return the output and the gradients."""
    net.zero_grad()
    y, _ = net(x)
    (y * torch.linspace(-1, 1, y.numel()).view(y.shape)).sum().backward()
    return [y.detach(), *(p.grad.clone() for p in net.parameters() if p.grad is not None)]


def test_networks_that_do_not_accept_event_lists_get_frames() -> None:
    lists = EventFrames(frames().shape, *find_events(frames()))
    assert torch.equal(lists.dense, frames())
    plain = network(CONVOLUTIONS["plain"], NEURONS["lif"], POOLS["max"], events=False)
    again, hooked = (network(CONVOLUTIONS["plain"], NEURONS["lif"], POOLS["max"], events=True) for _ in range(2))
    again.configure(checkpoint_segments=2)
    hooked.get_submodule("conv1").register_forward_hook(lambda *_: None)
    for net in (plain, again, hooked):
        assert not net.accepts_event_lists
        assert torch.equal(net(lists)[0], net(frames())[0])


@pytest.mark.parametrize("shape", [(1, 1, 1, 1, 1), (2, 3, 1, 9, 7), (3, 2, 3, 5, 70), (1, 2, 2, 64, 64)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_all_nonzero_cells_are_found(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(3), dtype=dtype)
    x[x.abs() < 0.8] = 0
    x[x < -1.5] = -0.0
    x[x > 2] = torch.inf
    offsets, rows, columns, values = find_events(x)
    assert values.dtype == x.numpy().dtype
    flat = offsets[:, :-1].reshape(*shape[:3], shape[3])
    ends = offsets[:, 1:].reshape(*shape[:3], shape[3])
    for t, b, p, h in np.ndindex(shape[:4]):
        mine = slice(flat[t, b, p, h], ends[t, b, p, h])
        row = x[t, b, p, h].numpy()
        assert (rows[mine] == h).all()
        assert columns[mine].tolist() == np.flatnonzero(row).tolist()
        assert values[mine].tolist() == row[row != 0].tolist()
