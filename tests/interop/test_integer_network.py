"""A network in whole numbers as an ordinary one, and as a NIR file with the same whole numbers."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from snnlab.errors import ConfigError
from snnlab.interop.integer_network import integer_network
from snnlab.interop.nir_export import to_graph
from snnlab.interop.nir_files import read_graph, write_graph
from snnlab.interop.nir_import import from_graph
from snnlab.nn import INTEGER_TARGETS, Network, build_network
from snnlab.nn.neurons.base import plain_loops
from snnlab.nn.neurons.whole_membrane import WholeIAF
from snnlab.nn.quantization import groups_of, quantize_network

from ..refusals import assert_raises
from .sinabs_discretize import discretized

pytest.importorskip("nir")

IAF: dict[str, Any] = {"type": "iaf", "floor": -1.0, "v_threshold": 1.0}
LAYERS: dict[str, Any] = {
    "conv1": {"type": "conv2d", "out_channels": 4, "kernel_size": 3, "bias": False},
    "iaf1": IAF,
    "pool1": {"type": "avg_pool", "kernel_size": 2},
    "conv2": {"type": "conv2d", "out_channels": 5, "kernel_size": 2},
    "iaf2": {**IAF, "v_threshold": 1.7, "input_gain": 1.3, "v_init": 0.4},
    "flatten": {"type": "flatten"},
    "out": {"type": "linear", "out_features": 3, "bias": False},
    "iaf3": IAF,
}
SHAPE = (2, 8, 8)


def network_of(layers: dict[str, Any], seed: int = 0) -> Network:
    torch.manual_seed(seed)
    network = build_network(copy.deepcopy(layers), in_shape=SHAPE, dt=1.0).network
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(6.0)
    return network.eval()


def whole_network(layers: dict[str, Any] = LAYERS, target: str = "speck", **settings: Any) -> Network:
    network = network_of(layers)
    quantize_network(network, INTEGER_TARGETS.build(target, settings, "quantize"))
    return network


def spikes(network: Network) -> torch.Tensor:
    x = torch.from_numpy(np.random.default_rng(1).poisson(0.4, (40, 2, *SHAPE))).float()
    with torch.no_grad(), plain_loops():
        return network(x)[0]


def test_it_has_the_spikes_of_the_network_in_whole_numbers() -> None:
    for whole in (whole_network(), whole_network(target="loihi2")):
        made = integer_network(whole)
        assert not any("log_scale" in name for name in made.network.state_dict())
        assert spikes(whole).sum() > 20
        assert torch.equal(spikes(made.network), spikes(whole))


def test_its_numbers_are_those_of_sinabs_discretize_and_a_file_has_them_again(tmp_path: Path) -> None:
    real, whole = network_of(LAYERS), whole_network()
    # The mean of four is a sum, and the gain a part of the weights.
    factors = {"conv1": ("iaf1", 1.0, 1.0), "conv2": ("iaf2", 1.3, 1 / 4), "out": ("iaf3", 1.0, 1.0)}
    write_graph(tmp_path / "whole.nir", to_graph(whole, lossy=True).graph)
    read = from_graph(read_graph(tmp_path / "whole.nir").graph)
    state = {key: np.asarray(value) for key, value in read.weights.items()}
    for layer, (neuron, gain, mean) in factors.items():
        given: Any = real.get_submodule(layer)
        node = LAYERS[neuron]
        bias = None if given.bias is None else given.bias.detach().numpy() * gain
        weight = given.weight.detach().numpy() * gain * mean
        expected = discretized(weight, bias, node["v_threshold"], node["floor"])
        assert np.array_equal(state[f"{layer}.weight"], expected.weight)
        assert given.bias is None or np.array_equal(state[f"{layer}.bias"], expected.bias)
        settings = read.layers[neuron]
        assert (settings["v_threshold"], settings["floor"]) == (expected.v_threshold, expected.floor)
    again = read.build().network
    assert torch.equal(spikes(again), spikes(whole))
    quantize_network(again, INTEGER_TARGETS.build("speck", {}, "quantize"))
    assert torch.equal(spikes(again), spikes(whole))


def test_a_file_says_what_a_unit_is(tmp_path: Path) -> None:
    whole = whole_network()
    graph = to_graph(whole, lossy=True).graph
    said = " ".join(from_graph(graph).assumptions)
    for group in groups_of(whole):
        assert isinstance(group.neuron, WholeIAF)
        assert f"{group.name} {float(group.neuron.unit()):.6g}" in said


@pytest.mark.parametrize(
    ("layers", "target", "place"),
    [
        ({"iaf3": {"type": "lif"}}, "loihi2", "model.layers.iaf3"),
        ({"iaf3": {**IAF, "recurrent": True}}, "loihi2", "model.layers.iaf3"),
        ({"iaf3": {"type": "integrator"}}, "loihi2", "model.layers.iaf3"),
        ({}, "int8", "model.layers.iaf1"),
    ],
)
def test_what_no_other_format_can_say_is_refused_by_name(layers: dict[str, Any], target: str, place: str) -> None:
    with assert_raises(ConfigError, place, "export" if layers else "quantize.scales=layer"):
        to_graph(whole_network({**LAYERS, **layers}, target), lossy=True)
