"""Loihi 2's neuron, against lava-dl's training and Lava's fixed-point model, both written again in 64-bit integers.

Axes: T steps, B samples, N neurons.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from snnlab.errors import ConfigError
from snnlab.nn import NEURONS
from snnlab.nn.neurons import Loihi2LIF

from ...refusals import assert_raises
from .agreement import preset, trace, untraced
from .loihi_integers import LIMIT, Traces, fixed_point_lif


def shift_to_zero(n: Tensor) -> Tensor:
    """Return n / 4096 truncated towards zero, in integers."""
    return torch.where(n < 0, -((-n) >> 12), n >> 12)


def integrator(x: Tensor, decay: int, threshold: float = math.inf) -> Tensor:
    """Return lava-dl's leaky integrator over time, before its resets; x, the result: integers `[T, ...]`."""
    y, outputs = torch.zeros_like(x[0]), []
    for x_t in x:
        y = shift_to_zero(y * (4096 - decay)) + x_t
        outputs.append(y)
        y = y * (y < threshold)
    return torch.stack(outputs)


class Published:
    """lava-dl's Neuron(threshold, current_decay, voltage_decay, tau_grad, scale_grad, scale), forward and backward."""

    def __init__(self, threshold: float, current_decay: float, voltage_decay: float, scale: int = 64) -> None:
        self.scale = scale * 64
        self.threshold = int(threshold * scale) / scale
        self.with_epsilon = self.threshold + 0.01 / self.scale
        self.d_i, self.d_v = (int(torch.round(torch.tensor(4096.0 * d))) for d in (current_decay, voltage_decay))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return spikes, and in integers membrane before its resets and current."""
        threshold = self.with_epsilon * self.scale
        i = integrator((self.scale * x).long(), self.d_i)
        u = integrator(i, self.d_v, threshold)
        return (u >= threshold).to(x.dtype), u, i

    def backward(self, gradient: Tensor, u: Tensor, tau_grad: float, scale_grad: float) -> Tensor:
        """Return the gradient of the input from that of the spikes."""
        tau, scale = 100.0 * tau_grad * self.threshold, 0.1 * scale_grad
        g = gradient * scale / (2 * tau) * torch.exp(-(u / self.scale - self.with_epsilon).abs() / tau)
        for decay in (self.d_v, self.d_i):
            parts, later = [], torch.zeros_like(g[0])
            for g_t in g.flip(0):
                later = (1 - decay / 4096) * later + g_t
                parts.append(later)
            g = torch.stack(parts[::-1])
        return g


# By hand, in 1/64: alpha = beta = 1/2; trunc(0.7 * 64) = 44, trunc(0.1 * 64) = 6 (of 4096ths: 0.7 -> 2867, 0.1 -> 409).
def test_inputs_and_products_are_truncated_towards_zero() -> None:
    x = torch.tensor([0.7, -0.1, -0.7, 0.0], dtype=torch.float64).reshape(-1, 1, 1)
    _, states = trace(Loihi2LIF(alpha=0.5, beta=0.5, v_threshold=10.0), x)
    assert states.i.flatten().tolist() == [2867, 1433 - 409, 512 - 2867, -1177]
    assert states.v.flatten().tolist() == [2867, 1433 + 1024, 1228 - 2355, -563 - 1177]


def test_the_decays_are_rounded_to_twelve_bits() -> None:
    assert Loihi2LIF(alpha=0.75, beta=0.97).coefficients()[:2] == (4096 - 123, 3072)  # 0.03 * 4096 = 122.88
    assert Loihi2LIF(tau_mem="4 steps").coefficients().keep_v == 4096 - round(4096 * (1 - math.exp(-0.25)))
    (tau_mem, tau_syn) = Loihi2LIF(2.0, alpha=0.75, beta=0.97).constants()
    assert tau_mem.factor == (4096 - 123) / 4096
    assert tau_mem.ms == pytest.approx(-2.0 / math.log(tau_mem.factor))
    assert tau_syn.factor == 0.75
    assert [constant.name for constant in Loihi2LIF(beta=1.0).constants()] == ["tau_syn"]


@pytest.mark.parametrize(("u", "spike"), [(1.0, 0), (1.0 + 1 / 4096, 1)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_membrane_at_the_threshold_is_silent_and_one_integer_above_it_spikes(
    u: float, spike: int, dtype: torch.dtype
) -> None:
    y, state = Loihi2LIF()(torch.full((1, 1, 1), u, dtype=dtype))
    assert y.item() == spike
    assert state.v.item() == (0.0 if spike else 4096)
    assert state.i.item() == 4096 + spike


def test_the_threshold_is_truncated_to_a_whole_number_of_its_scale() -> None:
    assert Loihi2LIF(v_threshold=0.7).v_threshold == 44 / 64
    assert Loihi2LIF(v_threshold=0.7, scale=10).v_threshold == 0.7
    assert Loihi2LIF(v_threshold=0.7, scale=10).coefficients().v_threshold == 7 * 64


PUBLISHED = [
    ({}, (1.0, 0.5, 0.2), (1.0, 1.0), 0.5),
    ({"alpha": 0.5, "beta": 0.25, "v_threshold": 0.7}, (0.7, 0.5, 0.75), (1.0, 1.0), 1.0),
    # The N-MNIST tutorial of lava-dl.
    (
        {
            "alpha": 0.75,
            "beta": 0.97,
            "v_threshold": 1.25,
            "surrogate": {"type": "exponential", "grad_width": 3.0, "grad_scale": 0.15},
        },
        (1.25, 0.25, 0.03),
        (0.03, 3.0),
        0.1,
    ),
]


@pytest.mark.parametrize(("ours", "theirs", "gradient_of", "strength"), PUBLISHED)
def test_it_is_the_integer_arithmetic_of_lava_dl(
    ours: dict[str, Any], theirs: tuple[float, float, float], gradient_of: tuple[float, float], strength: float
) -> None:
    neuron, published = preset("loihi2", torch.float32, **ours), Published(*theirs)
    assert untraced(neuron) is None
    x = (torch.randn(100, 1, 500) + 0.2).mul(strength).requires_grad_()
    weights = torch.randn_like(x)
    spikes, _ = neuron(x)
    (gradient,) = torch.autograd.grad((spikes * weights).sum(), x)
    with torch.no_grad():
        traced, states = trace(neuron, x)
        their_spikes, u, i = published.forward(x)
        their_gradient = published.backward(weights, u, *gradient_of)
    assert spikes.sum() > 1e3
    assert torch.equal(traced, spikes)
    assert torch.equal(spikes, their_spikes)
    assert torch.equal(states.i, i.float())
    assert torch.equal(states.v, u * (1 - their_spikes))
    assert (gradient - their_gradient).abs().max() / their_gradient.abs().max() < 1e-5


def test_a_scale_that_is_no_power_of_two_keeps_its_integers() -> None:
    x = torch.randn(50, 1, 500)
    neuron, published = Loihi2LIF(alpha=0.5, beta=0.9, scale=50), Published(1.0, 0.5, 0.1, scale=50)
    spikes, states = trace(neuron, x)
    their_spikes, u, i = published.forward(x)
    assert torch.equal(spikes, their_spikes)
    assert torch.equal(states.i, i.float())
    assert torch.equal(states.v, u * (1 - their_spikes))


def whole(drive: np.ndarray, dtype: torch.dtype = torch.float32, **settings: Any) -> Traces:
    """Return the traces of `loihi2` in whole numbers; drive: `[T, N]`."""
    neuron = Loihi2LIF(scale=1, in_shape=drive.shape[1:], **settings)
    s, states = trace(neuron, torch.tensor(drive[:, None], dtype=dtype))
    return Traces(*(part[:, 0].detach().numpy() for part in (states.i, states.v, s)))


def assert_equal_traces(found: Traces, expected: Traces) -> None:
    for name, one, other in zip(Traces._fields, found, expected, strict=True):
        assert np.array_equal(one, other), name


def factors(du: int, dv: int) -> dict[str, Any]:
    return {"alpha": 1 - (du + 1) / 4096, "beta": 1 - dv / 4096}


# The tests of Lava's fixed-point model, and those of its ternary one that reach no threshold, with their values.
def test_without_leaks_a_bias_makes_it_spike_at_every_fifth_step() -> None:
    neuron = Loihi2LIF(scale=1, v_threshold=8.0, channel_bias=True, in_shape=(10,), **factors(0, 0))
    torch.nn.init.constant_(neuron.bias, 2.0)
    s, _ = neuron(torch.zeros(10, 1, 10))
    assert s[:, 0].sum(1).tolist() == [0, 0, 0, 0, 10, 0, 0, 0, 0, 10]


@pytest.mark.parametrize("sign", [1, -1])
def test_a_current_halves_in_each_step(sign: int) -> None:
    drive = np.array([[128 * sign], *[[0]] * 7])
    assert whole(drive, v_threshold=512.0, **factors(2047, 0)).u[:, 0].tolist() == [sign << 13 - j for j in range(8)]


@pytest.mark.parametrize("sign", [1, -1])
def test_a_current_that_loses_one_of_4096_fills_a_leaking_membrane(sign: int) -> None:
    drive = np.array([[128 * sign], *[[0]] * 7])
    found = whole(drive, v_threshold=256.0, **factors(0, 2048)).v[:, 0] * sign
    assert found.tolist() == [8192, 12286, 14331, 15351, 15859, 16111, 16235, 16295]


def test_negative_numbers_are_truncated_towards_zero_and_not_down() -> None:
    drive = np.array([[-1], [0], [0]])
    assert whole(drive, v_threshold=100.0, **factors(2730, 4096)).u[:, 0].tolist() == [-64, -21, -6]  # -21.3, -6.99
    assert whole(drive, v_threshold=100.0, **factors(4095, 2731)).v[:, 0].tolist() == [-64, -21, -6]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_current_beyond_24_bits_begins_anew_at_the_other_end(dtype: torch.dtype) -> None:
    top = LIMIT // 64
    drive = np.array([[top, top + 1, -top, 1 - top, 2 * top + 3, -2 * top - 3, 8 * top + 5]])
    found = whole(drive, dtype, v_threshold=131071.0, **factors(4095, 0)).u[0]
    assert found.tolist() == [LIMIT, 64 - LIMIT, LIMIT, 64 - LIMIT, 3 * 64, -3 * 64, 5 * 64]
    twice = np.array([[top - 1], [top - 1], [10]])
    assert_equal_traces(
        whole(twice, dtype, v_threshold=131071.0, **factors(0, 0)), fixed_point_lif(twice, 0, 0, 131071)
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_membrane_stays_at_the_ends_of_24_bits(dtype: torch.dtype) -> None:
    drive = np.array([[LIMIT // 64 - 1, 1 - LIMIT // 64]] * 4)
    found = whole(drive, dtype, v_threshold=131071.0, **factors(4095, 0))
    assert found.v[:, 1].tolist() == [64 - LIMIT, *[1 - LIMIT] * 3]
    assert found.v[:, 0].tolist() == [LIMIT - 64, 0] * 2  # the highest threshold is 63 below the end
    assert_equal_traces(found, fixed_point_lif(drive, 4095, 0, 131071))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("channel_bias", [False, True])
def test_any_neuron_has_the_traces_of_lava_also_where_it_overflows(dtype: torch.dtype, channel_bias: bool) -> None:
    chance = np.random.default_rng(0)
    for size in (2**4, 2**12, 2**17):
        drive = chance.integers(-size, size + 1, (40, 300))
        du, dv, vth = int(chance.integers(0, 4096)), int(chance.integers(0, 4097)), int(chance.integers(1, size))
        bias = chance.integers(-4096, 4096, 300) if channel_bias else 0
        neuron = Loihi2LIF(
            scale=1, v_threshold=float(vth), channel_bias=channel_bias, in_shape=(300,), **factors(du, dv)
        )
        if channel_bias:
            neuron.bias.data = torch.tensor(bias, dtype=torch.float32)
        neuron.to(dtype)
        expected = fixed_point_lif(drive, du, dv, vth, bias)
        x = torch.tensor(drive[:, None], dtype=dtype)
        with torch.no_grad():
            s, states = trace(neuron, x)
            compiled, last = neuron(x)
        assert_equal_traces(Traces(*(part[:, 0].numpy() for part in (states.i, states.v, s))), expected)
        assert torch.equal(compiled, s)
        assert torch.equal(last.v, states.v[-1])
        assert expected.s.any()
    assert np.abs(drive * 64).max() > LIMIT / 2


@pytest.mark.parametrize("threshold", [1.0, 2.0])
def test_without_a_surrogate_it_has_lavas_tau_grad_and_scale_grad_of_1(threshold: float) -> None:
    x = torch.full((1, 1, 1), 1.5, dtype=torch.float64, requires_grad=True)
    y, _ = Loihi2LIF(v_threshold=threshold)(x)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    tau, scale = 100 * threshold, 0.1
    assert gradient.item() == pytest.approx(scale / (2 * tau) * math.exp(-abs(1.5 - threshold) / tau), rel=1e-12)


def test_the_gradient_leaves_the_reset_out() -> None:
    x = torch.tensor([2.0, 0.5], dtype=torch.float64).reshape(2, 1, 1).requires_grad_()
    y, state = Loihi2LIF(alpha=0.0, beta=0.5)(x)
    assert y.flatten().tolist() == [1, 0]
    (gradient,) = torch.autograd.grad(state.v.sum(), x)
    assert gradient.flatten().tolist() == [0.5 * 4096, 4096]


def test_a_bias_has_the_gradient_of_what_it_adds() -> None:
    neuron = Loihi2LIF(alpha=0.0, beta=0.5, v_threshold=100.0, channel_bias=True, in_shape=(2, 3))
    assert neuron.bias.shape == (2, 1)
    _, state = neuron(torch.zeros(3, 1, 2, 3))
    (gradient,) = torch.autograd.grad(state.v.sum(), neuron.bias)
    assert gradient.flatten().tolist() == [3 * 4096 * (1 + 0.5 + 0.25)] * 2


def test_its_time_constants_are_in_steps() -> None:
    assert Loihi2LIF(1.0).coefficients() == Loihi2LIF(7.0).coefficients()
    assert not Loihi2LIF(1.0).dt_invariant
    assert not Loihi2LIF(1.0, tau_mem=20.0, tau_syn=10.0).dt_invariant  # the current drives at each step


@pytest.mark.parametrize(
    ("settings", "facts"),
    [
        ({"v_threshold": 0.01}, ("lif1.v_threshold", "1", "0.015625", "0.01")),
        ({"v_threshold": 2048.0}, ("lif1.v_threshold", "131071", "2047.98", 2048.0)),
        ({"v_threshold": -1.0}, ("lif1.v_threshold", -1.0)),
        ({"v_threshold": math.nan}, ("lif1.v_threshold",)),
        ({"beta": 0.5, "tau_mem": 3.0}, ("lif1", "tau_mem")),
        ({"alpha": 1.0}, ("lif1.alpha", 1.0)),
        ({"beta": 1.1}, ("lif1.beta", 1.1)),
        ({"tau_mem": "10000 steps"}, ("lif1.tau_mem", "10000", "12", "1", "4096", "0.999756")),
        ({"channel_bias": True}, ("lif1.channel_bias", "in_shape")),
    ],
)
def test_mistakes_are_named(settings: dict[str, Any], facts: tuple) -> None:
    with assert_raises(ConfigError, *facts):
        NEURONS.build("loihi2", settings, "lif1", dt=1.0)
