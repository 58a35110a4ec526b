"""snnTorch's Alpha, against values by hand, the closed form of its response and snnTorch itself.

Axes: T steps, B samples, N neurons.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor

from snnlab.config.folders import config_folder
from snnlab.errors import ConfigError
from snnlab.nn import NEURONS
from snnlab.nn.neurons import SnntorchAlpha, SnntorchAlphaState

from ...refusals import assert_raises
from .agreement import trace

pytestmark = pytest.mark.usefixtures("loops_in_python")
T, B, SHAPE = 12, 3, (2, 5, 3)
RESETS = ["value", "subtract", "none"]
every_reset = pytest.mark.parametrize("reset", RESETS)


def drive() -> Tensor:
    torch.manual_seed(0)
    return torch.rand(T, B, *SHAPE) * 6.0 - 1.0


# With alpha = 1/2 and beta = 1/4, tau = ln(1/2) / (ln(1/4) - ln(1/2)) + 1 = 2.
HALF_AND_QUARTER: dict[str, Any] = {"alpha": 0.5, "beta": 0.25}


def test_tau_follows_from_the_two_factors() -> None:
    assert SnntorchAlpha(**HALF_AND_QUARTER).coefficients().tau == pytest.approx(2.0, rel=1e-15)
    assert SnntorchAlpha(alpha=0.5, beta=0.0).coefficients().tau == 1.0
    assert SnntorchAlpha(alpha=0.5, beta=1e-300).coefficients().tau == pytest.approx(1.0, abs=2e-3)


def test_the_factors_are_given_as_time_constants_too() -> None:
    by_factor = SnntorchAlpha(alpha=math.exp(-0.1), beta=math.exp(-0.5)).coefficients()
    assert SnntorchAlpha(tau_syn="10 steps", tau_mem="2 steps").coefficients() == by_factor
    assert SnntorchAlpha(5.0, tau_syn=50.0, tau_mem=10.0).coefficients() == by_factor
    assert not SnntorchAlpha(5.0, tau_syn=50.0, tau_mem=10.0).dt_invariant  # the reset waits for a step


def test_an_impulse_rises_late_and_falls_as_the_difference_of_two_exponentials() -> None:
    alpha, beta = 0.9, 0.8
    x = torch.zeros(30, 1, 1, dtype=torch.float64)
    x[0] = 0.5
    spikes, states = trace(SnntorchAlpha(alpha=alpha, beta=beta), x)
    tau = math.log(beta) / (math.log(beta) - math.log(alpha))
    assert not spikes.any()
    assert states.v.flatten().tolist() == pytest.approx(
        [0.5 * tau * (alpha**t - beta**t) for t in range(30)], rel=1e-12, abs=1e-15
    )


# By hand. The impulse of 8 gives e = 8, h = -8, v = 0; then e = 4, h = -2, v = 2 * 2 = 4, a spike. In the next step
# e = 2, h = -1/2, v = 3 before the reset: all 0; or e - 1 = 1, h = 0, v - 2 = 1, which is no spike (strict); or as is.
@pytest.mark.parametrize(
    ("reset", "third", "spikes"),
    [
        ("value", (0.0, 0.0, 0.0), [0, 1, 0]),
        ("subtract", (1.0, 1.0, 0.0), [0, 1, 0]),
        ("none", (3, 2, -0.5), [0, 1, 1]),
    ],
)
def test_the_reset_acts_a_step_after_the_spike(reset: Any, third: tuple[float, ...], spikes: list[int]) -> None:
    x = torch.tensor([8.0, 0.0, 0.0], dtype=torch.float64).reshape(3, 1, 1)
    outputs, states = trace(SnntorchAlpha(**HALF_AND_QUARTER, reset=reset), x)
    assert outputs.flatten().tolist() == spikes
    assert [part[1].item() for part in states] == pytest.approx([4.0, 4.0, -2.0], abs=1e-14)
    assert [part[2].item() for part in states] == pytest.approx(third, abs=1e-14)


@pytest.mark.parametrize("v", [1.0, 1.0 + 2**-20])
def test_a_membrane_at_the_threshold_is_neither_a_spike_nor_a_reason_to_reset(v: float) -> None:
    before = SnntorchAlphaState(*torch.tensor([v, 1.0, -0.5]).reshape(3, 1, 1))
    _, state = SnntorchAlpha(**HALF_AND_QUARTER)(torch.zeros(1, 1, 1), before)
    assert state.i_exc.item() == (0.5 if v == 1.0 else 0.0)


# d v[1] / d x[0] = tau * (alpha - beta) = 0.5, and snnTorch's atan(2) is 1 / (1 + (pi x)^2); v[0] = 0 for any x[0].
def test_the_surrogate_is_snntorchs_and_the_reset_is_left_out_of_the_gradient() -> None:
    x = torch.tensor([4.0, 0.0, 0.0], dtype=torch.float64).reshape(3, 1, 1).requires_grad_()
    y, state = SnntorchAlpha(**HALF_AND_QUARTER)(x)
    (gradient,) = torch.autograd.grad(y[1].sum(), x, retain_graph=True)
    assert gradient.flatten().tolist() == pytest.approx([0.5 / (1 + math.pi**2), 0.0, 0.0], rel=1e-13)
    (gradient,) = torch.autograd.grad(state.v.sum(), x)
    assert not gradient.any()  # reset to 0: neither the membrane nor the reset itself passes one


def test_it_starts_at_rest() -> None:
    neuron, x = SnntorchAlpha(), drive()
    rest = SnntorchAlphaState(*[torch.zeros(B, *SHAPE)] * 3)
    assert torch.equal(neuron(x)[0], neuron(x, rest)[0])
    assert all(torch.equal(a, b) for a, b in zip(neuron.initial_state(x[0]), rest, strict=True))


@every_reset
def test_its_time_constants_are_in_steps(reset: Any) -> None:
    assert SnntorchAlpha(1.0).coefficients() == SnntorchAlpha(7.0).coefficients()
    assert not SnntorchAlpha(1.0, reset=reset).dt_invariant
    slow, quick = SnntorchAlpha(2.0, alpha=0.9, beta=0.8).constants()
    assert (slow.name, slow.factor, slow.unit, quick.name, quick.factor) == ("tau_syn", 0.9, "factor", "tau_mem", 0.8)
    assert slow.ms == pytest.approx(-2.0 / math.log(0.9))


@pytest.mark.parametrize(
    ("settings", "facts"),
    [
        ({"alpha": 0.8, "beta": 0.9}, ("lif1.alpha", "0.8", "0.9")),
        ({"alpha": 0.9, "beta": 0.9}, ("lif1.alpha", "0.9")),
        ({"alpha": 0.0, "beta": 0.0}, ("lif1.alpha", "0")),
        ({"alpha": 1.0}, ("lif1.alpha", 1.0)),
        ({"beta": -0.1}, ("lif1.beta", -0.1)),
        ({"tau_syn": 5.0, "tau_mem": 5.0}, ("lif1.alpha", "0.818731")),
        (
            {"tau_syn": 5.0, "alpha": 0.9},
            ("lif1", "tau_syn"),
        ),
        ({"v_threshold": 0.0}, ("lif1.v_threshold", "> 0", 0.0)),
        ({"v_threshold": math.inf}, ("lif1.v_threshold",)),
        ({"reset": "zero"}, ("lif1.reset", "zero")),
    ],
)
def test_mistakes_are_named(settings: dict[str, Any], facts: tuple) -> None:
    with assert_raises(ConfigError, *facts):
        NEURONS.build("snntorch_alpha", settings, "lif1", dt=1.0)


def packaged(**changed: Any) -> SnntorchAlpha:
    settings: Any = OmegaConf.to_container(OmegaConf.load(config_folder() / "neuron" / "snntorch_alpha.yaml"))
    return NEURONS.build(settings.pop("type"), settings | changed, "neuron", dt=10.0)


def run_peer(peer: Any, x: Tensor) -> tuple[Tensor, SnntorchAlphaState]:
    """Return snnTorch's spikes and states of all steps, with our field names."""
    i_exc = i_inh = v = torch.zeros_like(x[0])
    outputs, states = [], []
    for x_t in x:
        s, i_exc, i_inh, v = peer(x_t, i_exc, i_inh, v)
        outputs.append(s)
        states.append((v, i_exc, i_inh))
    return torch.stack(outputs), SnntorchAlphaState(*map(torch.stack, zip(*states, strict=True)))


