"""Broken and hostile files are refused in one line that names the node, before memory is taken."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from snnlab.interop.nir_files import read_graph, write_graph
from snnlab.interop.nir_import import from_graph, read_network
from snnlab.interop.nir_options import NIRReadOptions
from snnlab.interop.nir_tree import NIRError
from snnlab.nn.record import record

from ..marks import one_long
from ..refusals import assert_raises, assert_text_has
from .interpreter import Reading, Trace, interpret
from .random_graphs import graph_of, nir

ONE = np.ones(4, np.float32)
NODES: dict[str, dict[str, Any]] = {
    "input": {"type": "Input", "shape": np.array([3])},
    "fc": {"type": "Affine", "weight": np.ones((4, 3), np.float32), "bias": np.zeros(4, np.float32)},
    "lif": {"type": "LIF", "tau": 0.01 * ONE, "r": ONE, "v_leak": 0 * ONE, "v_threshold": ONE},
    "output": {"type": "Output", "shape": np.array([4])},
}
EDGES = [("input", "fc"), ("fc", "lif"), ("lif", "output")]


def write(path: Path, nodes: dict[str, dict[str, Any]] = NODES, edges: list[tuple[str, str]] = EDGES) -> Path:
    """Write a graph field by field, also what the package `nir` would refuse."""
    with h5py.File(path, "w") as file:
        file["version"] = "0.2.0"
        group = file.create_group("node")
        group["type"] = "NIRGraph"
        group["edges"] = np.array(edges, dtype=h5py.string_dtype())
        for name, fields in nodes.items():
            node = group.create_group(f"nodes/{name}")
            for field, value in fields.items():
                node[field] = value
    return path


def changed(name: str, **fields: Any) -> dict[str, dict[str, Any]]:
    """Return the nodes with other fields of one; a field of None is left out."""
    kept = {key: value for key, value in {**NODES[name], **fields}.items() if value is not None}
    return {**NODES, name: kept}


def load(path: Path, **options: Any) -> Any:
    return read_network(read_graph(path, trusted=True), str(path), NIRReadOptions(**options)).build()


CASES: dict[str, tuple[Callable[[], Any], str, tuple[str, ...]]] = {
    "NaN weights": (lambda: changed("fc", weight=np.full((4, 3), np.nan)), "fc", ("12", "NaN", "weight")),
    "infinite": (lambda: changed("lif", tau=np.inf * ONE), "lif", ("4", "tau")),
    "missing field": (lambda: changed("lif", tau=None), "lif", ("tau", "LIF")),
    "missing shape": (lambda: changed("input", shape=None), "input", ("shape", "Input")),
    "missing type": (lambda: changed("lif", type=None), "lif", ("type",)),
    "unknown field": (lambda: changed("lif", capacity=ONE), "lif", ("capacity",)),
    "unknown primitive": (lambda: changed("lif", type="Izhikevich"), "lif", ("Izhikevich",)),
    "negative tau": (lambda: changed("lif", tau=-0.01 * ONE), "lif", ("tau", "-0.01")),
    "zero tau": (lambda: changed("lif", tau=0 * ONE), "lif", ("tau", "0")),
    "tau below dt": (lambda: changed("lif", tau=0.0005 * ONE), "lif", ("tau", "0.0005 s", "dt")),
    "threshold": (lambda: changed("lif", v_threshold=-ONE), "lif", ("v_threshold", "-1")),
    "reset above": (lambda: changed("lif", v_reset=3 * ONE), "lif", ("v_reset", "3")),
    "shapes": (lambda: changed("lif", r=np.ones(3)), "lif", ("r [3]", "tau [4]")),
    "width": (lambda: changed("fc", weight=np.ones((4, 5))), "fc", ("[4, 5]", "[3]")),
    "three axes": (lambda: changed("fc", weight=np.ones((2, 4, 3))), "fc", ("3 axes", "[2, 4, 3]")),
    "bias": (lambda: changed("fc", bias=np.ones(2)), "fc", ("[2]", "[4]")),
    "population": (lambda: changed("fc", weight=np.ones((5, 3)), bias=np.ones(5)), "lif", ("[4]", "[5]")),
    "output": (lambda: changed("output", shape=np.array([9])), "output", ("[9]", "[4]")),
    "empty": (lambda: changed("fc", weight=np.ones((0, 3)), bias=np.ones(0)), "fc", ("empty",)),
    "input": (lambda: changed("input", shape=np.array([0])), "input", ("[0]",)),
}


@pytest.mark.parametrize("case", CASES)
def test_a_wrong_node_is_named_in_one_line(tmp_path: Path, case: str) -> None:
    nodes, name, facts = CASES[case]
    path = write(tmp_path / "a.nir", nodes())
    with assert_raises(NIRError, f"{path}: {name}", *facts) as caught:
        load(path)
    assert "\n" not in str(caught.value.with_fields(allowed=()))


POOL = {"kernel_size": np.array([2, 2]), "stride": np.array([2, 2]), "padding": np.array([0, 0])}


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        ("SumPool2d", "padding", np.array([0, 0, 0])),
        ("SumPool2d", "padding", "same"),
        ("AvgPool2d", "stride", np.array([2, 0])),
        ("AvgPool2d", "kernel_size", np.array([[2, 2]])),
        ("Conv2d", "stride", 0),
        ("Conv2d", "groups", np.array([1, 1])),
        ("Conv1d", "dilation", np.array([1, 1])),
        ("Flatten", "start_dim", np.array([0, 1])),
    ],
)
def test_sizes_of_a_node_that_are_none_are_refused(tmp_path: Path, kind: str, field: str, value: Any) -> None:
    one = np.ones((2, 1, 3, 3)[: 4 if kind == "Conv2d" else 3], np.float32)
    conv = {"weight": one, "bias": np.zeros(2), "stride": 1, "padding": 0, "dilation": 1, "groups": 1}
    flatten = {"start_dim": 0, "end_dim": -1}
    sizes = conv if kind.startswith("Conv") else flatten if kind == "Flatten" else POOL
    nodes = {"input": {"type": "Input", "shape": np.array([1, 8, 8])}, "node": {"type": kind, **sizes, field: value}}
    edges = [("input", "node"), ("node", "output")]
    path = write(tmp_path / "a.nir", {**nodes, "output": NODES["output"]}, edges)
    with assert_raises(NIRError, f"{path}: node", field):
        load(path)


@pytest.mark.parametrize("kind", [3, np.array([b"NIRGraph", b"LIF"])], ids=str)
def test_a_graph_whose_type_is_no_text_is_refused(tmp_path: Path, kind: Any) -> None:
    path = write(tmp_path / "a.nir")
    with h5py.File(path, "a") as file:
        del file["node/type"]
        file["node/type"] = kind
    with assert_raises(NIRError, str(path), "type"):
        load(path)


@pytest.mark.parametrize(
    ("edges", "place"),
    [
        ([*EDGES, ("lif", "gone")], ": gone"),
        ([("input", "fc"), ("lif", "output")], ""),
        ([*EDGES, ("output", "fc")], ": output"),
        ([*EDGES, EDGES[1]], ": fc"),
        ([], ""),
    ],
)
def test_edges_that_dangle_or_stand_twice_are_refused(tmp_path: Path, edges: list[tuple[str, str]], place: str) -> None:
    path = write(tmp_path / "a.nir", edges=edges)
    with assert_raises(NIRError, f"{path}{place}"):
        load(path)


def test_a_cycle_without_state_is_refused(tmp_path: Path) -> None:
    nodes = {**NODES, "back": {"type": "Linear", "weight": np.ones((3, 4), np.float32)}}
    edges = [("input", "fc"), ("fc", "back"), ("back", "fc"), ("fc", "lif"), ("lif", "output")]
    path = write(tmp_path / "a.nir", nodes, edges)
    with assert_raises(NIRError, f"{path}: back", "cycle", "back, fc"):
        load(path)


@pytest.mark.parametrize(
    ("node", "field", "value"),
    [
        ("lif", "type", np.array([b"LIF", b"LIF"])),
        ("lif", "type", 3),
        ("lif", "tau", "abc"),
        ("lif", "tau", np.array([b"a", b"b", b"c", b"d"])),
        ("fc", "weight", np.full((4, 3), 1e300)),
        ("fc", "weight", "abc"),
        ("input", "shape", "3"),
        ("input", "shape", np.array([[3]])),
        ("input", "shape", np.array([3.5])),
    ],
    ids=str,
)
def test_a_field_of_the_wrong_type_is_named(tmp_path: Path, node: str, field: str, value: Any) -> None:
    with assert_raises(NIRError, node, field):
        load(write(tmp_path / "a.nir", changed(node, **{field: value})))


@pytest.mark.parametrize("dtype", [">f4", ">f8", np.longdouble, np.float16])
def test_any_precision_and_byte_order_is_read(tmp_path: Path, dtype: Any) -> None:
    weight = np.arange(12, dtype=np.float32).reshape(4, 3)
    built = load(write(tmp_path / "a.nir", changed("fc", weight=weight.astype(dtype))))
    np.testing.assert_array_equal(built.network.state_dict()["fc.weight"].numpy(), weight)


def test_a_name_with_control_characters_is_refused(tmp_path: Path) -> None:
    nodes = {**NODES, "l\x1b[2J": NODES["lif"]}
    with pytest.raises(NIRError, match=r"l\\x1b\[2J: has control characters"):
        load(write(tmp_path / "a.nir", nodes))


def test_a_delay_of_more_values_than_memory_has_is_refused(tmp_path: Path) -> None:
    nodes = {**NODES, "w": {"type": "Affine", "weight": np.eye(4, dtype=np.float32), "bias": 0 * ONE}}
    path = write(tmp_path / "a.nir", nodes, [*EDGES, ("lif", "w"), ("w", "lif")])
    with assert_raises(NIRError, "lif", "1,000,000,000"):
        load(path, cycle_delay=10**9)


def test_the_assumptions_name_all_time_constants(tmp_path: Path) -> None:
    path = write(tmp_path / "a.nir", changed("lif", tau=np.array([0.02, 0.01, 0.03, 0.02])))
    read = read_network(read_graph(path), str(path), NIRReadOptions())
    assert "10 to 30 ms" in read.assumptions[0]


@pytest.mark.parametrize("discretization", ["exact", "euler"])
def test_a_time_constant_of_a_step_but_for_rounding_is_a_step(tmp_path: Path, discretization: Any) -> None:
    path = write(tmp_path / "a.nir", changed("lif", tau=np.array([0.02, 0.02, 0.02, 0.0009999998], np.float32)))
    read = read_network(read_graph(path, trusted=True), str(path), NIRReadOptions(discretization=discretization))
    assert read.weights["lif.tau_mem_values"].tolist() == pytest.approx([20, 20, 20, 1], rel=1e-6)
    assert read.weights["lif.tau_mem_values"].min() == 1
    (line,) = [line for line in read.assumptions if "rounding" in line]
    assert "lif" in line
    assert "0.000999999815 s" in line
    one = read_network(
        read_graph(write(path, changed("lif", tau=np.full(4, 0.0009999998))), trusted=True),
        str(path),
        NIRReadOptions(discretization=discretization),
    )
    assert one.layers["lif"].get("beta" if discretization == "euler" else "tau_mem") == (discretization != "euler")


@pytest.mark.parametrize(("r", "who"), [(0 * ONE, "r of lif"), (np.array([1.0, 0, 0, 1]), "2 of 4 neurons of lif")])
def test_neurons_without_an_input_are_named(tmp_path: Path, r: np.ndarray, who: str) -> None:
    path = write(tmp_path / "a.nir", changed("lif", r=r))
    read = read_network(read_graph(path, trusted=True), str(path), NIRReadOptions())
    assert sum(who in line for line in read.assumptions) == 1


def test_two_inputs_are_refused(tmp_path: Path) -> None:
    nodes = {**NODES, "second": NODES["input"]}
    path = write(tmp_path / "a.nir", nodes, [*EDGES, ("second", "fc")])
    with assert_raises(NIRError, str(path), "2 Input", "input, second"):
        load(path)


def test_bytes_flipped_anywhere_never_give_another_error(tmp_path: Path) -> None:
    path = write(tmp_path / "a.nir")
    content, rng = path.read_bytes(), np.random.default_rng(0)
    for _ in range(200):
        broken = bytearray(content)
        for at in rng.integers(0, len(broken), 20):
            broken[at] = rng.integers(0, 256)
        path.write_bytes(bytes(broken))
        with suppress(NIRError):
            load(path)


@pytest.mark.parametrize("content", ["text", "hdf5", "array", "folder", "gone"])
def test_a_foreign_file_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "a.nir"
    if content == "text":
        path.write_text("a network\n")
    elif content == "hdf5":
        with h5py.File(path, "w") as file:
            file["layer/0/weight"] = ONE
    elif content == "array":
        with h5py.File(path, "w") as file:
            file["node"] = ONE
    elif content == "folder":
        path.mkdir()
    with assert_raises(NIRError, str(path)):
        load(path)


def test_10_to_the_12_neurons_are_refused_before_memory_is_taken(tmp_path: Path) -> None:
    path = write(tmp_path / "a.nir")
    with h5py.File(path, "a") as file:
        for name in ("tau", "r", "v_leak", "v_threshold"):
            del file[f"node/nodes/lif/{name}"]
            file.create_dataset(f"node/nodes/lif/{name}", shape=(10**12,), dtype="f4", chunks=(1024,))
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    with assert_raises(NIRError, f"{path}: lif.r", "1,000,000,000,000"):
        load(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB
    assert time.process_time() - began < 5


def test_values_that_are_not_in_the_file_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.nir")
    with h5py.File(path, "a") as file:
        del file["node/nodes/fc/weight"]
        file.create_dataset("node/nodes/fc/weight", shape=(10**8, 4), dtype="f4", chunks=(10**6, 4))
    with assert_raises(NIRError, f"{path}: fc.weight", "400,000,000", "0 bytes"):
        load(path)


def test_compressed_weights_are_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.nir")
    with h5py.File(path, "a") as file:
        del file["node/nodes/fc/weight"]
        file.create_dataset("node/nodes/fc/weight", data=np.full((4, 3), 0.5, "f4"), compression="gzip", shuffle=True)
    assert load(path).network.fc.weight.unique().tolist() == [0.5]


@pytest.mark.parametrize("shape", [[10**12], [10**6, 10**6]])
def test_an_input_of_10_to_the_12_values_is_refused(tmp_path: Path, shape: list[int]) -> None:
    path = write(tmp_path / "a.nir", changed("input", shape=np.array(shape)))
    with assert_raises(NIRError, f"{path}: input", "1,000,000,000,000"):
        load(path)


def test_links_to_other_files_and_cycles_of_groups_are_refused(tmp_path: Path) -> None:
    secret = tmp_path / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["weight"] = np.ones((4, 3), np.float32)
    path = write(tmp_path / "a.nir")
    with h5py.File(path, "a") as file:
        del file["node/nodes/fc/weight"]
        file["node/nodes/fc/weight"] = h5py.ExternalLink(str(secret), "weight")
    with assert_raises(NIRError, f"{path}: fc.weight", "link"):
        load(path)
    with h5py.File(path, "a") as file:
        del file["node/nodes/fc/weight"]
        file["node/nodes/fc/weight"] = file["node"]
    with assert_raises(NIRError, str(path), "32"):
        load(path)


def test_objects_are_not_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.nir")
    with h5py.File(path, "a") as file:
        del file["node/nodes/fc/weight"]
        file.create_dataset("node/nodes/fc/weight", (1,), dtype=h5py.vlen_dtype(np.float32))
    with assert_raises(NIRError, f"{path}: fc.weight"):
        load(path)


def test_a_size_of_1_is_one_value_for_all_neurons(tmp_path: Path) -> None:
    one = np.ones(1, np.float32)
    path = write(tmp_path / "a.nir", changed("lif", tau=0.02 * one, r=one, v_leak=0 * one, v_threshold=0.5 * one))
    network = load(path).network
    assert (network.lif.tau_mem, network.lif.v_threshold) == (20.0, 0.5)
    path = write(tmp_path / "b.nir", changed("lif", tau=0.02 * one, v_threshold=np.array([1.0, 2.0, 3.0, 4.0])))
    assert load(path).network.lif.v_threshold.tolist() == [1, 2, 3, 4]


def test_a_v_reset_of_the_file_is_used_and_none_is_invented(tmp_path: Path) -> None:
    path = write(tmp_path / "a.nir", changed("lif", v_reset=-0.5 * ONE))
    lif = load(path).network.lif
    assert (lif.reset, lif.v_reset) == ("value", -0.5)
    assert load(write(path)).network.lif.reset == "subtract"


def compare_with_interpreter(path: Path, options: dict[str, Any], reading: Reading) -> Trace:
    """Compare the network of a file with the interpreter, in double precision; return the interpreter's trace."""
    file = read_graph(path, trusted=True)
    read = read_network(file, str(path), NIRReadOptions(**options))
    x = np.random.default_rng(0).integers(0, 3, (100, 2, *read.in_shape)).astype(np.float64)
    trace = interpret(file.graph, x, reading)
    spikes = record(read.build().network.double(), torch.as_tensor(x)).spikes
    found = {node: layer for node, layer in read.names.items() if layer in spikes}
    assert found
    for node, layer in found.items():
        assert np.array_equal(spikes[layer].numpy(), trace.y[node])
    return trace


