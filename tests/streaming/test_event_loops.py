"""The event-driven engine equals plain dense loops bit for bit: the membranes of all layers after every step."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from snnlab.nn.dense_loops import DenseLoops
from snnlab.nn.layers.delayed import DelayedConnections
from snnlab.nn.network import Network, build_network
from snnlab.nn.network_form import network_form
from snnlab.nn.neurons.base import Neuron
from snnlab.nn.record import record
from snnlab.session import Session
from snnlab.streaming.event_stream import EventStream

from ..marks import mostly_long

Columns = tuple[np.ndarray, np.ndarray, np.ndarray]


def frame_of(columns: Columns, shape: tuple[int, ...]) -> np.ndarray:
    frame = np.zeros(shape, np.float32)
    x, y, p = columns
    places: tuple[np.ndarray, ...] = {1: (x,), 2: (p, x), 3: (p, y, x)}[len(shape)]
    np.add.at(frame, places, 1.0)
    return frame


def random_steps(shape: tuple[int, ...], num_steps: int, most: int, seed: int = 0) -> list[Columns]:
    """Return steps with 0 to `most` events, several in a cell among them."""
    random = np.random.default_rng(seed)
    channels, height, width = {1: (1, 1, *shape), 2: (*shape[:1], 1, *shape[1:])}.get(len(shape), shape)
    found = []
    for _ in range(num_steps):
        count = int(random.integers(0, most + 1)) * int(random.random() < 0.8)
        p, y, x = (random.integers(0, size, count) for size in (channels, height, width))
        found.append((np.repeat(x, 2)[:count], np.repeat(y, 2)[:count], np.repeat(p, 2)[:count]))
    return found


def assert_equals_dense_loops(network: Network, steps: list[Columns], shape: tuple[int, ...]) -> dict[str, int]:
    """Compare all states and numbers of spikes of all layers, and the output, after every step; return the spikes."""
    stream = EventStream(network, shape)
    dense = DenseLoops(network_form(network, shape))
    total: dict[str, int] = {}
    for number, columns in enumerate(steps):
        found, expected = stream.step(*columns), dense.step(frame_of(columns, shape))
        np.testing.assert_array_equal(found.reshape(-1), expected.reshape(-1), f"output of step {number}")
        states = stream.states()
        for name, of_neurons in dense.states.items():
            assert states[name].keys() == of_neurons.keys()
            for state, values in of_neurons.items():
                same = states[name][state].view(np.int32) == values.view(np.int32)
                assert same.all(), f"{name}.{state}, step {number}: {np.count_nonzero(~same)} differ"
        total = {name: total.get(name, 0) + int(spikes.sum()) for name, spikes in dense.spikes.items()}
    layers = stream.stats()["layers"]
    assert {name: layers[name]["spikes"] for name in total} == total
    return total


def random_network(layers: Mapping[str, Mapping[str, Any]], shape: tuple[int, ...], *, scale: float = 3.0) -> Network:
    torch.manual_seed(0)
    return scaled(build_network(layers, in_shape=shape, dt=1.0).network.eval(), scale)


def scaled(network: Network, scale: float) -> Network:
    """Multiply the weights, so that more neurons spike; make learned values of neurons differ."""
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.Conv1d | torch.nn.Conv2d | torch.nn.Linear | DelayedConnections):
                module.weight.mul_(scale)
            elif isinstance(module, Neuron):
                for parameter in module.parameters():
                    parameter += 0.3 * torch.randn_like(parameter)
    return network


NEURONS: dict[str, dict[str, Any]] = {
    "lif": {"type": "lif"},
    "strict": {"type": "lif", "threshold": "strict", "tau_mem": 3.0},
    "to_value": {"type": "lif", "reset": "value", "v_reset": -0.25},
    "no_reset": {"type": "lif", "reset": "none", "tau_mem": 2.0},
    "average": {"type": "lif", "input_gain": "average"},
    "floor": {"type": "lif", "floor": -0.5},
    "v_leak": {"type": "lif", "v_leak": 0.3},
    "tonic": {"type": "lif", "v_leak": 1.3, "reset": "value", "threshold": "strict"},
    "tonic_several": {"type": "lif", "v_leak": 2.7, "spikes": "several", "tau_mem": 3.0},
    "tonic_cuba": {"type": "cuba_lif", "v_leak": 1.2, "tau_syn": 3.0},
    "tonic_alif": {"type": "alif", "v_leak": 1.5, "adaptation": 0.2},
    "tonic_some": {"type": "lif", "v_leak": 1.1, "learn": {"v_leak": "neuron"}},
    "delayed": {"type": "lif", "reset_delay": True, "threshold": "strict"},
    "delayed_value": {"type": "lif", "reset_delay": True, "reset": "value", "v_reset": 0.1},
    "iaf": {"type": "iaf"},
    "iaf_several": {"type": "iaf", "spikes": "several", "floor": -1.0},
    "iaf_start": {"type": "iaf", "v_init": 0.4},
    "iaf_start_above": {"type": "iaf", "v_init": 1.5},
    "learned": {"type": "lif", "learn": {"tau_mem": "channel", "v_threshold": "layer", "v_leak": "channel"}},
    "learned_thresholds": {"type": "lif", "learn": {"v_threshold": "channel", "tau_mem": "channel"}},
    "learned_of_neurons": {"type": "lif", "reset": "value", "learn": {"tau_mem": "neuron", "v_threshold": "neuron"}},
    "cuba": {"type": "cuba_lif", "input_gain": 1.0, "tau_syn": 3.0, "floor": -2.0},
    "cuba_decay_first": {"type": "cuba_lif", "synapse": "decay_first", "input_gain": 1.0, "spikes": "several"},
    "cuba_next_step": {
        "type": "cuba_lif",
        "synapse": "next_step",
        "input_gain": 1.0,
        "learn": {"tau_syn": "channel"},
    },
    "alif": {"type": "alif", "adaptation": 0.2, "reset": "value"},
    "alif_adapted": {
        "type": "alif",
        "adaptive": 3,
        "adaptation_gain": "1-rho",
        "adapted_reset": True,
        "learn": {"tau_adapt": "channel"},
    },
}


# A loop for each place of each kind is compiled, for more than a second: tests of kinds use the same networks.
# Those of `make check` have several spikes a step, a late reset to a value, a synapse, an adaptation, learned numbers.
IN_CHECK = ("tonic_several", "delayed_value", "cuba_decay_first", "alif_adapted")
KINDS = [
    pytest.param(kind, marks=[pytest.mark.long if kind in IN_CHECK else pytest.mark.slow] * (kind != "lif"))
    for kind in NEURONS
]


def neurons_of(kind: str) -> tuple[Network, tuple[int, ...]]:
    """Return a network with two layers of neurons of a kind, and the shape of its input."""
    layers = {
        "conv": {"type": "conv2d", "out_channels": 5, "kernel_size": 3, "padding": 1, "bias": False},
        "first": NEURONS[kind],
        "pool": {"type": "avg_pool", "kernel_size": 2},
        "conv2": {"type": "conv2d", "out_channels": 20, "kernel_size": 3, "bias": False},
        "second": NEURONS[kind],
        "flatten": {"type": "flatten"},
        "out": {"type": "linear", "out_features": 4, "bias": False},
        "readout": {"type": "cuba_li" if kind == "cuba" else "li"},
    }
    shape = (2, 9, 11)
    return random_network(layers, shape), shape


@pytest.mark.parametrize("kind", KINDS)
def test_all_neurons_equal_dense_loops(kind: str) -> None:
    network, shape = neurons_of(kind)
    spikes = assert_equals_dense_loops(network, random_steps(shape, 120, 12), shape)
    assert spikes["first"] > 100
    assert spikes["second"] > 5


CONVOLUTIONS: dict[str, dict[str, Any]] = {
    "bias": {"kernel_size": 3},
    "stride": {"kernel_size": 2, "stride": 2, "bias": False},
    "wide_stride": {"kernel_size": 2, "stride": 3, "padding": 1, "bias": False},
    "uneven": {"kernel_size": [3, 5], "stride": [2, 1], "padding": [0, 2], "bias": False},
    "dilation": {"kernel_size": 3, "dilation": [2, 3], "padding": 3, "bias": False},
    "groups": {"kernel_size": 3, "groups": 2, "bias": False},
    "same": {"kernel_size": 4, "padding": "same", "bias": False},
    "wide_padding": {"kernel_size": 1, "padding": 2, "bias": False},
}


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths:UserWarning")
@pytest.mark.parametrize("kind", mostly_long(list(CONVOLUTIONS), 2, 4))
@pytest.mark.parametrize("shape", [(2, 13, 12), (18, 7, 150)], ids=str)
def test_all_convolutions_equal_dense_loops(kind: str, shape: tuple[int, ...]) -> None:
    layers = {
        "conv": {"type": "conv2d", "out_channels": 6, **CONVOLUTIONS[kind]},
        "lif": {"type": "lif"},
        "pool": {"type": "max_pool", "kernel_size": [2, 3]},
        "conv2": {"type": "conv2d", "out_channels": 18, "kernel_size": 1, "bias": False},
        "lif2": {"type": "lif"},
    }
    spikes = assert_equals_dense_loops(random_network(layers, shape, scale=5.0), random_steps(shape, 40, 60), shape)
    assert spikes["lif"] > 50
    assert spikes["lif2"] > 20


POOLINGS: dict[str, dict[str, Any]] = {
    "max": {"type": "max_pool", "kernel_size": 2},
    "avg": {"type": "avg_pool", "kernel_size": 3},
    "sum": {"type": "sum_pool", "kernel_size": [2, 4]},
    "overlapping": {"type": "max_pool", "kernel_size": 3, "stride": 2, "padding": 1},
    "padded": {"type": "avg_pool", "kernel_size": 3, "stride": 1, "padding": 1},
    "gaps": {"type": "sum_pool", "kernel_size": 2, "stride": 3},
}


@pytest.mark.long
@pytest.mark.parametrize(
    ("kind", "before"),
    [*mostly_long([(kind, False) for kind in POOLINGS], 2), pytest.param("max", True, id="max-currents")],
)
def test_all_poolings_equal_dense_loops(kind: str, before: bool) -> None:
    pool, lif = {"pool": POOLINGS[kind]}, {"lif": {"type": "lif"}}
    layers = {
        "conv": {"type": "conv2d", "out_channels": 3, "kernel_size": 4, "bias": before},
        **({**pool, **lif} if before else {**lif, **pool}),
        "flatten": {"type": "flatten"},
        "out": {"type": "linear", "out_features": 30},
        "lif2": {"type": "lif"},
    }
    shape = (2, 14, 16)
    spikes = assert_equals_dense_loops(random_network(layers, shape), random_steps(shape, 100, 20), shape)
    assert spikes["lif"] > 50
    assert spikes["lif2"] > 20


def test_one_axis_and_features_equal_dense_loops() -> None:
    conv = {"type": "conv1d", "out_channels": 4, "kernel_size": 5, "stride": 2, "padding": 1}
    end = {"out": {"type": "linear", "out_features": 3, "bias": False}, "lif2": {"type": "iaf"}}
    lines = {"conv": conv, "lif": {"type": "lif"}, "pool": {"type": "max_pool", "kernel_size": 2}}
    lines |= {"flatten": {"type": "flatten"}, **end}
    assert_equals_dense_loops(random_network(lines, (2, 200)), random_steps((2, 200), 60, 20), (2, 200))
    features = {"hidden": {"type": "linear", "out_features": 33}, "lif": {"type": "lif"}, **end}
    assert_equals_dense_loops(random_network(features, (70,)), random_steps((70,), 60, 20), (70,))


CONV: dict[str, Any] = {"type": "conv2d", "out_channels": 5, "kernel_size": 3, "padding": 1, "bias": False}
LIF: dict[str, Any] = {"type": "lif", "tau_mem": 5.0}
ROW: dict[str, Any] = {"conv": CONV, "lif": LIF}
AVG: dict[str, Any] = {"type": "avg_pool", "kernel_size": 2}
END: dict[str, Any] = {"flatten": {"type": "flatten"}, "out": {"type": "linear", "out_features": 20}, "lif2": LIF}
BLOCK: dict[str, Any] = {"type": "residual", "layers": ROW}
SHORT: dict[str, Any] = {"conv": {**CONV, "kernel_size": 1, "padding": 0}, "lif": LIF}
GRAPHS: dict[str, dict[str, Any]] = {
    "residual": {**ROW, "block": BLOCK, "block2": BLOCK, **END},
    "pooled": {**ROW, "pool": AVG, "block": BLOCK, "pool2": {"type": "max_pool", "kernel_size": 2}, **END},
    "shortcut": {**ROW, "block": {**BLOCK, "shortcut": SHORT}, "conv2": CONV, "lif3": LIF},
    "down": {
        **ROW,
        "block": {"type": "residual", "layers": {**ROW, "pool": AVG}, "shortcut": {"pool": AVG, **SHORT}},
        **END,
    },
    "nested": {**ROW, "block": {"type": "residual", "layers": {"inner": BLOCK, "conv": CONV, "lif": LIF}}, "end": CONV},
    "at_the_end": {**ROW, "block": BLOCK},
    "pooled_input": {"pool": AVG, **ROW, "pool2": AVG, "pool3": {"type": "sum_pool", "kernel_size": 2}, **END},
    "recurrent": {"flatten": {"type": "flatten"}, "fc": END["out"], "lif": {**LIF, "recurrent": True}},
    "recurrent_conv": {
        "conv": {**CONV, "bias": True, "stride": 2},
        "lif": {**LIF, "recurrent": {"type": "conv", "kernel_size": 5}},
        "pool": AVG,
        **END,
    },
    "recurrent_late": {
        "conv": {**CONV, "kernel_size": 5, "padding": 2},
        "iaf": {"type": "iaf", "recurrent": {"type": "conv", "kernel_size": 1, "autapses": False}},
        **END,
    },
    "delayed": {
        "flatten": {"type": "flatten"},
        "fc": {"type": "linear", "out_features": 20, "delay": {"max": "6 steps", "count": 2}},
        "lif": LIF,
        "out": {**END["out"], "delay": {"max": 3, "initial": 3}},
        "lif2": LIF,
    },
    "delayed_conv": {
        "conv": {**CONV, "bias": True, "stride": 2, "delay": {"max": "4 steps", "learn": True}},
        "lif": {**LIF, "recurrent": {"type": "conv", "kernel_size": 3, "delay": {"max": "3 steps"}}},
        "pool": {**AVG, "kernel_size": 3},
        "conv2": {**CONV, "kernel_size": 1, "padding": 0, "delay": {"max": "2 steps"}},
        "iaf": {"type": "iaf", "recurrent": {"type": "conv", "kernel_size": 1}},
        **END,
    },
    "delayed_branches": {
        "block": {
            "type": "residual",
            "layers": {"conv": {**CONV, "delay": {"max": "2 steps"}}, "lif": LIF},
            "shortcut": SHORT,
        },
        "pool": AVG,
        "block2": {"type": "residual", "layers": {"conv": {**CONV, "delay": {"max": "3 steps"}}, "lif": LIF}},
        "block3": {
            "type": "residual",
            "layers": ROW,
            "shortcut": {"conv": {**SHORT["conv"], "delay": {"max": "3 steps", "initial": 1}}, "lif": LIF},
        },
        **END,
    },
    "delayed_outputs": {
        "conv": {**CONV, "out_channels": 4},
        "lif": LIF,
        "axons": {"type": "delay", "delay": "2 steps"},
        "conv2": {**CONV, "out_channels": 6, "groups": 2, "stride": 2},
        "lif2": LIF,
        "flatten": {"type": "flatten"},
        "axons2": {"type": "delay", "delay": {"max": "4 steps"}},
        "out": END["out"],
        "lif3": LIF,
    },
    "delayed_feedback": {
        "fc": END["out"],
        "lif": {**LIF, "recurrent": {"delay": {"max": "5 steps"}}},
        "out": {**END["out"], "out_features": 5},
        "lif2": {**LIF, "recurrent": {"delay": {"max": "1 steps", "initial": "1 steps"}}},
    },
}
GRAPH_KINDS = mostly_long(list(GRAPHS), 1)
FEATURES = ("recurrent", "delayed", "delayed_feedback")


def shape_of(kind: str) -> tuple[int, ...]:
    """Return the shape of the input of a network of `GRAPHS`."""
    return (40,) if kind in FEATURES else (2, 9, 11)


@pytest.mark.parametrize("kind", GRAPH_KINDS)
def test_sums_of_branches_and_feedback_equal_dense_loops(kind: str) -> None:
    shape = shape_of(kind)
    network = random_network(GRAPHS[kind], shape)
    spikes = assert_equals_dense_loops(network, random_steps(shape, 60, 20), shape)
    assert spikes
    assert all(spikes.values())


@pytest.mark.parametrize("kind", [kind for kind in KINDS if str(kind.values[0]).startswith("tonic")])
def test_neurons_with_a_leak_above_their_threshold_spike_without_any_event(kind: str) -> None:
    network, shape = neurons_of(kind)
    spikes = assert_equals_dense_loops(network, random_steps(shape, 40, 0), shape)
    assert spikes["first"] > 50
    assert spikes["second"] > 0


def test_neurons_that_stay_above_the_threshold_spike_without_input() -> None:
    layers = {"out": {"type": "linear", "out_features": 1, "bias": False}, "iaf": {"type": "iaf"}}
    network = build_network(layers, in_shape=(1,), dt=1.0).network.eval()
    torch.nn.init.constant_(network.get_submodule("out").get_parameter("weight"), 3.5)
    stream, none = EventStream(network), np.zeros(0, np.int64)
    assert [
        float(y[0]) for y in [stream.step(0, None, 0).copy(), *(stream.step(none, None, none).copy() for _ in range(4))]
    ] == [1, 1, 1, 0, 0]


@pytest.mark.long
@pytest.mark.parametrize("target", [3, pytest.param(9, marks=pytest.mark.slow)])
def test_all_layers_of_speck_equal_dense_loops(real_data: Path, target: int) -> None:
    file = foreign_file(real_data, "sinabs/dvs_gesture_params.pt")
    network = composed("model=speck_gesture", "data.dt=1", f"model.weights.file={file}")
    spikes = assert_equals_dense_loops(network, gesture_steps(real_data, target, 100), (2, 128, 128))
    assert len(spikes) == 9
    assert spikes["iaf9"] > 0


@pytest.mark.long
def test_on_a_grid_of_weights_all_layers_of_speck_equal_the_network(real_data: Path) -> None:
    """Sums of such weights are exact, so that any order gives the same bits."""
    file = foreign_file(real_data, "sinabs/dvs_gesture_params.pt")
    network = composed("model=speck_gesture", "data.dt=1", f"model.weights.file={file}")
    with torch.no_grad():
        for weight in network.parameters():
            grid = 2.0 ** torch.ceil(torch.log2(weight.abs().max() / 127))
            weight.copy_((weight / grid).round() * grid)
    shape, steps = (2, 128, 128), gesture_steps(real_data, 3, 80)
    expected = record(network, torch.from_numpy(np.stack([frame_of(columns, shape) for columns in steps]))[:, None])
    stream = EventStream(network)
    for number, columns in enumerate(steps):
        assert np.array_equal(stream.step(*columns), expected.y[number, 0])
        for name, states in stream.states().items():
            v = expected.states[name]["v"][number, 0]
            assert np.array_equal(states["v"].ravel(), v.ravel()), f"{name}, step {number}"
    assert expected.spikes["iaf9"].sum() > 0


@pytest.mark.slow
def test_all_layers_of_neurobench_equal_dense_loops(real_data: Path) -> None:
    file = foreign_file(real_data, "neurobench/dvs_gesture_snn")
    network = composed("model=neurobench_gesture", "data.downsample=4", "data.dt=10", f"model.weights.file={file}")
    steps = gesture_steps(real_data, 3, 100, ms=10, downsample=4)
    spikes = assert_equals_dense_loops(network, steps, (2, 32, 32))
    assert len(spikes) == 4
    assert spikes["lif4"] > 0


def test_all_layers_of_conv_lif_equal_dense_loops() -> None:
    network = Session.composed("model=conv_lif", "data=nmnist", "data.num_bins=null", "data.dt=1").network.eval()
    spikes = assert_equals_dense_loops(scaled(network, 4.0), random_steps((2, 34, 34), 200, 40), (2, 34, 34))
    assert spikes["lif2"] > 0


def foreign_file(real_data: Path, name: str) -> Path:
    file = real_data / "foreign" / name
    return file if file.exists() else pytest.skip(f"{file} is missing")


def composed(*overrides: str) -> Network:
    return Session.composed("data=dvsgesture", "data.duration_ms=1440", *overrides).network.eval()


def gesture_steps(real_data: Path, target: int, num_steps: int, *, ms: int = 1, downsample: int = 1) -> list[Columns]:
    """Return the first steps of a recording."""
    (path,) = (real_data / "DVSGesture").rglob(f"{target}.npy")
    x, y, p, t = np.load(path, allow_pickle=False).astype(np.int64)[:, :4].T
    stops = np.searchsorted(t, np.arange(num_steps + 1) * ms)
    return [(x[i:j] // downsample, y[i:j] // downsample, p[i:j]) for i, j in pairwise(stops)]
