"""Settings that several neurons share: several spikes a step, a floor, values for each neuron, the late current."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from snnlab.errors import ConfigError
from snnlab.nn import IAF, LIF, CubaLIF

from ...refusals import assert_raises


def run(neuron: Any, *x: float) -> tuple[list[float], Any]:
    y, state = neuron(torch.tensor(x).reshape(-1, 1, 1))
    return y.flatten().tolist(), state


def test_several_spikes_each_subtract_the_threshold() -> None:
    spikes, state = run(IAF(spikes="several", v_threshold=2.0), 5.0, 0.5, 0.6, -3.0)
    assert spikes == [2, 0, 1, 0]
    assert state.v.item() == pytest.approx(-2.9)


def test_the_membrane_stays_at_its_floor() -> None:
    spikes, state = run(IAF(floor=-1.0), -5.0, 1.5, 1.0, -0.25)
    assert spikes == [0, 0, 1, 0]
    assert state.v.item() == 0.25


@pytest.mark.parametrize("backend", ["reference", "numba"])
def test_all_of_it_has_the_same_spikes_in_loops_of_kernels(backend: Any) -> None:
    torch.manual_seed(0)
    x = torch.randn(50, 2, 7) * 2
    neuron = LIF(1.0, tau_mem=5.0, spikes="several", floor=-0.5, per_neuron=["tau_mem", "v_threshold"], in_shape=(7,))
    neuron.get_buffer("tau_mem_values").uniform_(2.0, 9.0)
    neuron.get_buffer("v_threshold_values").uniform_(0.5, 1.5)
    neuron.backend = backend
    y, _ = neuron(x)
    v = torch.zeros(2, 7)
    a = torch.exp(-1.0 / neuron.get_buffer("tau_mem_values")).float()
    threshold = neuron.get_buffer("v_threshold_values").float()
    for t, x_t in enumerate(x):
        u = a * v + x_t
        s = torch.trunc(u.clamp(min=0.0) / threshold)
        v = (u - s * threshold).clamp(min=-0.5)
        assert torch.equal(y[t], s)


def test_the_late_current_reaches_the_membrane_in_the_next_step() -> None:
    neuron = CubaLIF(beta=0.5, alpha=0.5, input_gain=1.0, synapse="next_step", v_threshold=9.0)
    y, state = neuron(torch.tensor([1.0, 0.0, 0.0]).reshape(-1, 1, 1))
    assert y.sum() == 0
    assert (state.v.item(), state.i.item()) == (1.0, 0.25)  # v: 0, 1, 0.5 + 0.5


@pytest.mark.parametrize(
    ("settings", "place"),
    [
        ({"spikes": "several", "reset": "value"}, "spikes"),
        ({"spikes": "several", "threshold": "strict"}, "spikes"),
        ({"floor": 0.5}, "floor"),
        ({"floor": -1.0, "reset_delay": True}, "floor"),
        ({"per_neuron": ["v_threshhold"], "in_shape": (2,)}, "per_neuron"),
        ({"per_neuron": ["v_threshold"]}, "per_neuron"),
        ({"per_neuron": ["v_threshold"], "learn": ["v_threshold"], "in_shape": (2,)}, "per_neuron"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings: dict[str, Any], place: str) -> None:
    with assert_raises(ConfigError, place):
        IAF(**settings)
