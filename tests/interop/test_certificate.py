"""The certificate: a network, its re-import, and the interpreter of its graph are the same; foreign networks too.

Axes: T steps, B samples, then the layer's own.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from snnlab.data.data_module import EventDataModule
from snnlab.interop.nir_files import read_graph, write_graph
from snnlab.interop.nir_import import ReadNetwork, from_graph, read_network
from snnlab.interop.nir_options import NIRReadOptions
from snnlab.interop.nir_tree import NIRError
from snnlab.interop.session.import_run import import_nir
from snnlab.nn import Network, build_network, from_nir
from snnlab.nn.record import record
from snnlab.session import Session

from ..marks import mostly_long, one_long
from ..refusals import assert_raises, assert_text_has
from .comparing import Difference, first_differences
from .interpreter import Reading, interpret

pytest.importorskip("nir")

NEURON = {"reset": "value", "threshold": "strict", "decay": "euler", "input_gain": "1-a"}
NETWORKS: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "lif": ((2, 50, 50), {"conv": {"type": "conv2d", "out_channels": 8, "kernel_size": 3, "padding": 1},
                          "lif": {"type": "lif", "tau_mem": 16.0, "v_threshold": 0.25, **NEURON}}),
    "cuba_lif": ((2, 50, 50), {"conv": {"type": "conv2d", "out_channels": 8, "kernel_size": 3, "padding": 1},
                               "lif": {"type": "cuba_lif", "tau_mem": 16.0, "tau_syn": 8.0, "v_threshold": 0.5,
                                       **NEURON}}),
    "iaf": ((2, 50, 50), {"conv": {"type": "conv2d", "out_channels": 8, "kernel_size": 3, "padding": 1},
                          "lif": {"type": "iaf", "reset": "value", "threshold": "strict"}}),
}  # fmt: skip
# The four readings of the NIR paper's N-MNIST network, and how many of 100 recordings each classifies correctly.
FOUR: dict[str, tuple[dict[str, Any], Reading, int]] = {
    "zero": ({"reset": "zero"}, Reading(reset="value"), 98),
    "subtract": ({"reset": "subtract"}, Reading(), 97),
    "floor": ({"reset": "subtract", "floor": -1.0}, Reading(floor=-1.0), 99),
    "several": ({"spikes_per_step": "several", "floor": -1.0}, Reading(floor=-1.0, several=True, strict=False), 98),
}


def foreign(real_data: Path, name: str) -> Path:
    path = real_data / "foreign" / "nir-paper" / name
    if not path.is_file():
        pytest.skip(f"no file of the NIR paper: {path} is missing")
    return path


def differences(
    network: Network, x: Tensor, trace: Any, layer_of: dict[str, str], edges: Sequence[tuple[str, str]] = ()
) -> tuple[int, list[Difference]]:
    """Return the number of spikes that differ, and the first difference of each sample."""
    with torch.no_grad():
        spikes = record(network, x).spikes
    known = {node: layer for node, layer in layer_of.items() if layer in spikes}
    total = sum(int((spikes[layer].numpy() != trace.y[node]).sum()) for node, layer in known.items())
    order = sorted(known, key=lambda node: [*spikes].index(known[node]))
    return total, first_differences(spikes, trace, known, order, edges)


@pytest.mark.parametrize("kind", one_long(NETWORKS))
def test_20000_neurons_have_the_same_spikes_for_200_steps_in_all_three(kind: str, tmp_path: Path) -> None:
    in_shape, layers = NETWORKS[kind]
    torch.manual_seed(0)
    network = build_network(layers, in_shape=in_shape, dt=1.0).network.eval()
    write_graph(tmp_path / "a.nir", network.to_nir())
    graph = read_graph(tmp_path / "a.nir").graph
    again = from_nir(graph)
    x = torch.as_tensor(np.random.default_rng(0).poisson(0.3, (200, 1, *in_shape)), dtype=torch.float32)
    ours, theirs = record(network, x).spikes["lif"], record(again, x).spikes["lif"]
    assert ours.shape == (200, 1, 8, 50, 50)
    assert torch.equal(ours, theirs)
    trace = interpret(graph, x.numpy(), Reading(1e-3, euler=True, spikes="current", reset="value"))
    total, first = differences(network.double(), x.double(), trace, {"lif": "lif"})
    assert trace.y["lif"].sum() > 10_000
    assert total == 0 or max(each.distance for each in first) < 1e-7


@pytest.mark.parametrize("kind", NETWORKS)
def test_export_import_export_gives_the_same_graph_bit_for_bit(kind: str) -> None:
    in_shape, layers = NETWORKS[kind]
    first = build_network(layers, in_shape=in_shape, dt=1.0).network.eval().to_nir()
    second = from_nir(first).to_nir()
    assert {*first.edges} == {*second.edges}
    assert first.nodes.keys() == second.nodes.keys()
    for name, node in first.nodes.items():
        assert_same(node.to_dict(), second.nodes[name].to_dict())


def assert_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert one.keys() == other.keys()
    for key, value in one.items():
        if isinstance(value, np.ndarray):
            assert value.dtype == other[key].dtype
            assert np.array_equal(value, other[key])
        else:
            assert str(value) == str(other[key])


def batch_of(folder: Path, real_data: Path, store_dir: Path, places: range) -> tuple[Session, Any]:
    """Return the session of an imported network on N-MNIST in steps of 1 ms, and test recordings."""
    from snnlab.config.recorded_run import compose_run

    overrides = [
        "data=nmnist",
        f"data.root={real_data}",
        "data.download=false",
        "data.dt=1",
        f"data.store_dir={store_dir}",
    ]
    session = Session(compose_run(folder, overrides, use="data"), run=folder)
    data: EventDataModule = session.data
    return session, data.on_after_batch_transfer(data.gather_events(data.epoch_items(data.split.test)[places]), 0)


@pytest.mark.parametrize("reading", one_long(FOUR))
def test_a_foreign_convolutional_network_has_the_spikes_of_the_interpreter(
    reading: str, real_data: Path, tmp_path: Path, store_dir: Path
) -> None:
    options, choices, _ = FOUR[reading]
    path = foreign(real_data, "02_cnn/cnn_sinabs.nir")
    read = import_nir(path, tmp_path / "run", NIRReadOptions(**options), [])
    session, batch = batch_of(tmp_path / "run", real_data, store_dir, range(0, 100, 50))
    trace = interpret(read_graph(path).graph, batch.x.numpy(), choices)
    total, _ = differences(session.network.eval().double(), batch.x.double(), trace, read.names)
    assert batch.x.shape == (320, 2, 2, 34, 34)
    assert total == 0


# Recordings with a spike that differs in single precision.
IN_SINGLE = {"zero": 1, "subtract": 1, "floor": 1, "several": 5}


@pytest.mark.slow
@pytest.mark.parametrize("reading", FOUR)
def test_all_spikes_of_all_100_recordings_are_those_of_the_interpreter(
    reading: str, real_data: Path, tmp_path: Path, store_dir: Path
) -> None:
    options, choices, right = FOUR[reading]
    path = foreign(real_data, "02_cnn/cnn_sinabs.nir")
    read = import_nir(path, tmp_path / "run", NIRReadOptions(**options), [])
    graph, counted, single = read_graph(path).graph, 0, []
    for start in range(0, 100, 20):
        session, batch = batch_of(tmp_path / "run", real_data, store_dir, range(start, start + 20))
        trace = interpret(graph, batch.x.numpy(), choices)
        network = session.network.eval()
        single += differences(network, batch.x, trace, read.names, graph.edges)[1]
        total, first = differences(network.double(), batch.x.double(), trace, read.names)
        assert total == 0, first
        counted += int((trace.y["output"].sum(0).argmax(1) == batch.targets.numpy()).sum())
    assert counted == right
    for each in single:
        part = each.distance / each.rounding
        print(f"{reading}: {each.node}, step {each.step}: {each.distance:.1e} from a threshold, {part:.2f} of rounding")
    assert len(single) == IN_SINGLE[reading]
    assert all(each.distance < each.rounding for each in single)


def test_the_import_of_a_file_takes_less_than_3_seconds(real_data: Path, tmp_path: Path) -> None:
    path = foreign(real_data, "02_cnn/cnn_sinabs.nir")
    began = sum(os.times()[:4])  # with the process that reads the file first
    import_nir(path, tmp_path / "run", NIRReadOptions(), [])
    assert sum(os.times()[:4]) - began < 3


@pytest.mark.long
def test_the_recurrent_network_of_the_paper_is_one_with_its_interpreter(real_data: Path) -> None:
    file = read_graph(foreign(real_data, "03_rnn/braille_noDelay_bias_zero.nir"))
    read: ReadNetwork = read_network(file, "braille", NIRReadOptions(dt=0.1, discretization="euler", reset="zero"))
    assert read.layers["lif1"]["recurrent"] == {"type": "dense", "bias": True}
    x = (np.random.default_rng(0).random((256, 8, 12)) < 0.2).astype(np.float64)
    trace = interpret(file.graph, x, Reading(1e-4, euler=True, reset="value"))
    total, _ = differences(read.build().network.double(), torch.as_tensor(x), trace, read.names)
    assert trace.y["lif1.lif"].sum() > 100
    assert total == 0


def test_a_graph_that_another_program_changed_is_read_by_its_nodes() -> None:
    in_shape, layers = NETWORKS["lif"]
    graph = build_network(layers, in_shape=in_shape, dt=1.0).network.eval().to_nir()
    graph.nodes["lif"].v_threshold[:] = 0.5
    read = from_graph(graph, NIRReadOptions(discretization="euler"))
    assert read.layers["lif"]["v_threshold"] == 0.5
    assert "metadata" in read.assumptions[0]


@pytest.mark.parametrize("kind", mostly_long(list(NETWORKS), 1))
def test_a_changed_graph_is_read_as_its_numbers_are_meant_unless_an_option_says_otherwise(kind: str) -> None:
    in_shape, layers = NETWORKS[kind]
    torch.manual_seed(0)
    graph = build_network(layers, in_shape=in_shape, dt=2.0).network.eval().to_nir()
    graph.nodes["lif"].v_threshold[:] *= 1.1
    read = from_graph(graph)
    x = torch.as_tensor(np.random.default_rng(0).poisson(0.3, (60, 1, *in_shape)), dtype=torch.float64)
    trace = interpret(graph, x.numpy(), Reading(2e-3, euler=True, spikes="current", reset="value"))
    assert trace.y["lif"].sum() > 1000
    assert differences(read.build().network.double(), x, trace, read.names)[0] == 0
    assert (read.dt, read.options["discretization"]) == (2.0, "euler")
    other = from_graph(graph, NIRReadOptions(dt=1.0, discretization="exact", spikes="impulse"))
    assert (other.dt, other.options["discretization"], other.options["spikes"]) == (1.0, "exact", "impulse")


def test_without_the_metadata_a_line_names_the_options_that_a_graph_is_meant_with() -> None:
    in_shape, layers = NETWORKS["lif"]
    graph = build_network(layers, in_shape=in_shape, dt=2.0).network.eval().to_nir()
    lines = from_graph(graph, NIRReadOptions(ignore_metadata=True)).assumptions
    assert_text_has(lines[-1], "--dt 2", "--discretization euler", "--spikes current")
    meant = NIRReadOptions(dt=2.0, discretization="euler", spikes="current", reset="zero", ignore_metadata=True)
    assert not any("--" in line for line in from_graph(graph, meant).assumptions)


def test_options_that_a_file_of_snnlab_does_not_need_are_named() -> None:
    in_shape, layers = NETWORKS["lif"]
    graph = build_network(layers, in_shape=in_shape, dt=1.0).network.eval().to_nir()
    read = from_graph(graph, NIRReadOptions(dt=2.0, reset="subtract"))
    assert (read.dt, read.layers["lif"]["reset"]) == (1.0, "value")
    assert "dt, reset" in read.assumptions[-1]
    assert not any("not used" in line for line in from_graph(graph).assumptions)


def test_metadata_with_larger_layers_than_the_nodes_is_refused_before_memory_is_taken() -> None:
    in_shape, layers = NETWORKS["lif"]
    graph = build_network(layers, in_shape=in_shape, dt=1.0).network.eval().to_nir()
    page = json.loads(graph.metadata["snnlab"])
    page["layers"]["conv"]["out_channels"] = 10**9
    graph.metadata["snnlab"] = json.dumps(page)
    with assert_raises(NIRError, "graph", "conv.weight", "1000000000"):
        from_graph(graph)
