"""Which networks can run on events, and the errors of others."""

from __future__ import annotations

from typing import Any

import pytest

from snnlab.errors import ConfigError
from snnlab.nn.network import build_network
from snnlab.nn.network_form import network_form
from snnlab.streaming.stream_layers import stream_layers

from ..refusals import assert_raises

CONV: dict[str, Any] = {"type": "conv2d", "out_channels": 2, "kernel_size": 3}
SAME: dict[str, Any] = {**CONV, "padding": 1}
LIF: dict[str, Any] = {"type": "lif"}
END: dict[str, dict[str, Any]] = {"flatten": {"type": "flatten"}, "out": {"type": "linear", "out_features": 2}}


@pytest.mark.parametrize(
    ("layers", "at"),
    [
        ({"conv": CONV, "norm": {"type": "batch_norm"}, "lif": LIF}, "norm"),
        ({"conv": CONV, "relu": {"type": "relu"}}, "relu"),
        (
            {"conv": CONV, "lif": LIF, "block": {"type": "residual", "layers": {"c": SAME, "li": {"type": "li"}}}},
            "block",
        ),
        ({"conv": CONV, "lif": {**LIF, "recurrent": {"type": "dense"}}}, "lif"),
        ({"conv": CONV, "lif": {**LIF, "recurrent": {"type": "conv", "bias": True}}}, "lif"),
        ({"conv": CONV, "lif": LIF, "block": {"type": "residual", "connect": "iand", "layers": {"lif": LIF}}}, "block"),
        ({"conv": CONV, "pool": {"type": "avg_pool", "kernel_size": 2}, "lif": LIF}, "pool"),
        ({"conv": CONV, "pool": {"type": "max_pool", "kernel_size": 3, "stride": 1}, "lif": LIF}, "pool"),
        ({"conv": CONV, "li": {"type": "li"}, "conv2": CONV}, "conv2"),
        ({"conv": CONV, "conv2": CONV}, "conv2"),
        ({"lif": LIF}, "lif"),
        ({"conv": {**CONV, "padding": 1, "padding_mode": "circular"}}, "conv"),
        ({"conv": CONV, "lif": LIF, "out": {"type": "linear", "out_features": 2}}, "out"),
    ],
)
def test_a_network_that_cannot_run_on_events_is_refused_by_its_layer(layers: dict[str, Any], at: str) -> None:
    network = build_network(layers, in_shape=(2, 9, 9), dt=1.0).network.eval()
    with assert_raises(ConfigError, f"model.layers.{at}"):
        stream_layers(network_form(network, (2, 9, 9)))


def test_a_network_in_double_precision_or_for_another_sensor_is_refused() -> None:
    network = build_network({"conv": CONV, "lif": LIF, **END}, in_shape=(2, 9, 9), dt=1.0).network
    for shape, at in [((3, 9, 9), "conv"), ((2, 9, 10), "out")]:
        with assert_raises(ConfigError, f"model.layers.{at}"):
            stream_layers(network_form(network, shape))
    with assert_raises(ConfigError, "model.layers.conv", "float64"):
        network_form(network.double(), (2, 9, 9))


def test_dropout_and_identity_do_nothing() -> None:
    layers = {"conv": CONV, "lif": LIF, "drop": {"type": "dropout"}, "same": {"type": "identity"}, **END}
    network = build_network(layers, in_shape=(2, 9, 9), dt=1.0).network.eval()
    found = stream_layers(network_form(network, (2, 9, 9)))
    assert [layer.name for layer in found] == ["conv", "out"]
    assert [layer.neurons for layer in found] == ["lif", ""]
    assert found[1].whole


def test_only_neurons_that_wait_for_input_are_driven() -> None:
    def driven(**settings: Any) -> bool:
        layers = {"conv": {**CONV, "bias": False}, "neuron": settings}
        network = build_network(layers, in_shape=(2, 9, 9), dt=1.0).network
        (layer,) = stream_layers(network_form(network, (2, 9, 9)))
        return layer.is_driven

    assert driven(type="lif")
    assert driven(type="iaf", spikes="several", floor=-1.0)
    assert driven(type="lif", learn={"tau_mem": "channel", "v_threshold": "channel"})
    assert driven(type="lif", reset="value", v_reset=-0.25, threshold="strict")
    assert driven(type="iaf", reset_delay=True)
    assert not driven(type="lif", learn={"v_leak": "channel"})
    assert not driven(type="lif", input_gain=-1.0)
    assert not driven(type="klif")
    assert not driven(type="lif_refrac")
    assert not driven(type="lif", v_leak=0.2)
    assert not driven(type="lif", v_leak=1.2)
    assert not driven(type="lif", reset_delay=True)
    assert not driven(type="iaf", v_init=2.0)
    assert not driven(type="cuba_lif")
    assert not driven(type="alif")
    assert not driven(type="li")
