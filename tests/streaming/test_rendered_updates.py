"""Any neuron whose step can be traced streams: all states equal those of plain dense loops, in random networks."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from snnlab.nn.network import Network, build_network
from snnlab.nn.network_form import network_form
from snnlab.nn.neurons.base import Neuron, SurrogateNeuron, named_neurons
from snnlab.nn.surrogate import spike
from snnlab.streaming.certificate import certify
from snnlab.streaming.event_stream import EventStream
from snnlab.streaming.stream_layers import stream_layers

from ..marks import mostly_long
from .test_event_loops import assert_equals_dense_loops, frame_of, random_network, random_steps

SHAPE = (2, 7, 9)

NEURONS: dict[str, dict[str, Any]] = {
    "adex": {"type": "adex"},
    "lif_refrac": {"type": "lif_refrac"},
    "adlif": {"type": "adlif"},
    "brf": {"type": "brf", "v_threshold": 0.001},
    "coba_lif": {"type": "coba_lif"},
    "ef_adlif": {"type": "ef_adlif"},
    "glif": {"type": "glif"},
    "izhikevich": {"type": "izhikevich", "input_gain": 20.0},
    "klif": {"type": "klif"},
    "lif_ex": {"type": "lif_ex"},
    "lsnn": {"type": "lsnn"},
    "lsnn_of_channels": {"type": "lsnn", "learn": {"tau_mem": "channel", "adaptation": "neuron"}},
    "resonate_and_fire": {"type": "resonate_and_fire"},
    "snntorch_alpha": {"type": "snntorch_alpha"},
    "tc_lif": {"type": "tc_lif", "per": "channel"},
    "no_memory": {"type": "lif", "beta": 0.0},
    "cuba_of_neurons": {
        "type": "cuba_lif",
        "learn": {"tau_syn": "neuron", "v_threshold": "channel", "tau_mem": "layer"},
    },
}


def random_layers(random: np.random.Generator, neuron: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return a convolution, a pooling, a block or a feedback, and a linear layer, each with the neurons."""
    conv = {"type": "conv2d", "out_channels": int(random.integers(3, 20)), "kernel_size": 3, "padding": 1}
    layers: dict[str, dict[str, Any]] = {
        "conv": {**conv, "bias": bool(random.integers(2))},
        "first": dict(neuron),
        "pool": {"type": str(random.choice(["max_pool", "sum_pool", "avg_pool"])), "kernel_size": 2},
    }
    if random.integers(2):
        layers["block"] = {"type": "residual", "layers": {"conv": {**conv, "bias": False}, "lif": dict(neuron)}}
    else:
        layers["conv2"] = {**conv, "bias": False}
        layers["second"] = {**neuron, "recurrent": {"type": "conv", "kernel_size": 3}}
    return {
        **layers,
        "flatten": {"type": "flatten"},
        "out": {"type": "linear", "out_features": 5},
        "last": dict(neuron),
    }


@pytest.mark.long
@pytest.mark.parametrize("kind", mostly_long(list(NEURONS), 1, 0))
def test_random_networks_of_all_neurons_equal_dense_loops(kind: str) -> None:
    random = np.random.default_rng(sorted(NEURONS).index(kind))
    network = random_network(random_layers(random, NEURONS[kind]), SHAPE)
    spikes = assert_equals_dense_loops(network, random_steps(SHAPE, 60, 16), SHAPE)
    assert spikes["first"] > 10


class SoftState(NamedTuple):
    """Membrane v and a slow trace."""

    v: Tensor
    trace: Tensor


class SoftCoefficients(NamedTuple):
    """Factors of the membrane and of the trace, and the scale of its input."""

    a: float
    rho: Tensor
    scale: float


class Soft(SurrogateNeuron):
    """A neuron of a user, whose step has an exponential function, a division and a square root."""

    approximate: ClassVar[bool] = True
    channels: int = 5

    def prepare(self) -> None:
        super().prepare()
        self.rho = nn.Parameter(torch.linspace(0.2, 0.9, self.channels)[:, None, None])

    def coefficients(self) -> SoftCoefficients:
        return SoftCoefficients(0.9, self.rho, 3.0)

    def initial_state(self, x: Tensor) -> SoftState:
        return SoftState(torch.zeros_like(x), torch.full_like(x, 0.1))

    def step(self, x: Tensor, state: SoftState, coefficients: SoftCoefficients) -> tuple[Tensor, SoftState]:
        k = coefficients
        drive = k.scale / (1.0 + torch.exp(-x)) - 0.5 * k.scale
        v = k.a * state.v + drive / (1.0 + torch.sqrt(torch.abs(state.trace)))
        s = spike(v - 1.0, self.surrogate, 1.0)
        return s, SoftState(v - s, k.rho * state.trace + s)


