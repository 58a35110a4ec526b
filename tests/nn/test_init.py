"""Initial weights: input and membrane have the promised standard deviation for random spikes."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from snnlab.errors import ConfigError
from snnlab.nn import LI, LIF, NEURONS, CubaLIF, build_network
from snnlab.nn.init import INITS, impulse_response
from snnlab.nn.neurons import IAF

from ..refusals import assert_raises

RATE = 0.05


def network(in_shape: tuple[int, ...] = (400,), **layers: dict[str, Any]) -> Any:
    torch.manual_seed(0)
    return build_network(layers, in_shape=in_shape, dt=1.0).network


def initialized(kind: str, of: Any, **settings: Any) -> list[str]:
    torch.manual_seed(1)
    return INITS.build(kind, settings, "model.init", dt=1.0)(of)


def spikes(*shape: int, rate: float = RATE, counts: bool = False) -> torch.Tensor:
    generator = torch.Generator().manual_seed(2)
    rates = torch.full(shape, rate)
    return torch.poisson(rates, generator) if counts else torch.bernoulli(rates, generator=generator)


SILENT = {"v_threshold": 1e9, "reset": "none"}
FC = {"type": "linear", "out_features": 300, "bias": False}


@pytest.mark.parametrize("std", [0.5, 1.0])
def test_the_standard_deviation_of_the_input_is_the_configured_one(std: float) -> None:
    net = network(fc=FC, lif={"type": "lif", "v_threshold": 2.0})
    assert initialized("variance_preserving", net, per_step=RATE, std=std) == ["fc"]
    drive = net.fc(spikes(400, 400, counts=True))
    assert drive.std().item() == pytest.approx(std * 2.0, rel=0.05)
    assert abs(drive.mean().item()) < 0.05


@pytest.mark.parametrize(
    "neuron",
    [
        {"type": "lif", "tau_mem": 10.0},
        {"type": "lif", "beta": 0.8, "input_gain": "1-a"},
        {"type": "cuba_lif", "tau_mem": 15.0, "tau_syn": 5.0},
    ],
)
@pytest.mark.parametrize("xi", [1.0, 3.0])
def test_the_membranes_deviation_is_the_threshold_over_xi(neuron: dict[str, Any], xi: float) -> None:
    settings = {key: value for key, value in neuron.items() if key != "type"}
    net = network(fc=FC, lif={**neuron, "v_threshold": 1.5})
    initialized("fluctuation_driven", net, per_step=RATE, xi=xi)
    free = NEURONS.build("cuba_lif" if "tau_syn" in neuron else "lif", {**settings, **SILENT}, "free", dt=1.0)
    x = net.fc(spikes(800, 2, 400, counts=True)).detach()
    state, k = free.initial_state(x[0]), free.coefficients()
    membrane = []
    for x_t in x:
        _, state = free.step(x_t, state, k)
        membrane.append(state.v)
    over_time = torch.stack(membrane[100:]).var(0).mean().sqrt().item()
    assert over_time == pytest.approx(1.5 / xi, rel=0.05)


def test_the_second_layer_expects_spikes_of_the_first_and_pools_between_them() -> None:
    layers: dict[str, Any] = {
        "conv1": {"type": "conv2d", "out_channels": 8, "kernel_size": 3},
        "lif1": {"type": "lif"},
        "pool": {"type": "max_pool", "kernel_size": 2},
        "conv2": {"type": "conv2d", "out_channels": 50, "kernel_size": 3},
        "lif2": {"type": "lif"},
    }
    net = network((2, 16, 16), **layers)
    initialized("variance_preserving", net, per_step=RATE)
    pooled = 1 - (1 - RATE) ** 4  # a pool of four has a spike where one of them has
    assert net.conv2.weight.std().item() == pytest.approx(0.5 / math.sqrt(8 * 9 * pooled), rel=0.05)
    assert net.conv1.weight.std().item() == pytest.approx(0.5 / math.sqrt(2 * 9 * (RATE + RATE**2)), rel=0.15)


@pytest.mark.parametrize(("kind", "square"), [("avg_pool", RATE * (1 - RATE) / 4 + RATE**2), ("sum_pool", None)])
def test_means_and_sums_of_spikes_have_different_mean_squares(kind: str, square: float | None) -> None:
    square = 4 * RATE * (1 - RATE) + (4 * RATE) ** 2 if square is None else square
    layers: dict[str, Any] = {
        "lif1": {"type": "lif"},
        "pool": {"type": kind, "kernel_size": 2},
        "conv": {"type": "conv2d", "out_channels": 64, "kernel_size": 3},
        "lif2": {"type": "lif"},
    }
    net = network((4, 12, 12), **layers)
    initialized("variance_preserving", net, per_step=RATE)
    assert net.conv.weight.std().item() == pytest.approx(0.5 / math.sqrt(36 * square), rel=0.05)


@pytest.mark.compiled
def test_a_deep_network_spikes_although_it_is_silent_with_default_weights() -> None:
    layers: dict[str, Any] = {}
    for n in range(6):
        layers[f"fc{n}"] = {"type": "linear", "out_features": 200, "bias": False}
        layers[f"lif{n}"] = {"type": "lif"}
    x = spikes(200, 8, 400)
    with torch.no_grad():
        usual = network(**layers)
        assert usual(x)[0].sum() == 0
        for kind in ("variance_preserving", "fluctuation_driven"):
            alive = network(**layers)
            assert len(initialized(kind, alive, per_step=RATE)) == 6
            counts: dict[str, torch.Tensor] = {}
            alive(x, counts=counts)
            rates = [n.mean().item() / 200 for n in counts.values()]
            assert all(0.0005 < rate < 0.5 for rate in rates), (kind, rates)


def test_readouts_and_biases_do_not_change() -> None:
    net = network(fc={**FC, "bias": True}, lif={"type": "lif"}, out={**FC}, readout={"type": "li"})
    before = {name: value.clone() for name, value in net.state_dict().items()}
    assert initialized("fluctuation_driven", net) == ["fc"]
    changed = {name for name, value in net.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"fc.weight"}


def test_the_impulse_response_is_the_closed_form() -> None:
    a, b = math.exp(-1 / 20), math.exp(-1 / 10)
    lif = impulse_response(LIF(1.0))
    torch.testing.assert_close(lif[:50], torch.tensor([a**t for t in range(50)], dtype=torch.float64))
    cuba = impulse_response(CubaLIF(1.0, input_gain=1.0))
    expected = [(a ** (t + 1) - b ** (t + 1)) / (a - b) for t in range(50)]
    torch.testing.assert_close(cuba[:50], torch.tensor(expected, dtype=torch.float64))
    assert impulse_response(LIF(1.0, v_leak=0.5, learn={"tau_mem": "channel"}, in_shape=(3,))).shape == lif.shape


@pytest.mark.parametrize(
    ("kind", "settings", "dt", "fragments"),
    [
        ("variance_preserving", {}, None, ("model.init.rate_hz", "per_step")),
        ("variance_preserving", {"rate_hz": 500.0}, 10.0, ("model.init.rate_hz", "0", "1", "5")),
        ("fluctuation", {}, 1.0, ("model.init.type", "fluctuation", "fluctuation_driven")),
    ],
)
def test_errors_name_their_place(kind: str, settings: dict[str, Any], dt: float | None, fragments: tuple) -> None:
    with assert_raises(ConfigError, *fragments):
        INITS.build(kind, settings, "model.init", dt=dt)


@pytest.mark.long
def test_neurons_without_decay_or_membrane_are_rejected() -> None:
    with assert_raises(ConfigError, "", "forget"):
        impulse_response(IAF())
    assert len(impulse_response(LI(1.0))) < 1000


@pytest.mark.parametrize("reset", ["subtract", "value"])
def test_a_neuron_that_spikes_without_input_has_no_impulse_response(reset: Any) -> None:
    with assert_raises(ConfigError, "", "LIF", "without input"):
        impulse_response(LIF(1.0, v_leak=1.5, reset=reset))
