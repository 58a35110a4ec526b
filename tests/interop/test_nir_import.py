from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from snnlab.interop.nir_files import read_graph, write_graph
from snnlab.interop.nir_graphs import flatten_graph
from snnlab.interop.nir_import import from_graph, read_network
from snnlab.interop.nir_options import NIRReadOptions
from snnlab.nn.layer import LAYERS
from snnlab.nn.neurons.base import set_backend
from snnlab.nn.neurons.cuba_lif import CubaLIF
from snnlab.nn.record import record
from snnlab.spec.signatures import fields_of

from .interpreter import Reading, interpret
from .random_graphs import STEP, graph_of, nir, random_graph

READINGS: list[tuple[dict[str, Any], Reading]] = [
    ({"reset": "subtract"}, Reading(STEP)),
    ({"reset": "subtract", "discretization": "euler"}, Reading(STEP, euler=True)),
    ({"reset": "zero", "threshold": "inclusive"}, Reading(STEP, reset="value", strict=False)),
    (
        {"reset": "subtract", "spikes_per_step": "several", "floor": -1.0},
        Reading(STEP, several=True, strict=False, floor=-1.0),
    ),
    (
        {"reset": "subtract", "spikes": "current", "cycle_delay": 2, "floor": -1.0},
        Reading(STEP, spikes="current", cycle_delay=2, floor=-1.0),
    ),
    (
        {"reset": "subtract", "synapse": "next_step", "discretization": "euler"},
        Reading(STEP, euler=True, synapse="late"),
    ),
    ({"reset": "subtract", "synapse": "decay_first"}, Reading(STEP, synapse="start")),
    (
        {"reset": "subtract", "synapse": "decay_first", "spikes": "impulse", "discretization": "euler"},
        Reading(STEP, euler=True, synapse="start", spikes="impulse"),
    ),
]


def compare(graph: Any, options: dict[str, Any], reading: Reading) -> tuple[int, int]:
    """Return the numbers of spikes and of different values of all layers, in double precision."""
    read = from_graph(graph, NIRReadOptions(**options))
    network = read.build().network.double()
    set_backend(network, "reference")  # the loops of kernels are compared with the plain loop elsewhere
    steps = 16 if reading.several else 40  # several spikes a step in a cycle explode
    x = np.random.default_rng(1).integers(0, 3, (steps, 3, *read.in_shape)).astype(np.float64)
    trace = interpret(graph, x, reading)
    with torch.no_grad():
        y = network(torch.as_tensor(x))[0].numpy()
        spikes = record(network, torch.as_tensor(x)).spikes
    found = wrong = 0
    for node, layer in read.names.items():
        name = next((key for key in spikes if key == layer or key.endswith(f".{layer}")), None)
        if name is not None:
            found += int(trace.y[node].sum())
            wrong += int((spikes[name].numpy() != trace.y[node]).sum())
    np.testing.assert_allclose(y, trace.y["output"], rtol=1e-9, atol=1e-9)
    return found, wrong


@pytest.mark.parametrize("seed", [pytest.param(n, marks=pytest.mark.long if n > 5 else ()) for n in range(60)])
def test_a_random_graph_of_all_primitives_has_the_spikes_of_the_interpreter(seed: int) -> None:
    graph = random_graph(seed)
    found, wrong = compare(graph, *READINGS[seed % len(READINGS)])
    assert wrong == 0
    assert found >= 0


def test_the_random_graphs_hold_all_primitives_of_the_installed_nir() -> None:
    kinds: Counter[str] = Counter()
    for seed in range(60):
        kinds += Counter(type(node).__name__ for node in flatten_graph(random_graph(seed), "").nodes.values())
    needed = {"Affine", "Linear", "Scale", "Conv1d", "Conv2d", "SumPool2d", "AvgPool2d", "Delay", "Flatten"}
    needed |= {"I", "IF", "LI", "LIF", "CubaLIF", "Threshold"}
    assert needed <= kinds.keys()


@pytest.mark.parametrize("seed", range(2))
def test_a_graph_read_from_its_file_is_the_same_network(seed: int, tmp_path: Path) -> None:
    graph, options = random_graph(seed), NIRReadOptions(reset="subtract")
    write_graph(tmp_path / "a.nir", graph)
    one, other = from_graph(graph, options), read_network(read_graph(tmp_path / "a.nir"), "a.nir", options)
    assert one.layers == other.layers
    assert one.weights.keys() == other.weights.keys()
    assert all(np.array_equal(value, other.weights[key]) for key, value in one.weights.items())


