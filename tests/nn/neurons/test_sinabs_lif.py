"""The presets of Sinabs' LIF: several spikes a step, against values by hand, traces of Sinabs and Sinabs itself.

Axes: T steps, B samples, N neurons.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from snnlab.nn.neurons import LIFState

from .agreement import BOTH, assert_agrees, noise, preset, trace

DRIVE = torch.tensor([1.0, 5.0, 5.0, 0.0, 5.0, 5.0, 5.0, 0.0], dtype=torch.float64) * 0.4

# Sinabs 2.0.3 and 3.1.3 printed these.
GOLDEN = [
    (
        {"tau_mem": "10 steps"},
        [0, 0, 0, 0, 0, 0, 0, 0],
        [0.038065, 0.224768, 0.393703, 0.356238, 0.512662, 0.654201, 0.782271, 0.707828],
    ),
    (
        {"tau_mem": "10 steps", "input_gain": 1.0},
        [0, 2, 2, 0, 2, 2, 2, 0],
        [0.4, 0.361935, 0.327492, 0.296327, 0.268128, 0.242612, 0.219525, 0.198634],
    ),
    (
        {"tau_mem": "10 steps", "tau_syn": "5 steps", "input_gain": 1.0},
        [0, 2, 3, 2, 4, 5, 5, 5],
        [0.327492, 0.201917, 0.380328, 0.96213, 0.651466, 0.322467, 0.804292, 0.241016],
    ),
]


def sinabs(dtype: torch.dtype = torch.float32, **settings: Any) -> Any:
    """Return the preset of Sinabs' LIF, with a synapse where its time constant is given."""
    synaptic = settings.keys() & {"tau_syn", "alpha"}
    names = (("beta", "tau_mem"), ("alpha", "tau_syn"))
    factors: dict[str, Any] = {tau: None for factor, tau in names if factor in settings}
    return preset("sinabs_cuba_lif" if synaptic else "sinabs_lif", dtype, **factors | settings)


@pytest.mark.parametrize(("settings", "spikes", "membrane"), GOLDEN)
def test_it_has_sinabs_traces(settings: dict[str, Any], spikes: list[int], membrane: list[float]) -> None:
    outputs, states = trace(sinabs(**settings), DRIVE.reshape(-1, 1, 1))
    assert outputs.flatten().tolist() == spikes
    assert states.v.flatten().tolist() == pytest.approx(membrane, abs=2e-6)


def test_the_current_is_kept_after_its_decay() -> None:
    x = torch.tensor([1.0, 0.5]).reshape(2, 1, 1)
    assert trace(sinabs(alpha=0.5), x)[1].i.flatten().tolist() == [0.5, 0.5]


# Halves and quarters are exact: u is 3.5, then 0.25 + 0.75, then 0 - 2, then -1 + 1.5.
def test_it_spikes_as_often_as_the_membrane_holds_the_threshold_and_subtracts_each() -> None:
    x = torch.tensor([3.5, 0.75, -2.0, 1.5]).reshape(-1, 1, 1)
    outputs, states = trace(sinabs(beta=0.5, input_gain=1.0), x)
    assert outputs.flatten().tolist() == [3, 1, 0, 0]
    assert states.v.flatten().tolist() == [0.5, 0.0, -2.0, 0.5]


def test_the_membrane_falls_no_lower_than_its_bound() -> None:
    x = torch.tensor([-2.0, 0.5, 2.5]).reshape(-1, 1, 1)
    _, states = trace(sinabs(beta=0.5, input_gain=1.0, floor=-0.5), x)
    assert states.v.flatten().tolist() == [-0.5, 0.25, 0.625]
    _, state = sinabs(beta=0.5)(torch.full((3, 1, 1), 0.0), LIFState(-torch.ones(1, 1)))
    assert state.v.item() == -0.125


