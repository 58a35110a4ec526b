"""lava-dl's CUBA, against its published integer arithmetic, implemented again in 64-bit integers.

Axes: T steps, B samples, N neurons.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from snnlab.errors import ConfigError
from snnlab.nn import NEURONS
from snnlab.nn.neurons import LavaCuba

from ...refusals import assert_raises
from .agreement import preset, trace


def shift_to_zero(n: Tensor) -> Tensor:
    """Return n / 4096 truncated towards zero, in integers."""
    return torch.where(n < 0, -((-n) >> 12), n >> 12)


def integrator(x: Tensor, decay: int, scale: int, threshold: float | None = None) -> Tensor:
    """Return lava-dl's leaky integrator over time, before its resets; x, the result: `[T, ...]`."""
    y, outputs = torch.zeros(x.shape[1:], dtype=torch.int64), []
    for x_t in x:
        y = shift_to_zero(y * (4096 - decay)) + (scale * x_t).to(torch.int64)
        outputs.append(y / scale)
        if threshold is not None:
            y = y * (y < threshold * scale)
    return torch.stack(outputs)


class Published:
    """lava-dl's Neuron(threshold, current_decay, voltage_decay, tau_grad, scale_grad, scale), forward and backward."""

    def __init__(self, threshold: float, current_decay: float, voltage_decay: float, scale: int = 64) -> None:
        self.scale = scale * 64
        self.threshold = int(threshold * scale) / scale
        self.with_epsilon = self.threshold + 0.01 / self.scale
        self.d_i, self.d_v = (int(torch.round(torch.tensor(4096.0 * d))) for d in (current_decay, voltage_decay))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return spikes, membrane before its resets and current."""
        i = integrator(x, self.d_i, self.scale)
        u = integrator(i, self.d_v, self.scale, self.with_epsilon)
        return (u >= self.with_epsilon).to(x.dtype), u, i

    def backward(self, gradient: Tensor, u: Tensor, tau_grad: float, scale_grad: float) -> Tensor:
        """Return the gradient of the input from that of the spikes."""
        tau, scale = 100.0 * tau_grad * self.threshold, 0.1 * scale_grad
        g = gradient * scale / (2 * tau) * torch.exp(-(u - self.with_epsilon).abs() / tau)
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
    _, states = trace(LavaCuba(alpha=0.5, beta=0.5, v_threshold=10.0), x)
    i = [2867, 1433 - 409, 512 - 2867, -1177]
    v = [2867, 1433 + 1024, 1228 - 2355, -563 - 1177]
    assert (states.i.flatten() * 4096).tolist() == i
    assert (states.v.flatten() * 4096).tolist() == v


def test_the_decays_are_rounded_to_twelve_bits() -> None:
    assert LavaCuba(alpha=0.75, beta=0.97).coefficients() == (4096 - 123, 3072)  # 0.03 * 4096 = 122.88
    assert LavaCuba(tau_mem="4 steps").coefficients().v == 4096 - round(4096 * (1 - math.exp(-0.25)))
    (tau_mem, tau_syn) = LavaCuba(2.0, alpha=0.75, beta=0.97).constants()
    assert tau_mem.factor == (4096 - 123) / 4096
    assert tau_mem.ms == pytest.approx(-2.0 / math.log(tau_mem.factor))
    assert tau_syn.factor == 0.75


@pytest.mark.parametrize(("u", "spike"), [(1.0, 0), (1.0 + 1 / 4096, 1)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_membrane_at_the_threshold_is_silent_and_one_integer_above_it_spikes(
    u: float, spike: int, dtype: torch.dtype
) -> None:
    y, state = LavaCuba()(torch.full((1, 1, 1), u, dtype=dtype))
    assert y.item() == spike
    assert state.v.item() == (0.0 if spike else u)
    assert state.i.item() == u


def test_the_threshold_is_truncated_to_a_whole_number_of_its_scale() -> None:
    assert LavaCuba(v_threshold=0.7).v_threshold == 44 / 64
    assert LavaCuba(v_threshold=0.7, scale=10).v_threshold == 0.7


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
def test_it_is_lavas_integer_arithmetic(
    ours: dict[str, Any], theirs: tuple[float, float, float], gradient_of: tuple[float, float], strength: float
) -> None:
    neuron, published = preset("lava_cuba", torch.float32, **ours), Published(*theirs)
    x = (torch.randn(200, 1, 2_000) + 0.2).mul(strength).requires_grad_()
    weights = torch.randn_like(x)
    spikes, _ = neuron(x)
    (gradient,) = torch.autograd.grad((spikes * weights).sum(), x)
    with torch.no_grad():
        traced, states = trace(neuron, x)
        their_spikes, u, i = published.forward(x)
        their_gradient = published.backward(weights, u, *gradient_of)
    assert spikes.sum() > 1e4
    assert torch.equal(traced, spikes)
    assert torch.equal(spikes, their_spikes)
    assert torch.equal(states.i, i)
    assert torch.equal(states.v, u * (1 - their_spikes))
    assert (gradient - their_gradient).abs().max() / their_gradient.abs().max() < 1e-5


def test_a_scale_that_is_no_power_of_two_keeps_its_integers() -> None:
    x = torch.randn(200, 1, 500)
    neuron, published = LavaCuba(alpha=0.5, beta=0.9, scale=50), Published(1.0, 0.5, 0.1, scale=50)
    spikes, states = trace(neuron, x)
    their_spikes, u, i = published.forward(x)
    assert torch.equal(spikes, their_spikes)
    torch.testing.assert_close(states.i, i, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(states.v, u * (1 - their_spikes), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("threshold", [1.0, 2.0])
def test_without_a_surrogate_it_has_lavas_tau_grad_and_scale_grad_of_1(threshold: float) -> None:
    x = torch.full((1, 1, 1), 1.5, dtype=torch.float64, requires_grad=True)
    y, _ = LavaCuba(v_threshold=threshold)(x)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    tau, scale = 100 * threshold, 0.1
    assert gradient.item() == pytest.approx(scale / (2 * tau) * math.exp(-abs(1.5 - threshold) / tau), rel=1e-12)


def test_the_gradient_leaves_the_reset_out() -> None:
    x = torch.tensor([2.0, 0.5], dtype=torch.float64).reshape(2, 1, 1).requires_grad_()
    y, state = LavaCuba(alpha=0.0, beta=0.5)(x)
    assert y.flatten().tolist() == [1, 0]
    (gradient,) = torch.autograd.grad(state.v.sum(), x)
    assert gradient.flatten().tolist() == [0.5, 1.0]


def test_its_time_constants_are_in_steps() -> None:
    assert LavaCuba(1.0).coefficients() == LavaCuba(7.0).coefficients()
    assert not LavaCuba(1.0).dt_invariant
    assert not LavaCuba(1.0, tau_mem=20.0, tau_syn=10.0).dt_invariant  # the current drives at each step


@pytest.mark.parametrize(
    ("settings", "facts"),
    [
        ({"v_threshold": 0.01}, ("lif1.v_threshold", "1", "0.015625", "0.01")),
        ({"v_threshold": -1.0}, ("lif1.v_threshold", -1.0)),
        ({"v_threshold": math.nan}, ("lif1.v_threshold",)),
        ({"beta": 0.5, "tau_mem": 3.0}, ("lif1", "tau_mem")),
        ({"alpha": 1.0}, ("lif1.alpha", 1.0)),
        ({"tau_mem": "10000 steps"}, ("lif1.tau_mem", "10000", "12", "1", "4096", "0.999756")),
    ],
)
def test_mistakes_are_named(settings: dict[str, Any], facts: tuple) -> None:
    with assert_raises(ConfigError, *facts):
        NEURONS.build("lava_cuba", settings, "lif1", dt=1.0)