@pytest.mark.parametrize(
    ("first", "last"),
    [((1,), (1, 1, 1)), ((1, 1, 1), (1,)), ((), ())],
    ids=str,
)
@pytest.mark.parametrize("shape", [(), (1,)], ids=str)
def test_shapes_with_axes_of_size_1_as_rockpool_writes_them_are_read(
    tmp_path: Path, first: tuple[int, ...], last: tuple[int, ...], shape: tuple[int, ...]
) -> None:
    one = np.ones(shape, np.float32)
    lif = {
        "tau": 2.5e-3 * one,
        "r": np.float32(24.019737) * one,
        "v_leak": 0 * one,
        "v_threshold": np.float32(0.1) * one,
    }
    nodes = {
        "input": {"type": "Input", "shape": np.array(first, int)},
        "0_LinearTorch": {"type": "Linear", "weight": np.array([[0.04]], np.float32)},
        "1_LIFNeuronTorch": {"type": "LIF", **lif},
        "output": {"type": "Output", "shape": np.array(last, int)},
    }
    write(tmp_path / "a.nir", nodes, list(pairwise(nodes)))
    trace = compare_with_interpreter(tmp_path / "a.nir", {"reset": "zero", "dt": 0.1}, Reading(1e-4, reset="value"))
    assert trace.y["1_LIFNeuronTorch"].sum() > 0


