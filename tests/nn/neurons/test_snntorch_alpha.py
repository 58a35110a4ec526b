"""snnTorch's Alpha, against values by hand, the closed form of its response and snnTorch itself.

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
from snnlab.nn.neurons import SnntorchAlpha, SnntorchAlphaState

from ...refusals import assert_raises
from .agreement import BOTH, assert_agrees, noise, preset, trace

RESETS = ["value", "subtract", "none"]
every_reset = pytest.mark.parametrize("reset", RESETS)


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
        ({"tau_syn": 5.0, "alpha": 0.9}, ("lif1", "tau_syn")),
        ({"v_threshold": math.inf}, ("lif1.v_threshold",)),
        ({"reset": "zero"}, ("lif1.reset", "zero")),
    ],
)
def test_mistakes_are_named(settings: dict[str, Any], facts: tuple) -> None:
    with assert_raises(ConfigError, *facts):
        NEURONS.build("snntorch_alpha", settings, "lif1", dt=1.0)


@pytest.mark.peers
@BOTH
@pytest.mark.parametrize(
    ("ours", "theirs", "strength"),
    [
        ({}, {}, 1.0),
        ({"reset": "subtract", "alpha": 0.8, "beta": 0.5}, {"reset_mechanism": "subtract"}, 3.0),
        ({"reset": "none"}, {"reset_mechanism": "none"}, 0.3),
    ],
)
def test_it_is_snntorchs_alpha(
    ours: dict[str, Any], theirs: dict[str, Any], strength: float, dtype: torch.dtype, batch: int
) -> None:
    snntorch = pytest.importorskip("snntorch")
    neuron = preset("snntorch_alpha", dtype, **ours)

    def run_peer(x: Tensor) -> tuple[Tensor, SnntorchAlphaState]:
        peer = snntorch.Alpha(*(torch.tensor(k, dtype=dtype) for k in neuron.coefficients()[:2]), **theirs)
        i_exc = i_inh = v = torch.zeros_like(x[0])
        outputs = []
        for x_t in x:
            s, i_exc, i_inh, v = peer(x_t, i_exc, i_inh, v)
            outputs.append(s)
        return torch.stack(outputs), SnntorchAlphaState(v, i_exc, i_inh)

    tolerance = (1e-11, 1e-6) if dtype == torch.float64 else None  # its surrogate is in single precision
    assert_agrees(neuron, run_peer, noise(dtype, batch, 0.2 * strength, strength), tolerance=tolerance)