# The gradient is around the first threshold only: Sinabs' SingleExponential is 2 / thr * exp(-2 |u - thr| / thr).
@pytest.mark.parametrize("threshold", [1.0, 0.5])
@pytest.mark.parametrize("u", [-1.0, 0.75, 1.0, 2.0, 3.25])
def test_the_gradient_of_any_number_of_spikes_is_one_exponential(u: float, threshold: float) -> None:
    x = torch.full((1, 1, 1), u, dtype=torch.float64, requires_grad=True)
    y, _ = sinabs(torch.float64, input_gain=1.0, v_threshold=threshold)(x)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert gradient.item() == pytest.approx(2 / threshold * math.exp(-2 * abs(u - threshold) / threshold), rel=1e-14)


PEERS: list[tuple[dict[str, Any], dict[str, Any], float]] = [
    ({}, {}, 4.0),
    ({"input_gain": 1.0, "tau_syn": "5 steps"}, {"norm_input": False, "tau_syn": 5.0}, 0.5),
    (
        {"input_gain": 1.0, "tau_syn": "5 steps", "floor": -0.5, "v_threshold": 0.7},
        {"norm_input": False, "tau_syn": 5.0, "min_v_mem": -0.5, "spike_threshold": torch.tensor(0.7)},
        0.5,
    ),
]


@pytest.mark.peers
@BOTH
@pytest.mark.parametrize(("ours", "theirs", "strength"), PEERS)
def test_it_is_sinabs(
    ours: dict[str, Any], theirs: dict[str, Any], strength: float, dtype: torch.dtype, batch: int
) -> None:
    layers = pytest.importorskip("sinabs.layers")
    fields = ("v", "i") if "tau_syn" in ours else ("v",)

    neuron, x = sinabs(dtype, **ours), noise(dtype, batch, 0.4 * strength, strength)

    def run_peer(x: Tensor) -> tuple[Tensor, list[Tensor]]:
        peer = layers.LIF(tau_mem=neuron.constants()[0].steps, **theirs).to(dtype)
        y = torch.cat([peer(x_t[:, None]).transpose(0, 1) for x_t in x])
        return y, [peer.v_mem, peer.i_syn][: len(fields)]

    tolerance = (1e-6, 1e-6) if dtype == torch.float64 else None  # its threshold and surrogate are in single precision
    assert_agrees(neuron, run_peer, x, state_fields=fields, tolerance=tolerance)


@pytest.mark.peers
def test_the_gradients_of_its_time_constants_are_sinabs() -> None:
    layers = pytest.importorskip("sinabs.layers")
    neuron = sinabs(tau_syn="5 steps", input_gain=1.0, learn=["tau_mem", "tau_syn"])
    x, weights = torch.randn(30, 1, 50), torch.randn(30, 1, 50)
    peer = layers.LIF(tau_mem=neuron.constants()[0].steps, tau_syn=5.0, norm_input=False)
    (peer(x.transpose(0, 1)).transpose(0, 1) * weights).sum().backward()
    (neuron(x)[0] * weights).sum().backward()
    for name in ("tau_mem", "tau_syn"):
        # The parameter is the logarithm of the time constant.
        steps = neuron.learned[name].detach().exp()
        expected = getattr(peer, name).grad * steps
        torch.testing.assert_close(neuron.learned[name].grad, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.peers
@pytest.mark.parametrize(("settings", "spikes", "membrane"), GOLDEN)
def test_the_installed_sinabs_has_the_same_traces(
    settings: dict[str, Any], spikes: list[int], membrane: list[float]
) -> None:
    layers = pytest.importorskip("sinabs.layers")
    syn = 5.0 if "tau_syn" in settings else None
    peer = layers.LIF(tau_mem=10.0, tau_syn=syn, norm_input="input_gain" not in settings, record_states=True)
    assert peer(DRIVE.float().reshape(1, -1, 1)).flatten().tolist() == spikes
    assert peer.recordings["v_mem"].flatten().tolist() == pytest.approx(membrane, abs=2e-6)