def test_a_linear_map_of_one_row_is_read_and_of_several_refused(tmp_path: Path) -> None:
    nodes = {
        "input": nir.Input(np.array([1, 1, 4])),
        "fc": nir.Linear(np.random.default_rng(0).normal(0, 2, (5, 4)).astype(np.float32)),
        "lif": nir.LIF(0.01 * np.ones(5), np.ones(5), np.zeros(5), np.ones(5)),
        "output": nir.Output(np.array([5])),
    }
    nir.write(tmp_path / "a.nir", graph_of(nodes, list(pairwise(nodes))))
    compare_with_interpreter(tmp_path / "a.nir", {"reset": "zero"}, Reading(1e-3, reset="value"))
    nodes["input"] = nir.Input(np.array([2, 4]))
    nir.write(tmp_path / "b.nir", graph_of(nodes, list(pairwise(nodes))))
    with assert_raises(NIRError, f"{tmp_path / 'b.nir'}: fc", "[5, 4]", "[2, 4]"):
        load(tmp_path / "b.nir")


@pytest.mark.parametrize("reset", one_long(["zero", "subtract"]))
@pytest.mark.parametrize("discretization", ["exact", "euler"])
def test_neurons_that_spike_without_input_as_in_the_files_of_the_nir_paper_are_read(
    tmp_path: Path, reset: Any, discretization: Any
) -> None:
    one = np.ones(1)
    nodes = {
        "in": nir.Input(np.array([1])),
        "linear1": nir.Linear(np.array([[0.0]])),
        "lif1": nir.LIF(tau=0.01 * one, r=one, v_leak=1.2 * one, v_threshold=one),
        "linear2": nir.Linear(np.array([[1.0]])),
        "lif2": nir.CubaLIF(0.02 * one, 5e-3 * one, 9 * one, 0.9 * one, 0.95 * one, w_in=one),
        "out": nir.Output(np.array([1])),
    }
    nir.write(tmp_path / "a.nir", graph_of(nodes, list(pairwise(nodes))))
    options = {"reset": reset, "discretization": discretization}
    reading = Reading(1e-3, euler=discretization == "euler", reset="value" if reset == "zero" else "subtract")
    trace = compare_with_interpreter(tmp_path / "a.nir", options, reading)
    assert trace.y["lif1"][0].all()
    assert any("lif1" in line and "v_leak" in line for line in load_assumptions(tmp_path / "a.nir"))
    assert trace.y["lif1"].sum() > 5
    assert trace.y["lif2"].sum() > 0


