"""Settings that several neurons share: several spikes a step, a floor, values for each neuron, the late current."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from snnlab.errors import ConfigError
from snnlab.nn import IAF, LIF, CubaLIF
from snnlab.nn.neurons.base import set_backend
from snnlab.nn.neurons.register import NEURONS
from snnlab.spec.signatures import fields_of

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


TONIC: dict[str, dict[str, Any]] = {
    "subtract": {"type": "lif"},
    "value": {"type": "lif", "reset": "value", "v_reset": -0.5, "threshold": "strict"},
    "several": {"type": "lif", "spikes": "several"},
    "cuba": {"type": "cuba_lif", "reset": "value"},
    **{kind: {"type": kind} for kind in ("alif", "lsnn", "klif", "lif_refrac")},
    "neurons": {"type": "lif", "per_neuron": ["v_leak"]},
    "learned": {"type": "lif", "reset": "value", "learn": ["v_leak", "v_threshold", "v_reset"]},
    "feedback": {"type": "lif", "recurrent": True},
}


def test_each_neuron_with_a_leak_is_known_to_spike_alone_or_refuses_it() -> None:
    leaking = {name for name in NEURONS if "v_leak" in fields_of(NEURONS.get(name, ""))}
    refusing = {"lif_ex", "adex", "coba_lif"}
    assert leaking == {node["type"] for node in TONIC.values()} | refusing | {"li", "cuba_li"}
    for name in refusing:
        with assert_raises(ConfigError, "n.v_threshold", "v_leak"):
            NEURONS.build(name, {"v_leak": 1.2, "v_threshold": 1.0}, "n", dt=1.0)


@pytest.mark.parametrize("kind", TONIC)
def test_a_neuron_with_a_leak_above_its_threshold_spikes_without_input_in_all_loops(kind: str) -> None:
    settings = {"v_leak": 1.4, "tau_mem": 4.0, **TONIC[kind]}
    torch.manual_seed(0)
    neuron: Any = NEURONS.build(settings.pop("type"), settings, "n", dt=1.0, in_shape=(3,)).eval()
    x = torch.zeros(60, 2, 3)
    x[40:] = torch.randn(20, 2, 3)
    found = {}
    for backend in ("reference", "numba"):
        set_backend(neuron, backend)
        found[backend], _ = neuron(x)
    assert torch.equal(found["numba"], found["reference"])
    assert bool(found["numba"][0].all())
    assert bool((found["numba"][:40].sum(0) >= 2).all())


def test_the_period_of_a_neuron_that_spikes_alone_is_that_of_its_equation() -> None:
    neuron = LIF(1.0, tau_mem=20.0, v_leak=1.25, reset="value", threshold="strict").double()
    s, _ = neuron(torch.zeros(400, 1, 1, dtype=torch.float64))
    # From 0 it passes 1 after 20 ln(1.25 / 0.25) = 32.2 ms.
    assert s.flatten().nonzero().flatten().diff().unique().tolist() == [33]


def test_a_learned_leak_above_the_threshold_starts_there_and_has_a_gradient() -> None:
    neuron = LIF(1.0, v_leak=1.5, reset="value", v_reset=0.25, learn=["v_leak", "v_threshold", "v_reset"])
    assert [neuron.v_leak, neuron.v_threshold, neuron.v_reset] == pytest.approx([1.5, 1.0, 0.25])
    neuron(torch.zeros(20, 1, 3))[0].sum().backward()
    assert all(parameter.grad is not None for parameter in neuron.parameters())
