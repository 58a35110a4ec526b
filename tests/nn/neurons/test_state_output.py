"""`output: v`: a layer of spiking neurons that gives a variable of its state.

Axes: T steps, B samples, N neurons.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from snnlab.errors import ConfigError
from snnlab.nn import LIF, NEURONS, Network, build_network
from snnlab.nn.neuron_equations import equations_of_neuron
from snnlab.nn.neurons.base import plain_loops
from snnlab.nn.summary import learned

from ...refusals import assert_raises

T, B, N = 40, 3, 5


def drive() -> Tensor:
    torch.manual_seed(0)
    return torch.rand(T, B, N, dtype=torch.float64) * 0.6


def make(kind: str, **settings: Any) -> Any:
    return NEURONS.build(kind, settings, "lif1", dt=1.0, in_shape=(N,)).double()


def loop(x: Tensor, a: float, late: bool) -> tuple[Tensor, Tensor]:
    """Return membranes and spikes of lif with threshold 1 and a reset by subtraction."""
    v, s, membranes, spikes = torch.zeros_like(x[0]), torch.zeros_like(x[0]), [], []
    for x_t in x:
        v = a * v + x_t - (s if late else 0.0)
        s = (v >= 1).to(v)
        v = v if late else v - s
        membranes.append(v)
        spikes.append(s)
    return torch.stack(membranes), torch.stack(spikes)


@pytest.mark.parametrize("late", [False, True])
def test_the_output_is_the_membrane_of_neurons_that_spike_and_are_reset(late: bool) -> None:
    x = drive()
    y, state = make("lif", beta=0.9, reset_delay=late, output="v")(x)
    membranes, spikes = loop(x, 0.9, late)
    torch.testing.assert_close(y, membranes, rtol=0, atol=1e-12)
    torch.testing.assert_close(state.v, membranes[-1], rtol=0, atol=1e-12)
    assert spikes.sum() > 100
    assert torch.equal(LIF(beta=0.9, reset_delay=late)(x)[0], spikes)


@pytest.mark.parametrize(
    ("kind", "variable", "settings"),
    [
        ("lif", "v", {}),
        ("alif", "w", {}),
        ("cuba_lif", "i", {}),
        ("brf", "v", {"omega": [8.0, 9.0]}),
        ("izhikevich", "v", {}),
    ],
)
def test_compiled_loops_give_outputs_and_gradients_of_the_plain_loop(
    kind: str, variable: str, settings: dict[str, Any]
) -> None:
    neuron, found = make(kind, output=variable, **settings), []
    weights = torch.randn(T, B, N, dtype=torch.float64)
    for plain in (False, True):
        x = drive().requires_grad_()
        if plain:
            with plain_loops():
                y, _ = neuron(x)
        else:
            y, _ = neuron(x)
        (y * weights).sum().backward()
        assert x.grad is not None
        found.append((y.detach(), x.grad))
    assert torch.equal(found[0][0], found[1][0])
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-9, atol=1e-12)
    assert found[0][1].any()


def test_a_membrane_is_no_spike_to_a_network_that_counts_them() -> None:
    layers = {"fc": {"type": "linear", "out_features": 4}, "lif1": {"type": "lif", "output": "v"}}
    built = build_network(layers, in_shape=(N,), dt=1.0)
    counts: dict[str, Tensor] = {}
    built.network(drive().float(), counts=counts)
    assert not built.spiking
    assert not counts


def test_equations_end_with_the_variable_that_is_read() -> None:
    found = equations_of_neuron(make("lif", output="v"))
    assert not isinstance(found, str)
    assert found.text()[-1] == "y[t] = v[t]"
    assert found.values["tau_mem"] == "20 ms"


def test_learned_values_are_those_of_the_neurons() -> None:
    network = Network({"readout": make("alif", tau_mem=30.0, learn={"tau_mem": "channel"}, output="v")})
    (one,) = learned(network)
    assert (one.layer, one.key) == ("readout", "tau_mem_ms")
    torch.testing.assert_close(one.values, torch.full((N,), 30.0).double(), rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("kind", "settings", "facts"),
    [
        ("lif", {"output": "i"}, ("'i'", "v")),
        ("alif", {"output": "V"}, ("'V'", "v")),
        ("lif", {"output": "v", "recurrent": True}, ("recurrent",)),
        ("psn", {"output": "v"}, ("PSN",)),
    ],
)
def test_a_variable_that_is_not_there_is_named(kind: str, settings: dict[str, Any], facts: tuple[str, ...]) -> None:
    with assert_raises(ConfigError, "lif1.output", *facts):
        NEURONS.build(kind, settings, "lif1", dt=1.0, in_shape=(N,), num_steps=T)


def test_a_neuron_whose_parameters_a_device_stores_stays_one() -> None:
    assert make("lif", output="v").rounds_coefficients
    assert not make("brf", omega=[8.0, 9.0], output="v").rounds_coefficients