def test_neurons_of_which_some_spike_without_input_come_back_from_an_export(tmp_path: Path) -> None:
    leak = np.array([1.2, 0.0, 3.0, -1.0])
    path = write(tmp_path / "a.nir", changed("lif", v_leak=leak, v_threshold=np.array([1.0, 0.5, 1.0, 1.0])))
    network = load(path, reset="zero").network
    write_graph(tmp_path / "b.nir", network.to_nir())
    assert read_graph(tmp_path / "b.nir").graph.nodes["lif"].v_leak.tolist() == np.float32(leak).tolist()
    x = torch.as_tensor(np.random.default_rng(0).integers(0, 2, (50, 2, 3)), dtype=torch.float32)
    assert torch.equal(load(tmp_path / "b.nir").network(x)[0], network(x)[0])
    again = load(tmp_path / "b.nir", ignore_metadata=True, discretization="euler", spikes="current", reset="zero")
    y, total = again.network(x)[0], network(x)[0].sum(0)
    assert torch.equal(y, network(x)[0])
    assert bool((total[:, [0, 2]] > 0).all())


def load_assumptions(path: Path) -> list[str]:
    return read_network(read_graph(path, trusted=True), str(path), NIRReadOptions()).assumptions


def inner(node: str) -> dict[str, Any]:
    """Return a graph within another one: a node between input and output, or none."""
    nodes = {"input": nir.Input(np.array([4])), "output": nir.Output(np.array([4]))}
    if node:
        nodes = {"input": nodes["input"], node: nir.LIF(0.01 * ONE, ONE, 0 * ONE, ONE), "output": nodes["output"]}
    return graph_of(nodes, list(pairwise(nodes)))


