"""Networks as NIR graphs: what is written, what is refused, and what comes back."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from snnlab.errors import ConfigError, SnnlabError
from snnlab.interop import nir_metadata
from snnlab.interop.nir_export import Exported, to_graph
from snnlab.interop.nir_files import read_graph, write_graph
from snnlab.interop.nir_import import NIRReadOptions, ReadNetwork, from_graph, read_network
from snnlab.interop.nir_tree import NIRError
from snnlab.nn import IAF, Network, build_network
from snnlab.nn.neurons.base import plain_loops

from ..marks import mostly_long
from ..refusals import assert_error_has, assert_raises

nir = pytest.importorskip("nir")

# No threshold is a sum of a few spikes, which the rounding of a gain decides.
SAYABLE = {"reset": "value", "threshold": "strict", "v_threshold": 0.931}
LIF = {"type": "lif", "tau_mem": 8.0, **SAYABLE}
CUBA = {"type": "cuba_lif", "tau_mem": 8.0, "tau_syn": 5.0, "input_gain": 1.0, **SAYABLE}
CONV = {"type": "conv2d", "out_channels": 3, "kernel_size": 3, "bias": False}
FC = {"type": "linear", "out_features": 6}
NETWORKS: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "conv": (
        (2, 11, 12),
        {
            "conv1": {**CONV, "stride": [1, 2], "padding": 1, "bias": True},
            "lif1": LIF,
            "sum": {"type": "sum_pool", "kernel_size": 2},
            "conv2": {**CONV, "padding": "same", "weight_norm": True},
            "iaf": {"type": "iaf", **SAYABLE},
            "drop": {"type": "dropout", "p": 0.2},
            "mean": {"type": "avg_pool", "kernel_size": [1, 2]},
            "flatten": {"type": "flatten"},
            "out": {**FC, "bias": False},
            "vote": {"type": "voting", "group_size": 2},
            "li": {"type": "li", "tau_mem": 10.0, "v_leak": 0.1},
        },
    ),
    "currents": ((5,), {"fc": FC, "cuba": CUBA, "late": {**CUBA, "synapse": "decay_first"}, "li": {"type": "cuba_li"}}),
    "recurrent": (
        (5,),
        {
            "fc": FC,
            "dense": {**LIF, "recurrent": {"bias": True}},
            "no_autapses": {**CUBA, "recurrent": {"autapses": False}},
        },
    ),
    "recurrent convolution": ((2, 6, 6), {"lif": {**LIF, "recurrent": {"kernel_size": 3}}}),
    "learned": (
        (4, 3, 3),
        {
            "lif": {**LIF, "learn": {"tau_mem": "channel", "v_threshold": "neuron"}},
            "cuba": {**CUBA, "learn": ["tau_syn"]},
        },
    ),
    "blocks": (
        (3, 8, 8),
        {
            "skip": {"type": "residual", "layers": {"conv": {**CONV, "padding": 1}, "lif": LIF}},
            "twice": {"type": "repeat", "times": 2, "layers": {"conv": CONV, "lif": LIF}},
            "both": {
                "type": "parallel",
                "join": "add",
                "branches": {"a": {"conv": CONV}, "b": {"conv": CONV}, "same": {"conv": {**CONV, "groups": 3}}},
            },
            "lif": LIF,
        },
    ),
    "loop": (
        (5,),
        {
            "loop": {
                "type": "loop",
                "layers": {"fc": FC, "lif1": LIF, "lif2": LIF},
                "feedback": [{"from": "lif2", "to": "fc", "layers": {"back": {"type": "linear", "out_features": 5}}}],
            }
        },
    ),
    "graph": (
        (5,),
        {
            "block": {
                "type": "graph",
                "layers": {"fc": {**FC, "out_features": 5}, "lif": LIF, "back": {**FC, "out_features": 5}, "late": FC},
                "edges": [
                    ["input", "fc"],
                    ["fc", "lif"],
                    ["lif", "back", 1],
                    ["back", "lif"],
                    ["lif", "late", 3],
                    ["input", "late"],
                    ["late", "output"],
                ],
            },
            "last": LIF,
        },
    ),
    "late cycle": (
        (5,),
        {
            "block": {
                "type": "graph",
                "layers": {"fc": {**FC, "out_features": 5}, "lif": LIF, "back": {**FC, "out_features": 5}},
                "edges": [["input", "fc"], ["fc", "lif"], ["lif", "back", 3], ["back", "lif"], ["lif", "output"]],
            }
        },
    ),
    "elementwise": (
        (2, 3, 4),
        {
            "scale": {"type": "scale", "scale": 0.7},
            "threshold": {"type": "threshold", "v_threshold": 0.4},
            "delay": {"type": "delay", "delay": 4.0},
            "learned": {"type": "delay", "delay": {"max": 6.0, "learn": True}},
            "flatten": {"type": "flatten", "start_axis": 1},
            "sum": {"type": "integrator", "input_gain": 0.3},
        },
    ),
    "per neuron": ((4,), {"lif": {**LIF, "per_neuron": ["tau_mem", "v_threshold", "input_gain"], "input_gain": 0.9}}),
    "one dimension": (
        (2, 20),
        {"conv": {"type": "conv1d", "out_channels": 3, "kernel_size": 5, "padding": 2}, "lif": LIF},
    ),
    "input twice": (
        (5,),
        {
            "twice": {"type": "parallel", "join": "add", "branches": {n: {"i": {"type": "identity"}} for n in "ab"}},
            "lif": LIF,
        },
    ),
}


def network(layers: dict[str, Any], in_shape: tuple[int, ...], dt: float | None = 2.0) -> Network:
    torch.manual_seed(1)
    made = build_network(layers, in_shape=in_shape, dt=dt, num_steps=20).network
    with torch.no_grad():
        for value in made.parameters():
            value.add_(0.1 * torch.rand_like(value))
    return made.eval()


def output(made: Network, x: torch.Tensor) -> torch.Tensor:
    with torch.no_grad(), plain_loops():  # nothing to compile
        return made(x)[0]


def reread(exported: Exported, path: Path) -> ReadNetwork:
    write_graph(path, exported.graph)
    return read_network(read_graph(path), str(path), NIRReadOptions())


def assert_graphs_equal(first: Any, second: Any) -> None:
    assert first.nodes.keys() == second.nodes.keys()
    assert sorted(first.edges) == sorted(second.edges)
    for name, node in first.nodes.items():
        other = second.nodes[name]
        assert type(node) is type(other)
        for key, value in node.to_dict().items():
            np.testing.assert_array_equal(value, other.to_dict()[key], err_msg=f"{name}.{key}")
            assert getattr(value, "dtype", None) == getattr(other.to_dict()[key], "dtype", None)


@pytest.mark.parametrize("name", mostly_long(list(NETWORKS), 5))
def test_a_network_comes_back_with_equal_nodes_edges_arrays_and_spikes(name: str, tmp_path: Path) -> None:
    in_shape, layers = NETWORKS[name]
    made = network(layers, in_shape)
    exported = to_graph(made, readout="sum")
    assert not exported.lost
    read = reread(exported, tmp_path / "a.nir")
    assert (read.dt, read.in_shape, read.num_steps, read.readout) == (2.0, in_shape, 20, "sum")
    again = read.build().network
    assert_graphs_equal(exported.graph, to_graph(again, readout="sum").graph)
    assert exported.graph.metadata["snnlab"] == to_graph(again, readout="sum").graph.metadata["snnlab"]
    x = 2.0 * torch.rand(20, 3, *in_shape)
    assert torch.equal(output(made, x), output(again, x))


@pytest.mark.parametrize("name", NETWORKS)
def test_the_nodes_alone_give_the_same_output_by_forward_euler(name: str) -> None:
    in_shape, layers = NETWORKS[name]
    made = network(layers, in_shape).double()
    options = NIRReadOptions(
        dt=2.0, discretization="euler", spikes="current", reset="zero", threshold="strict", ignore_metadata=True
    )
    other = from_graph(to_graph(made).graph, options).build().network.double()
    x = 2.0 * torch.rand(20, 3, *in_shape, dtype=torch.float64)
    torch.testing.assert_close(output(made, x), output(other, x), rtol=1e-4, atol=1e-5)


def test_steps_without_length_are_the_unit_of_time(tmp_path: Path) -> None:
    layers = {"lif": {**LIF, "tau_mem": "4 steps", "decay": "euler"}, "iaf": {"type": "iaf", **SAYABLE}}
    exported = to_graph(network(layers, (3,), dt=None))
    np.testing.assert_allclose(exported.graph.nodes["lif"].tau, 4.0)
    np.testing.assert_allclose(exported.graph.nodes["iaf"].r, 1.0)
    assert reread(exported, tmp_path / "a.nir").dt is None


REFUSED = {
    "reset": ({**LIF, "reset": "subtract"}, "reset: value"),
    "delay": ({**LIF, "reset_delay": True}, "reset_delay: false"),
    "threshold": ({**LIF, "threshold": "inclusive"}, "threshold: strict"),
    "no reset": ({**LIF, "reset": "none"}, "reset: value"),
    "several": ({"type": "lif", "spikes": "several"}, "several spikes"),
    "adaptive threshold": ({"type": "alif", **SAYABLE}, "adaptive threshold"),
    "adaptation": ({"type": "adlif", **SAYABLE}, "adaptation current"),
    "late current": ({"type": "lsnn"}, "cuba_lif"),
    "integers": ({"type": "loihi2"}, "integer"),
    "start": ({"type": "iaf", "v_init": 0.5, **SAYABLE}, "v_init"),
    "max pooling": ({"type": "max_pool", "kernel_size": 2}, "sum_pool"),
    "floor": ({**LIF, "floor": -1.0}, "floor: null"),
}


@pytest.mark.parametrize("name", mostly_long(list(REFUSED), 4))
def test_what_nir_cannot_say_is_refused_or_comes_back_from_a_lossy_graph(name: str, tmp_path: Path) -> None:
    node, fix = REFUSED[name]
    made = network({"one": node}, (2, 6, 6))
    with assert_raises(ConfigError, "export", "one", fix):
        to_graph(made)
    exported = to_graph(made, lossy=True)
    assert {each.layer for each in exported.lost} == {"one"}
    again = reread(exported, tmp_path / "a.nir").build().network
    x = 2.0 * torch.rand(20, 3, 2, 6, 6)
    assert torch.equal(output(made, x), output(again, x))


@pytest.mark.parametrize(
    "node",
    [
        {"type": "batch_norm"},
        {"type": "layer_norm"},
        {"type": "relu"},
        {"type": "snntorch_alpha"},
        {"type": "conv_transpose2d", "out_channels": 2, "kernel_size": 2},
        {**CONV, "padding": 1, "padding_mode": "circular"},
        {"type": "linear", "out_features": 3},
        {"type": "linear", "out_features": 3, "delay": {"max": 4}},
        {**LIF, "recurrent": {"delay": {"max": 4}}},
        {**LIF, "output": "v"},
        {"type": "residual", "connect": "iand", "layers": {"lif": LIF}},
    ],
)
def test_what_has_no_node_is_refused_even_if_losses_are_allowed(node: dict[str, Any]) -> None:
    with assert_raises(ConfigError, "export", "one"):
        to_graph(network({"one": node}, (2, 6, 6)), lossy=True)


def test_a_refusal_has_at_most_four_lines() -> None:
    kinds = [{"type": "lif"}, {"type": "alif"}, LIF, {"type": "relu"}, {"type": "adlif"}, {"type": "batch_norm"}]
    layers = {f"layer{number}": kind for number, kind in enumerate(kinds * 2)}
    with pytest.raises(ConfigError) as caught:
        to_graph(network(layers, (3,)))
    assert len(str(caught.value).splitlines()) == 4
    assert_error_has(caught.value, "export", "layer0, layer6", "layer11")
    assert "layer2" not in str(caught.value)


def test_changed_weights_are_read_and_changed_constants_are_noticed(tmp_path: Path) -> None:
    exported = to_graph(network({"fc": FC, "lif": LIF}, (4,)))
    graph = exported.graph
    graph.nodes["fc"].weight = graph.nodes["fc"].weight * 2
    read = reread(exported, tmp_path / "a.nir")
    np.testing.assert_array_equal(read.weights["fc.weight"], graph.nodes["fc"].weight)
    assert read.layers["lif"]["tau_mem"] == 8.0
    graph.nodes["lif"].tau = graph.nodes["lif"].tau * 2
    own = nir_metadata.read(graph)
    assert own is not None
    assert nir_metadata.changes(graph, own) == ["lif"]


def test_damaged_and_newer_metadata_are_refused() -> None:
    graph = to_graph(network({"fc": FC}, (4,))).graph
    text = graph.metadata["snnlab"]
    for changed in ("{", text.replace('"format": 1', '"format": 99'), text.replace('"weights"', '"other"')):
        graph.metadata["snnlab"] = changed
        with assert_raises(NIRError, "metadata"):
            nir_metadata.read(graph)


@pytest.mark.parametrize(
    "changed",
    [
        {"layers": [1]},
        {"layers": {"fc": 3}},
        {"layers": {}},
        {"layers": {"fc": {**FC, "out_features": 10**9}}},
        {"in_shape": [-1]},
        {"in_shape": [5]},
        {"in_shape": [10**12]},
        {"dt": "1"},
        {"dt": -1.0},
        {"num_steps": 10**12},
        {"lost": ["\x1b[2J"]},
        {"lost": 3},
        {"version": "1\nsnnlab: all is well"},
        {"nodes": [1]},
        {"digests": []},
        {"weights": {"fc.weight": ["fc", "weight"], "fc.bias": ["fc", "bias"], "other": ["fc", "bias"]}},
    ],
    ids=str,
)
def test_crafted_metadata_are_refused_before_memory_is_taken(changed: dict[str, Any]) -> None:
    graph = to_graph(network({"fc": FC}, (4,))).graph
    graph.metadata["snnlab"] = json.dumps({**json.loads(graph.metadata["snnlab"]), **changed})
    with pytest.raises(SnnlabError) as caught:
        from_graph(graph).build()
    assert "\n" not in str(caught.value)
    assert "\x1b" not in str(caught.value)


def test_a_network_that_was_not_built_from_a_yaml_needs_a_shape_and_no_losses() -> None:
    plain = Network({"fc": torch.nn.Linear(4, 3), "iaf": IAF(reset="value", threshold="strict")})
    with assert_raises(ConfigError, "in_shape"):
        plain.to_nir()
    graph = plain.to_nir(in_shape=(4,), dt=1.0)
    np.testing.assert_allclose(graph.nodes["iaf"].r, 1000.0)
    with assert_raises(ConfigError, "lossy"):
        Network({"iaf": IAF()}).to_nir(in_shape=(4,), dt=1.0, lossy=True)


def test_a_reset_to_another_potential_needs_a_nir_that_has_it() -> None:
    made = network({"lif": {**LIF, "v_reset": -0.25}}, (3,))
    if "v_reset" in {field.name for field in fields(nir.LIF)}:
        np.testing.assert_array_equal(made.to_nir().nodes["lif"].v_reset, [-0.25] * 3)
    else:
        with assert_raises(ConfigError, "export", "v_reset", nir.version):
            made.to_nir()
