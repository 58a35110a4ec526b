"""Layers with delays: against the package dcls 0.1.1, and by hand.

dcls has positions from the middle of a kernel of D steps backward: delay = D - 1 - D // 2 - position, in steps.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from snnlab.errors import ConfigError, UnknownSettingError
from snnlab.nn import LIF, LearnedDelay, Recurrent, build_network
from snnlab.nn.delays import Delays, clamp_delays, delays_of
from snnlab.nn.layers.delayed import DelayedConnections, DelayedLinear
from snnlab.nn.layers.dense import linear
from snnlab.nn.neurons.recurrent import DenseFeedback

from ...refusals import assert_raises

LINEAR = {"type": "linear", "out_features": 6}
CONV = {"type": "conv2d", "out_channels": 6, "kernel_size": 3, "stride": 2, "padding": 1, "groups": 2}
# Settings, input shape, D, weights of a connection.
CASES: list[tuple[dict[str, Any], tuple[int, ...], int, int]] = [
    (LINEAR, (5,), 25, 1),
    (LINEAR, (5,), 9, 2),
    (LINEAR, (5,), 8, 1),
    (CONV, (4, 7, 6), 9, 1),
    (CONV, (4, 7, 6), 5, 2),
]


def layer_of(settings: dict[str, Any], in_shape: tuple[int, ...], **delay: Any) -> DelayedConnections:
    network = build_network({"fc": {**settings, "delay": delay}}, in_shape=in_shape, dt=1.0).network
    layer = network.get_submodule("fc")
    assert isinstance(layer, DelayedConnections)
    return layer.double()


def dcls_of(layer: DelayedConnections, settings: dict[str, Any], taps: int, count: int) -> Any:
    """Return the layer of dcls with the same values."""
    modules = pytest.importorskip("DCLS.construct.modules")
    if settings is LINEAR:
        other = modules.Dcls1d(5, 6, count, dilated_kernel_size=taps)
    else:
        sizes = {"stride": (2, 2, 1), "padding": (1, 1, 0), "dense_kernel_size": 3, "groups": 2}
        other = modules.Dcls3_1d(4, 6, count, dilated_kernel_size=taps, **sizes)
    other.double()
    with torch.no_grad():
        other.weight.copy_(layer.weight)
        other.bias.copy_(layer.bias)
        other.P[0] = taps - 1 - taps // 2 - layer.delays.fraction * (taps - 1)
    return other


def run_dcls(other: Any, x: Tensor, taps: int) -> Tensor:
    """Apply a layer of dcls, whose last axis is time, to `[T, B, ...]`."""
    return other(functional.pad(x.movedim(0, -1), (taps - 1, 0))).movedim(-1, 0)


@pytest.mark.peers
@pytest.mark.parametrize(("settings", "in_shape", "taps", "count"), CASES)
@pytest.mark.parametrize("sigma", [6.0, 0.23])
def test_outputs_and_gradients_equal_those_of_dcls(
    settings: dict[str, Any], in_shape: tuple[int, ...], taps: int, count: int, sigma: float
) -> None:
    layer = layer_of(settings, in_shape, max=float(taps - 1), learn=True, count=count)
    other = dcls_of(layer, settings, taps, count)
    layer.delays.sigma = sigma
    nn.init.constant_(other.SIG, sigma)
    x = torch.randn(12, 3, *in_shape, dtype=torch.float64, requires_grad=True)
    y, z = layer(x)[0], run_dcls(other, x, taps)
    assert layer.bias is not None
    grad = torch.randn_like(y)
    ours = torch.autograd.grad(y, [x, layer.weight, layer.bias, layer.delays.fraction], grad)
    theirs = torch.autograd.grad(z, [x, other.weight, other.bias, other.P], grad)
    # dcls keeps 1e-7 of its normalization in single precision.
    torch.testing.assert_close(y, z, rtol=1e-10, atol=1e-10)
    for one, two in zip(ours[:3], theirs[:3], strict=True):
        torch.testing.assert_close(one, two, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(ours[3], -(taps - 1) * theirs[3][0], rtol=1e-8, atol=1e-8)


@pytest.mark.peers
@pytest.mark.parametrize(("settings", "in_shape", "taps", "count"), CASES)
def test_evaluation_equals_dcls_with_rounded_positions_and_the_narrowest_triangle(
    settings: dict[str, Any], in_shape: tuple[int, ...], taps: int, count: int
) -> None:
    layer = layer_of(settings, in_shape, max=float(taps - 1), learn=True, count=count).eval()
    other = dcls_of(layer, settings, taps, count)
    other.DCK.version = "max"
    with torch.no_grad():
        other.P.round_()
        other.SIG.zero_()
    x = torch.randn(12, 3, *in_shape, dtype=torch.float64)
    torch.testing.assert_close(layer(x)[0], run_dcls(other, x, taps), rtol=0, atol=1e-5)  # theirs divides by 1 + 1e-7


@pytest.mark.parametrize(("kind", "size"), [("conv1d", (4,)), ("conv3d", (3, 3, 4))])
def test_each_cell_of_a_kernel_has_its_own_delay(kind: str, size: tuple[int, ...]) -> None:
    sizes: dict[str, Any] = {"kernel_size": 2, "dilation": 2, "padding": "same"}
    layer = layer_of({"type": kind, "out_channels": 3, **sizes}, (2, *size), max=3.0)
    x = torch.randn(6, 2, 2, *size, dtype=torch.float64)
    plain = getattr(nn, f"Conv{kind[4:]}")(2, 3, bias=False, **sizes).double()
    assert layer.bias is not None
    expected = layer.bias.reshape(-1, *[1] * len(size)).expand(6, 2, 3, *size)
    for steps in range(4):
        late = torch.cat([torch.zeros_like(x[:steps]), x[: 6 - steps]])
        plain.weight.data = (layer.weight * (layer.delays.steps() == steps)).sum(-1)
        expected = expected + plain(late.flatten(0, 1)).unflatten(0, (6, 2))
    torch.testing.assert_close(layer(x)[0], expected, rtol=1e-9, atol=1e-9)


def test_delays_that_are_not_learned_are_whole_steps_and_no_parameters() -> None:
    layer = layer_of(LINEAR, (5,), max=3.0).train()
    assert {name for name, _ in layer.named_parameters()} == {"weight", "bias"}
    assert set(layer.delays.taps().flatten().tolist()) == {0.0, 1.0}
    assert set(layer.delays.steps().flatten().tolist()) == {0, 1, 2, 3}


def test_frozen_delays_are_whole_steps_in_training_too() -> None:
    layer = layer_of(LINEAR, (5,), max=3.0, learn=True).train()
    assert len(layer.delays.taps().unique()) > 2
    layer.delays.fraction.requires_grad_(False)
    assert set(layer.delays.taps().flatten().tolist()) == {0.0, 1.0}


def test_an_initial_delay_is_in_ms() -> None:
    delays = Delays((2,), 5.0, max=25.0, initial=10.0, learn=True)
    assert (delays.max_steps, delays.steps().tolist()) == (5, [2, 2])
    assert Delays((1,), None, max="4 steps", initial="3 steps").steps().tolist() == [3]


def test_sigma_decays_exponentially_as_in_the_published_code() -> None:
    delays = Delays((1,), 10.0, max=240.0, learn=True)
    sigma = 12.0  # half of 25 taps; the code multiplies it after each of the first 37 of 150 epochs
    for epoch in range(38):
        delays.set_progress(epoch / 37)
        assert delays.sigma == pytest.approx(sigma)
        sigma *= (0.23 / 12.0) ** (1 / 37)
    assert delays.sigma == pytest.approx(0.23)


def test_clamping_moves_delays_into_their_range() -> None:
    network = nn.Sequential(nn.Linear(2, 2), layer_of(LINEAR, (5,), max=3.0, learn=True))
    (delays,) = delays_of(network)
    with torch.no_grad():
        delays.fraction.add_(torch.linspace(-2, 2, delays.fraction.numel()).view_as(delays.fraction))
    clamp_delays(network)
    assert (delays.fraction.min().item(), delays.fraction.max().item()) == (0, 1)


@pytest.mark.parametrize(
    ("given", "stored"), [({}, True), ({"learn": True, "initial": 2.0}, True), ({"initial": 2.0}, False)]
)
def test_only_delays_that_do_not_follow_from_the_settings_are_stored(given: dict, stored: bool) -> None:
    delays, again = Delays((3,), 1.0, max=4.0, **given), Delays((3,), 1.0, max=4.0, **given)
    assert list(delays.state_dict()) == ["fraction"] * stored
    again.load_state_dict(delays.state_dict())
    assert torch.equal(again.fraction, delays.fraction)


def test_an_axonal_delay_learns_by_the_taps_of_dcls() -> None:
    layer = LearnedDelay(Delays((3,), 1.0, max=4.0, learn=True)).double()
    x = torch.randn(7, 2, 3, dtype=torch.float64)
    grouped = layer.delays.taps()[:, None]
    expected = functional.conv1d(functional.pad(x.permute(1, 2, 0), (4, 0)), grouped, groups=3).permute(2, 0, 1)
    torch.testing.assert_close(layer(x)[0], expected)
    y, _ = layer.eval()(x)
    for neuron, steps in enumerate(layer.steps.tolist()):
        assert torch.equal(y[steps:, :, neuron], x[: 7 - steps, :, neuron])


def test_a_spike_feeds_back_after_its_delay_and_one_step() -> None:
    feedback = DenseFeedback((2,), dt=1.0, delay={"max": 3.0})
    feedback.weight.data = torch.tensor([[0.0, 0.0], [2.0, 0.0]])  # from the first neuron to the second
    assert feedback.delays is not None
    feedback.delays.fraction.fill_(2 / 3)
    layer = Recurrent(LIF(1.0), feedback)
    x = torch.zeros(6, 1, 2)
    x[1, 0, 0] = 2.0
    y, _ = layer(x)
    assert y[:, 0].T.tolist() == [[0, 1, 0, 0, 0, 0], [0, 0, 0, 0, 1, 0]]


@pytest.mark.parametrize(
    ("delay", "place", "words"),
    [
        ({"max": 12.5}, "delay.max", ["1 ms", "12.5 ms"]),
        ({"max": 0}, "delay.max", ["one step"]),
        ({"max": 5, "initial": 6}, "delay.initial", ["5", "6"]),
        ({"max": 5, "initial": "some"}, "delay.initial", ["some"]),
        ({"max": 5, "sigma": 0}, "delay.sigma", ["0"]),
        ({"learn": True}, "delay", ["max"]),
        ({"max": 50}, "", ["50", "40"]),
    ],
)
@pytest.mark.parametrize("within", ["linear", "delay", "recurrent"])
def test_a_delay_that_cannot_be_is_refused(delay: dict[str, Any], place: str, words: list[str], within: str) -> None:
    nodes: dict[str, Any] = {
        "linear": {**LINEAR, "delay": delay},
        "delay": {"type": "delay", "delay": delay},
        "recurrent": {"type": "lif", "recurrent": {"delay": delay}},
    }
    inner = "recurrent." * (within == "recurrent") if place else ""
    with assert_raises(ConfigError, ".".join(filter(None, ["model.layers.a", f"{inner}{place}"])), *words):
        build_network({"a": nodes[within]}, in_shape=(5,), dt=1.0, num_steps=40)


def test_an_unknown_setting_of_a_delay_is_named() -> None:
    with assert_raises(UnknownSettingError, "model.layers.a.delay.learned", "learn"):
        build_network({"a": {**LINEAR, "delay": {"max": 5, "learned": True}}}, in_shape=(5,), dt=1.0)


EVEN = {"max": "6 steps", "count": 3, "initial": "even"}


@pytest.mark.parametrize(("every", "given"), [(4, EVEN), (3, EVEN), (5, EVEN | {"max": "4 steps", "count": 5})])
def test_even_delays_and_every_are_torchs_convolution_with_dilation_and_stride(every: int, given: dict) -> None:
    torch.manual_seed(0)
    layer = linear((4,), 1.0, out_features=5, every=every, delay=given)
    assert isinstance(layer, DelayedLinear)
    longest, spacing = layer.delays.max_steps, layer.delays.spacing
    x = torch.randn(23, 2, 4, requires_grad=True)
    y, _ = layer(x)
    padded = functional.pad(x.permute(1, 2, 0), (longest, 0))[..., every - 1 :]
    # The longest delay is the first of a kernel of torch, and the last of ours.
    expected = functional.conv1d(padded, layer.weight.flip(-1), layer.bias, every, dilation=spacing).permute(2, 0, 1)
    torch.testing.assert_close(y[every - 1 :: every], expected)
    others = torch.arange(23) % every != every - 1
    assert not y[others].any()
    parts = [x, layer.weight]
    gradients = torch.autograd.grad(y.square().sum(), parts, retain_graph=True)
    torch.testing.assert_close(gradients, torch.autograd.grad(expected.square().sum(), parts))


def test_samples_of_different_length_go_on_at_their_own_step() -> None:
    torch.manual_seed(0)
    layer, x, lengths = linear((4,), 1.0, out_features=5, every=4, delay=EVEN), torch.randn(20, 3, 4), [9, 11, 6]
    whole, _ = layer(x)
    before, state = layer(x[:11], lengths=torch.tensor(lengths))
    after = torch.stack([x[length : length + 9, b] for b, length in enumerate(lengths)], 1)
    rest, state = layer(after, state)
    assert state.steps.tolist() == [(length + 9) % 4 for length in lengths]
    for b, length in enumerate(lengths):
        torch.testing.assert_close(torch.cat([before[:length, b], rest[:, b]]), whole[: length + 9, b])


@pytest.mark.parametrize(
    ("settings", "facts"),
    [
        ({"every": 2}, ("every", 2)),
        ({"delay": EVEN | {"count": 5}}, ("delay.count", "6 steps", 5)),
        ({"delay": {"max": "6 steps", "initial": "even"}}, ("delay.count", 1)),
    ],
)
def test_a_stride_without_delays_and_parts_that_do_not_divide_are_refused(settings: dict, facts: tuple) -> None:
    with assert_raises(ConfigError, *facts):
        linear((4,), 1.0, out_features=5, **settings)
