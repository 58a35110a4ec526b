"""The balanced and the vanilla resonate-and-fire neuron, against their authors' equations written as loops."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from snnlab.errors import ConfigError
from snnlab.nn import NEURONS
from snnlab.nn.neurons.brf import BRF

from ...refusals import assert_raises
from .agreement import BOTH, FEATURES, assert_agrees, noise, preset


def normal(x: Tensor, sigma: float) -> Tensor:
    return torch.exp(-(x**2) / (2 * sigma**2)) / (sigma * math.sqrt(2 * math.pi))


def spikes(gap: Tensor) -> Tensor:
    """Return H(gap), with the derivative of the authors' StepDoubleGaussianGrad."""
    at = gap.detach()
    slope = 0.5 * (1.15 * normal(at, 0.5) - 0.3 * normal(at, 3.0))
    return (at > 0).to(gap.dtype) + slope * (gap - at)


def authors(x: Tensor, omega: Tensor, b_offset: Tensor, dt: float) -> tuple[Tensor, Sequence[Tensor]]:
    u, v, q, outputs = torch.zeros_like(x[0]), torch.zeros_like(x[0]), torch.zeros_like(x[0]), []
    omega, b_offset = omega.abs(), b_offset.abs()
    # In double precision: in single, which the authors have, the difference of two numbers near 1 loses 4 digits.
    p_omega = ((-1 + torch.sqrt(1 - (dt * omega.double()) ** 2)) / dt).to(x.dtype)
    for x_t in x:
        b = p_omega - b_offset - q
        u, v = u + b * u * dt - omega * v * dt + x_t * dt, v + omega * u * dt + b * v * dt
        z = spikes(u - 1.0 - q)
        q = 0.9 * q + z
        outputs.append(z)
    return torch.stack(outputs), (u, v, q)


def vanilla_authors(x: Tensor, omega: Tensor, b_offset: Tensor, dt: float) -> tuple[Tensor, Sequence[Tensor]]:
    u, v, outputs = torch.zeros_like(x[0]), torch.zeros_like(x[0]), []
    omega, b = omega.abs(), -b_offset.abs()
    for x_t in x:
        u, v = u + b * u * dt - omega * v * dt + x_t * dt, v + omega * u * dt + b * v * dt
        outputs.append(spikes(u - 1.0))
    return torch.stack(outputs), (u, v)


@BOTH
def test_vanilla_spikes_states_and_gradients_are_those_of_the_authors(dtype: torch.dtype, batch: int) -> None:
    torch.manual_seed(3)
    neuron: Any = NEURONS.build("vanilla_rf", {}, "vanilla_rf", dt=10.0, in_shape=(FEATURES,)).to(dtype)
    omega, damping = (part.detach().clone().requires_grad_() for part in (neuron.omega, neuron.damping))
    x = noise(dtype, batch, 1.0, 30.0)
    pairs = [(neuron.omega, omega), (neuron.damping, damping)]
    assert_agrees(neuron, lambda x: vanilla_authors(x, omega, damping, 0.01), x, learned=pairs)


@BOTH
def test_spikes_states_and_gradients_are_those_of_the_authors(dtype: torch.dtype, batch: int) -> None:
    torch.manual_seed(3)
    neuron: Any = NEURONS.build("brf", {}, "brf", dt=10.0, in_shape=(FEATURES,)).to(dtype)
    omega, damping = (part.detach().clone().requires_grad_() for part in (neuron.omega, neuron.damping))
    x = noise(dtype, batch, 1.0, 30.0)
    pairs = [(neuron.omega, omega), (neuron.damping, damping)]
    assert_agrees(neuron, lambda x: authors(x, omega, damping, 0.01), x, learned=pairs)


def test_frequency_and_damping_start_within_their_ranges() -> None:
    neuron = preset("brf", torch.float64, (1000,))
    assert 5.0 <= neuron.omega.min() < 5.1 < 9.9 < neuron.omega.max() <= 10.0
    assert 0.0 <= neuron.damping.min() < 0.1 < 2.9 < neuron.damping.max() <= 3.0
    fixed = BRF(1.0, omega=[7.0, 7.0], learn=False, in_shape=(3,))
    assert not list(fixed.parameters())
    assert set(fixed.state_dict()) == {"omega", "damping"}


def test_without_spikes_it_oscillates_at_its_frequency_and_is_damped() -> None:
    neuron = BRF(1.0, omega=[20.0, 20.0], damping=[2.0, 2.0], in_shape=(1,)).double()
    x = torch.zeros(629, 1, 1, dtype=torch.float64)
    x[0] = 1.0
    v, state = [], None
    for x_t in x.split(1):
        _, state = neuron(x_t, state)
        v.append(state.v.item())
    # After two periods, 628 ms, it is back at its phase, and smaller by exp(-2 * 0.628).
    assert v[628] / v[0] == pytest.approx(math.exp(-2.0 * 0.628), rel=0.02)
    assert v[157] == pytest.approx(-v[0] * math.exp(-2.0 * 0.157), rel=0.02)


@pytest.mark.parametrize(
    ("settings", "facts"),
    [
        ({"omega": [5.0]}, ("lif1.omega", "[5.0]")),
        ({"omega": [5.0, 200.0]}, ("lif1.omega", "100", "200")),
        ({"damping": [3.0, 1.0]}, ("lif1.damping", "[3.0, 1.0]")),
        ({"gamma": 1.0}, ("lif1.gamma", 1.0)),
    ],
)
def test_mistakes_are_named(settings: dict[str, Any], facts: tuple) -> None:
    with assert_raises(ConfigError, *facts):
        NEURONS.build("brf", settings, "lif1", dt=10.0, in_shape=(4,))


def test_a_dt_of_the_equations_is_independent_of_the_length_of_a_step() -> None:
    torch.manual_seed(3)
    plain, own = BRF(10.0, in_shape=(FEATURES,)), BRF(4.0, equation_dt=10.0, in_shape=(FEATURES,))
    own.load_state_dict(plain.state_dict())
    x = noise(torch.float64, 2, 1.0, 30.0)
    (y, _), (found, _) = plain.double()(x), own.double()(x)
    assert torch.equal(y, found)
    assert y.sum() > 10
    assert own.coefficients().dt == 0.01
    with assert_raises(ConfigError, "omega", 100):
        BRF(4.0, equation_dt=10.0, omega=[5.0, 150.0], in_shape=(3,))