@pytest.mark.peers
@pytest.mark.parametrize(
    ("ours", "theirs", "strength"),
    [
        ({}, {}, 1.0),
        ({"reset": "subtract", "alpha": 0.8, "beta": 0.5}, {"reset_mechanism": "subtract"}, 3.0),
        ({"reset": "none"}, {"reset_mechanism": "none"}, 0.3),
    ],
)
def test_it_is_snntorchs_alpha(ours: dict[str, Any], theirs: dict[str, Any], strength: float) -> None:
    snntorch = pytest.importorskip("snntorch")
    neuron = packaged(**ours)
    steps, neurons = 200, 20_000
    x = (torch.randn(steps, 1, neurons) + 0.2).mul(strength).requires_grad_()
    weights = torch.randn(steps, 1, neurons)

    their_spikes, their_states = run_peer(snntorch.Alpha(*neuron.coefficients()[:2], **theirs), x)
    (their_gradient,) = torch.autograd.grad((their_spikes * weights).sum(), x)
    spikes, _ = neuron(x)
    (gradient,) = torch.autograd.grad((spikes * weights).sum(), x)
    with torch.no_grad():
        traced, states = trace(neuron, x)
    assert torch.equal(traced, spikes)

    agree = (spikes == their_spikes).cumprod(0).bool()
    for name, one, other in zip(states._fields, states, their_states, strict=True):
        error = ((one - other).abs() / other.abs().clamp(min=1.0))[agree].max().item()
        print(f"{name}: {error:.1e}")
        assert error < 1e-5
    first = ~agree & torch.cat([torch.ones_like(agree[:1]), agree[:-1]])
    assert ((states.v[first] - 1.0).abs() <= 1e-5).all()
    excluded = ~agree[-1]
    print(f"{excluded.sum().item()} of {neurons} neurons left out, {spikes.sum().item():.0f} spikes")
    assert excluded.sum() < 50
    assert spikes.sum() > 1e5
    error = (gradient - their_gradient).abs()[:, ~excluded].max() / their_gradient.abs().max()
    print(f"gradient: {error.item():.1e}")
    assert error < 1e-4