@pytest.mark.parametrize(
    ("nodes", "edges", "unreached"),
    [
        ({"a": "LIF"}, [], "a"),
        ({"a": "LIF"}, [("fc", "a")], "a"),
        ({"a": "LIF", "b": "LIF"}, [("fc", "a"), ("a", "b")], "a, b"),
        ({"a": "graph"}, [], "a"),
        ({"a": "empty"}, [], "a"),
        ({"a": "empty", "b": "graph"}, [("fc", "a"), ("a", "b")], "a, b"),
        ({f"n{k}": "LIF" for k in range(3000)}, [], "and 2,994 more"),
        ({f"n{k}": "empty" for k in range(1000)}, [], "and 994 more"),
    ],
)
def test_what_does_not_reach_the_output_is_unreached_and_named(
    nodes: dict[str, str], edges: list[tuple[str, str]], unreached: str
) -> None:
    made: dict[str, Any] = {
        "input": nir.Input(np.array([3])),
        "fc": nir.Linear(np.ones((4, 3))),
        "lif": nir.LIF(0.01 * ONE, ONE, 0 * ONE, ONE),
        "output": nir.Output(np.array([4])),
    }
    edges = [*edges, *pairwise(made)]
    makers = {"LIF": lambda: made["lif"], "graph": lambda: inner("lif"), "empty": lambda: inner("")}
    read = from_graph(graph_of(made | {name: makers[kind]() for name, kind in nodes.items()}, edges))
    assert [*read.layers] == ["fc", "lif"]
    (line,) = [line for line in read.assumptions if "left out" in line]
    assert_text_has(line, f"{len(nodes):,}", unreached)
    assert len(line) < 200


@pytest.mark.parametrize("source", ["a", "a.lif"])
def test_a_node_that_sends_without_an_input_is_refused(source: str) -> None:
    made: dict[str, Any] = {
        "input": nir.Input(np.array([4])),
        "lif": nir.LIF(0.01 * ONE, ONE, 0 * ONE, ONE),
        "output": nir.Output(np.array([4])),
    }
    edges = list(pairwise(made))
    made["a"] = nir.LIF(0.01 * ONE, ONE, 2 * ONE, ONE) if source == "a" else inner("lif")
    with assert_raises(NIRError, "graph: a" if source == "a" else "graph: a.input", "output", "input"):
        from_graph(graph_of(made, [*edges, ("a", "lif")]))


def test_a_cuba_li_is_read_with_any_version_of_nir(tmp_path: Path) -> None:
    fields = {"type": "CubaLI", "tau_mem": 0.02 * ONE, "tau_syn": 0.01 * ONE, "r": ONE, "v_leak": 0 * ONE, "w_in": ONE}
    network = load(write(tmp_path / "a.nir", {**NODES, "lif": fields})).network
    assert {layer.__class__.__name__ for layer in network.children()} <= {"Linear", "LI", "CubaLI"}