class FixedState(NamedTuple):
    """Membrane v."""

    v: Tensor


class Fixed(SurrogateNeuron):
    """A neuron of a user, whose threshold is part of the step and not of its coefficients."""

    level: float = 0.4

    def coefficients(self) -> tuple[float]:
        return (0.8,)

    def initial_state(self, x: Tensor) -> FixedState:
        return FixedState(torch.zeros_like(x))

    def step(self, x: Tensor, state: FixedState, coefficients: tuple[float]) -> tuple[Tensor, FixedState]:
        v = coefficients[0] * state.v + x
        s = spike(v - self.level, self.surrogate, self.level)
        return s, FixedState(v - s * self.level)


def with_neurons(neuron: Neuron) -> Network:
    """Return a network with neurons of a user between a convolution and a linear layer."""
    layers = {"conv": {"type": "conv2d", "out_channels": 5, "kernel_size": 3, "bias": False}, "own": {"type": "lif"}}
    network = random_network(
        {**layers, "flatten": {"type": "flatten"}, "out": {"type": "linear", "out_features": 3}}, SHAPE
    )
    network.set_submodule("own", neuron)
    return network


@pytest.mark.long
def test_a_users_neuron_that_stays_above_a_threshold_of_its_own_spikes_again() -> None:
    network = with_neurons(Fixed())
    (layer, _) = stream_layers(network_form(network, SHAPE))
    assert layer.is_driven
    assert assert_equals_dense_loops(network, random_steps(SHAPE, 60, 16), SHAPE)["own"] > 100


@pytest.mark.long
def test_a_users_neuron_with_an_exponential_and_a_division_is_certified() -> None:
    network = with_neurons(Soft())
    steps = random_steps(SHAPE, 60, 16)
    found = certify(network, EventStream(network, SHAPE), steps, np.stack([frame_of(one, SHAPE) for one in steps]))
    assert found.is_equal
    assert found.layers["own"].states == ("v", "trace")
    assert (found.layers["own"].spikes or 0) > 50
    assert 0 < found.layers["own"].step_distance < 1e-5


@pytest.mark.long
def test_neurons_that_fill_up_a_vector_never_spike() -> None:
    """They have the values of the last channel, which spikes without input here."""
    layers = {
        "conv": {"type": "conv2d", "out_channels": 17, "kernel_size": 3, "bias": False},
        "lif": {"type": "cuba_lif", "v_leak": 1.2, "learn": {"tau_mem": "channel"}},
        "out": {"type": "conv2d", "out_channels": 2, "kernel_size": 1, "bias": False},
        "end": {"type": "iaf"},
    }
    network = build_network(layers, in_shape=SHAPE, dt=1.0).network.eval()
    assert assert_equals_dense_loops(network, random_steps(SHAPE, 40, 0), SHAPE)["lif"] > 17


def test_what_neurons_do_without_input_is_what_dense_loops_show() -> None:
    """A layer that is updated by events alone neither spikes nor changes but by its factor, in its own step."""
    driven = {}
    for kind in (
        {"type": "lif"},
        {"type": "iaf"},
        {"type": "lif", "reset": "value"},
        {"type": "iaf", "reset_delay": True},
    ):
        layers = {"conv": {"type": "conv2d", "out_channels": 3, "kernel_size": 3, "bias": False}, "neuron": kind}
        network = build_network(layers, in_shape=SHAPE, dt=1.0).network.eval()
        (layer,) = stream_layers(network_form(network, SHAPE))
        assert layer.is_driven
        assert layer.quiet is not None
        ((_, neuron),) = named_neurons(network)
        assert isinstance(neuron, Neuron)
        v = torch.linspace(-3.0, 0.999, 105).reshape(1, *layer.shape)
        with torch.no_grad():
            state = type(neuron.initial_state(v))(v)
            y, after = neuron.step(torch.zeros_like(v), state, neuron.coefficients())
        factor = layer.quiet.factors["v"]
        assert layer.form is not None
        by = 1.0 if factor is None else float(layer.form.numbers["k_a"])
        assert not y.any()
        torch.testing.assert_close(after[0], v * by, rtol=0, atol=0)
        driven[str(kind)] = factor is not None
    assert list(driven.values()) == [True, False, True, False]