# Values of a population that are no defaults here, s and dimensionless.
DEFAULTS = fields_of(CubaLIF)
ORDINARY: dict[str, float] = {
    **{"tau": 6e-3, "tau_mem": 6e-3, "tau_syn": 3e-3, "r": 1.3, "w_in": 0.9},
    **{"v_leak": 0.15, "v_threshold": 0.7, "v_reset": -0.2},
}
LAYER_OF = {"IF": "iaf", "I": "integrator", "LIF": "lif", "LI": "li", "CubaLIF": "cuba_lif", "CubaLI": "cuba_li"}
KINDS = [kind for kind in LAYER_OF if hasattr(nir, kind)]  # older versions of nir have no CubaLI
FROM_A_FILE = {"tau_mem", "tau_syn", "input_gain", "v_leak", "v_threshold", "v_reset", "per_neuron"}
FROM_OPTIONS = {"decay", "synapse", "reset", "threshold", "spikes", "floor"}
# What NIR has no word for, with the value that changes nothing.
UNSAID = {"reset_delay": False, "v_init": 0.0, "tau_mem_std": 0.0, "learn": (), "recurrent": False, "output": None}
WAYS_TO_TRAIN = {"dt", "in_shape", "surrogate", "detach_reset"}
RESETS: list[tuple[dict[str, Any], Reading]] = [
    ({}, Reading(STEP, reset="value")),
    ({"discretization": "euler"}, Reading(STEP, euler=True, reset="value")),
    ({"spikes": "impulse", "threshold": "inclusive"}, Reading(STEP, spikes="impulse", reset="value", strict=False)),
    ({"synapse": "next_step", "spikes": "current"}, Reading(STEP, spikes="current", reset="value", synapse="late")),
]


def names_of(kind: str) -> list[str]:
    own = [field.name for field in dataclasses.fields(getattr(nir, kind)) if field.name in ORDINARY]
    return own if "v_reset" in own or "v_threshold" not in own else [*own, "v_reset"]


def single(kind: str, values: dict[str, Any], size: int = 3) -> Any:
    """Return a graph of one population."""
    full = {name: np.array(np.broadcast_to(value, (size,)), np.float64) for name, value in values.items()}
    known = {field.name for field in dataclasses.fields(getattr(nir, kind))}
    node = getattr(nir, kind)(**{name: value for name, value in full.items() if name in known})
    if "v_reset" in full:
        node.v_reset = full["v_reset"]  # nir 1.0.4 has no such field
    shape = np.array([size])
    nodes = {"input": nir.Input(shape), "n": node, "output": nir.Output(shape)}
    return graph_of(nodes, [("input", "n"), ("n", "output")])


@pytest.mark.parametrize("kind", LAYER_OF)
def test_each_setting_of_a_population_comes_from_the_file_or_an_option_or_does_nothing(kind: str) -> None:
    known = fields_of(LAYERS.get(LAYER_OF[kind], ""))
    assert {*known} - FROM_A_FILE - FROM_OPTIONS - WAYS_TO_TRAIN - {"beta", "alpha"} <= {*UNSAID}
    assert all(known[name].default == value for name, value in UNSAID.items() if name in known)


SPECIAL: dict[str, list[float]] = {
    **{name: [STEP, 2 * STEP, 1e-3 * DEFAULTS["tau_mem"].default] for name in ("tau", "tau_mem")},
    **{name: [0.0, 1.0, -1.0] for name in ("r", "w_in", "v_leak")},
    **{
        "tau_syn": [STEP, 2 * STEP, 1e-3 * DEFAULTS["tau_syn"].default],
        "v_threshold": [1.0],
        "v_reset": [0.0, -1.0],
    },
}


def special_values() -> list[tuple[str, str, Any]]:
    """Return values such as 0, 1 and -1, and the defaults of the settings here, for each field of each population."""
    found: list[tuple[str, str, Any]] = []
    for kind in KINDS:
        known = fields_of(LAYERS.get(LAYER_OF[kind], ""))
        for name in names_of(kind):
            values = SPECIAL[name]
            default = known[name].default if name in known else None
            found += [(kind, name, value) for value in dict.fromkeys([*values, *([default] if default else [])])]
            found.append((kind, name, (values[0], ORDINARY[name], values[-1])))
    return found


