from __future__ import annotations

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
from snnlab.nn.neurons.base import set_backend
from snnlab.nn.record import record

from .interpreter import Reading, interpret
from .random_graphs import STEP, random_graph

READINGS: list[tuple[dict[str, Any], Reading]] = [
    ({"reset": "subtract"}, Reading(STEP)),
    ({"reset": "subtract", "discretization": "euler"}, Reading(STEP, euler=True)),
    ({"reset": "zero", "threshold": "inclusive"}, Reading(STEP, reset="value", strict=False)),
    (
        {"reset": "subtract", "spikes_per_step": "several", "floor": -1.0},
        Reading(STEP, several=True, strict=False, floor=-1.0),
    ),
    (
        {"reset": "subtract", "spikes": "current", "cycle_delay": 2, "floor": -0.5},
        Reading(STEP, spikes="current", cycle_delay=2, floor=-0.5),
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


@pytest.mark.parametrize("seed", range(60))
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


@pytest.mark.parametrize("seed", range(6))
def test_a_graph_read_from_its_file_is_the_same_network(seed: int, tmp_path: Path) -> None:
    graph, options = random_graph(seed), NIRReadOptions(reset="subtract")
    write_graph(tmp_path / "a.nir", graph)
    one, other = from_graph(graph, options), read_network(read_graph(tmp_path / "a.nir"), "a.nir", options)
    assert one.layers == other.layers
    assert one.weights.keys() == other.weights.keys()
    assert all(np.array_equal(value, other.weights[key]) for key, value in one.weights.items())
