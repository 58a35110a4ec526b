"""A network's form: its plain dense loops give the network's own outputs and states, and what has none says why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from snnlab.errors import ConfigError
from snnlab.nn.dense_loops import DenseLoops
from snnlab.nn.network import Network, build_network
from snnlab.nn.network_form import Currents, network_form
from snnlab.nn.neurons.recurrent import Feedback
from snnlab.nn.record import record

from ..refusals import assert_raises

SHAPE = (2, 6, 6)
CONV: dict[str, Any] = {"type": "conv2d", "out_channels": 4, "kernel_size": 3, "padding": 1, "bias": False}
FLATTEN: dict[str, Any] = {"type": "flatten"}
FC: dict[str, Any] = {"type": "linear", "out_features": 5}
LIF: dict[str, Any] = {"type": "lif"}

SPIKING: dict[str, dict[str, Any]] = {
    **{name: {"type": name} for name in ("adex", "adlif", "alif", "coba_lif", "cuba_lif", "ef_adlif", "glif", "iaf")},
    **{
        name: {"type": name} for name in ("klif", "lif_ex", "lif_refrac", "lsnn", "resonate_and_fire", "snntorch_alpha")
    },
    **{name: {"type": name} for name in ("tc_lif",)},
    "brf": {"type": "brf", "v_threshold": 0.001},
    "izhikevich": {"type": "izhikevich", "input_gain": 20.0},
    "per_channel": {"type": "alif", "learn": {"tau_mem": "channel", "v_leak": "channel"}},
    "per_neuron": {"type": "cuba_lif", "learn": {"tau_syn": "neuron", "v_threshold": "neuron"}},
}
DELAYED: dict[str, dict[str, dict[str, Any]]] = {
    "conv": {"conv": {**CONV, "delay": {"max": "3 steps"}}, "lif": LIF},
    "linear": {"flatten": FLATTEN, "fc": {**FC, "delay": {"max": "5 steps", "count": 2}}, "lif": LIF},
    "feedback": {"conv": CONV, "lif": {**LIF, "recurrent": {"type": "conv", "delay": {"max": "3 steps"}}}},
    "outputs": {"flatten": FLATTEN, "axons": {"type": "delay", "delay": {"max": "4 steps"}}, "fc": FC, "lif": LIF},
    "dense_feedback": {"flatten": FLATTEN, "fc": FC, "lif": {**LIF, "recurrent": {"delay": {"max": "4 steps"}}}},
}


def on_grid(layers: Mapping[str, Mapping[str, Any]]) -> Network:
    """Return a network whose sums are not rounded, so that any order of them gives the same bits."""
    torch.manual_seed(0)
    network = build_network(layers, in_shape=SHAPE, dt=1.0).network.eval()
    with torch.no_grad():
        for module in network.modules():
            if "weight" in dict(module.named_parameters(recurse=False)):
                for values in (module.weight, module.bias):
                    if isinstance(values, Tensor):
                        values.copy_((values * (64 if isinstance(module, Feedback) else 256)).round() / 64)
            elif "learned" in dict(module.named_children()):
                for parameter in module.parameters():
                    parameter += 0.3 * torch.randn_like(parameter)
    return network


def compare(network: Network, num_steps: int = 40) -> dict[str, int]:
    """Compare outputs and all states after every step; return the numbers of spikes."""
    x = torch.from_numpy(np.random.default_rng(0).poisson(0.2, (num_steps, 1, *SHAPE)).astype(np.float32))
    expected, dense = record(network, x), DenseLoops(network_form(network, SHAPE))
    for t in range(num_steps):
        y = dense.step(x[t, 0].numpy())
        np.testing.assert_array_equal(y.ravel(), expected.y[t, 0].ravel(), f"output of step {t}")
        rtol = 1e-4 if any(not one.form.step.exact for one in dense.form.neurons.values()) else 0.0
        for name, states in dense.states.items():
            for state, values in states.items():
                own = expected.states[name][state][t, 0].ravel()
                # torch's exponential function rounds differently.
                np.testing.assert_allclose(values.ravel(), own, rtol, rtol, err_msg=f"{name}.{state}, step {t}")
    return {name: int(spikes.sum()) for name, spikes in expected.spikes.items()}


@pytest.mark.parametrize("kind", SPIKING)
def test_dense_loops_of_all_neurons_give_the_states_of_the_network(kind: str) -> None:
    layers = {"conv": CONV, "first": SPIKING[kind], "pool": {"type": "sum_pool", "kernel_size": 2}}
    network = on_grid({**layers, "flatten": FLATTEN, "fc": FC, "second": SPIKING[kind]})
    assert compare(network)["first"] > 10


@pytest.mark.parametrize("kind", DELAYED)
def test_delays_are_maps_of_earlier_values(kind: str) -> None:
    network = on_grid(DELAYED[kind])
    assert compare(network)["lif"] > 10
    (currents,) = (one for one in network_form(network, SHAPE).operations if isinstance(one, Currents))
    assert len({one.source.delay for one in currents.maps}) > 2


@pytest.mark.parametrize(
    ("layers", "at"),
    [
        ({"conv": CONV, "norm": {"type": "batch_norm"}}, "norm"),
        ({"conv": CONV, "relu": {"type": "relu"}}, "relu"),
        ({"conv": CONV, "psn": {"type": "sliding_psn"}}, "psn"),
        ({"conv": CONV, "glif": {"type": "glif", "conductance_per_step": True}}, "glif"),
        ({"lif": {**LIF, "recurrent": True}}, "lif"),
        ({"delay": {"type": "delay", "delay": {"max": "3 steps"}}, "conv": CONV}, "delay"),
        ({"delay": {"type": "delay"}, "lif": LIF}, "delay"),
        ({"conv": CONV, "lif": LIF, "delay": {"type": "delay"}}, "delay"),
    ],
)
def test_a_network_without_a_form_is_refused_by_its_layer(layers: dict[str, Any], at: str) -> None:
    network = build_network(layers, in_shape=SHAPE, dt=1.0, num_steps=4).network.eval()
    with assert_raises(ConfigError, f"model.layers.{at}"):
        network_form(network, SHAPE)


def test_a_step_is_printed_with_the_names_of_states_and_numbers() -> None:
    layers = {"conv": CONV, "lif": {"type": "lif", "tau_mem": 5.0, "v_threshold": 0.5}}
    (neurons,) = network_form(build_network(layers, in_shape=SHAPE, dt=1.0).network, SHAPE).neurons.values()
    assert neurons.form.text().splitlines() == [
        "e1 = ((k_a * v[t-1]) + x)",
        "e2 = where(((e1 - k_v_threshold) >= 0), 1, 0)",
        "v[t] = (e1 - (e2 * k_r))",
        "y[t] = e2",
    ]