@pytest.mark.long
@pytest.mark.parametrize(("kind", "name", "value"), special_values())
def test_no_value_of_a_file_is_lost_where_it_is_0_or_1_or_a_default(kind: str, name: str, value: Any) -> None:
    values = {field: ORDINARY[field] for field in names_of(kind)} | {name: value}
    found = 0
    for options, reading in RESETS:
        spikes, wrong = compare(single(kind, values), options, reading)
        assert wrong == 0
        found += spikes
    assert found > 0 or name in ("r", "w_in") or kind in ("I", "LI", "CubaLI")


SYNAPSES = {"jump_first": "end", "decay_first": "start", "next_step": "late"}


def r_for(gain: float, per_r: float) -> float:
    """Return an r that `per_r` makes exactly a gain of."""
    near = gain / per_r
    return next(r for r in (near, *np.nextafter(near, [0.0, np.inf])) if r * per_r == gain)


EULER: dict[str, Any] = {"discretization": "euler"}
DYADIC = {"tau_mem": 4e-3, "tau_syn": 2e-3, "w_in": 2.0}
# The primitive, the options, some of its values, and what r is multiplied with to be the gain.
GAINS_OF_1: list[tuple[str, dict[str, Any], dict[str, Any], float]] = [
    ("IF", {}, {}, 1.0),
    ("IF", {"spikes": "current"}, {}, STEP),
    ("I", {}, {}, 1.0),
    ("LI", {}, {"tau": 5e-3}, 1.0 - np.exp(-1.0 / 5.0)),
    ("LI", EULER, {"tau": 8e-3}, 1.0 / 8.0),
    ("LI", {"spikes": "impulse"}, {"tau": 8e-3}, 1.0 / 8e-3),
    ("LI", {"spikes": "impulse", **EULER}, {"tau": STEP}, 1.0 / STEP),
    ("LIF", {"spikes": "impulse"}, {"tau": 8e-3}, 1.0 / 8e-3),
    *(("CubaLIF", {"synapse": synapse, **EULER}, DYADIC, 0.25) for synapse in SYNAPSES),
]


@pytest.mark.parametrize(("kind", "options", "more", "per_r"), GAINS_OF_1)
def test_a_gain_of_exactly_1_is_kept(kind: str, options: dict[str, Any], more: dict[str, Any], per_r: float) -> None:
    values = {name: ORDINARY[name] for name in names_of(kind)} | more | {"r": r_for(1.0, per_r)}
    read = from_graph(single(kind, values), NIRReadOptions(**options))
    neuron: Any = read.build().network.get_submodule("n")
    assert neuron.coefficients().g == 1.0
    synapse = SYNAPSES[options.get("synapse", "jump_first")]
    reading = Reading(STEP, "discretization" in options, options.get("spikes"), "value", synapse=synapse)
    assert compare(single(kind, values), options, reading)[1] == 0


def test_a_cuba_lif_with_a_gain_of_1_has_the_membranes_of_a_calculation_by_hand() -> None:
    values = {"tau_syn": 2e-3, "tau_mem": 4e-3, "r": 4.0, "w_in": 2.0, "v_leak": 0.0, "v_threshold": 100.0}
    network = from_graph(single("CubaLIF", values, 1), NIRReadOptions(discretization="euler")).build().network
    x = torch.tensor([1.0, 0.0, 0.0]).reshape(3, 1, 1)
    assert record(network, x).states["n"]["v"].flatten().tolist() == [1.0, 1.25, 1.1875]


def test_a_time_constant_of_a_step_is_read_also_where_other_neurons_have_longer_ones() -> None:
    values = {name: ORDINARY[name] for name in names_of("CubaLIF")}
    values |= {"tau_mem": np.array([STEP, 2 * STEP, 3 * STEP]), "tau_syn": np.array([STEP, STEP, 4 * STEP])}
    options: dict[str, Any] = {"discretization": "euler"}
    assert compare(single("CubaLIF", values), options, Reading(STEP, euler=True, reset="value"))[1] == 0
