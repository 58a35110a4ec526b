"""Networks in Lava's files: read exactly, run as integers, or refused in a line.

Axes: T steps, B samples, C channels or features, Y and X places.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from snnlab.interop import lava_files
from snnlab.interop.lava_files import read_lava
from snnlab.interop.nir_tree import NIRError
from snnlab.interop.onnx_network import HAS_ONNX, onnx_network
from snnlab.interop.onnx_run import certify_onnx
from snnlab.nn import Network
from snnlab.nn.dense_loops import DenseLoops
from snnlab.nn.network_form import network_form
from snnlab.nn.neurons.base import plain_loops
from snnlab.nn.record import NetworkRecord, record
from snnlab.streaming.certificate import certify
from snnlab.streaming.event_stream import EventStream

from ..nn.neurons.loihi_integers import LIMIT, Traces, convolved, fixed_point_lif
from ..refusals import assert_raises
from ..streaming.test_event_loops import Columns, frame_of, random_steps
from .test_c99 import assert_equal_bits, needs_compiler

Layers = list[dict[str, Any]]
SHAPE = (2, 9, 8)
NEURON: dict[str, Any] = {"type": b"CUBA", "iDecay": 1024, "vDecay": 128, "vThMant": 80, "refDelay": 1}
FC = {"type": "dense", "shape": [3], "weight": np.full((3, 4), 2.0), "neuron": NEURON}


def write(path: Path, layers: Layers | Mapping[str, Any]) -> Path:
    """Write a file as lava-dl's `export_hdf5` does: a text of each layer's type, an array for each field."""
    named = layers if isinstance(layers, Mapping) else {str(at): layer for at, layer in enumerate(layers)}
    with h5py.File(path, "w") as file:
        group = file.create_group("layer")
        for name, layer in named.items():
            if not isinstance(layer, Mapping):
                group[name] = layer
                continue
            one = group.create_group(name)
            for field, value in layer.items():
                if field == "type":
                    one.create_dataset("type", (1,), "S10", [value.encode()])
                elif isinstance(value, Mapping):
                    for inner, part in value.items():
                        one[f"{field}/{inner}"] = part
                else:
                    one[field] = value
    return path


def load(path: Path) -> Network:
    return read_lava(path)[0].build().network


def random_layers(seed: int) -> Layers:
    """Return a network of two convolutions and two dense layers; at an odd seed it leaks little, and overflows."""
    chance = np.random.default_rng(seed)
    overflows = seed % 2 == 1

    def layer(kind: str, weight_shape: tuple[int, ...], shape: tuple[int, ...], **more: Any) -> dict[str, Any]:
        weight = (
            chance.integers(-96, 128, weight_shape) * 2.0 if overflows else chance.integers(-9, 12, weight_shape) * 2.0
        )
        lowest, decay, vth = (1000, 8, 8000) if overflows else (10, 4096, 200)
        neuron = {
            "type": b"LOIHI" if chance.integers(2) else b"CUBA",
            "iDecay": int(chance.integers(1, decay + 1)),
            "vDecay": int(chance.integers(0, decay + 1)),
            "vThMant": int(chance.integers(lowest, vth)),
            **{"refDelay": 1, "wgtExp": 0, "theta": 1600, "tauRho": 0.5, "gradedSpike": False},
        }
        bias = {"bias": chance.integers(-300, 300, shape[0]).astype(np.float32)} if chance.integers(2) else {}
        return {"type": kind, "shape": np.array(shape), "weight": weight, **bias, "neuron": neuron, **more}

    stride, dilation, groups = int(chance.integers(1, 3)), int(chance.integers(1, 3)), int(chance.integers(1, 3))
    rows, columns = ((size + 2 - dilation * 2 - 1) // stride + 1 for size in SHAPE[1:])
    first = {"stride": [stride] * 2, "padding": [1, 1], "dilation": [dilation] * 2, "groups": groups}
    second = {"stride": 1, "padding": 1, "dilation": 1, "groups": 1}
    features = 6 * rows * columns
    return [
        {"type": "input", "shape": np.array(SHAPE)},
        layer("conv", (4, SHAPE[0] // groups, 3, 3, 1), (4, rows, columns), **first),
        layer("conv", (6, 4, 3, 3), (6, rows, columns), **second),
        {"type": "flatten", "shape": np.array([features])},
        layer("dense", (20, features), (20,)),
        layer("dense", (5, 20), (5, 1, 1)),
    ]


def interpreted(layers: Layers, x: np.ndarray) -> dict[str, Traces]:
    """Return the traces of all neurons, in 64-bit integers, by the layer's name; x: `[T, C, Y, X]`."""
    found: dict[str, Traces] = {}
    for at, layer in enumerate(layers):
        if layer["type"] == "flatten":
            x = x.reshape(len(x), -1)
        if "weight" not in layer:
            continue
        weight = layer["weight"].astype(np.int64)
        if layer["type"] == "conv":
            weight = weight.reshape(weight.shape[:4])
            sizes = [int(np.ravel(layer[name])[0]) for name in ("stride", "padding", "dilation", "groups")]
            sums = convolved(x, weight, *sizes)
        else:
            sums = x.astype(np.int64) @ weight.T
        bias = np.reshape(layer.get("bias", 0), (-1, *[1] * (sums.ndim - 2))).astype(np.int64)
        neuron = layer["neuron"]
        found[f"lif{at}"] = fixed_point_lif(sums, neuron["iDecay"] - 1, neuron["vDecay"], neuron["vThMant"], bias)
        x = found[f"lif{at}"].s
    return found


def assert_equal_traces(found: NetworkRecord, expected: dict[str, Traces]) -> None:
    assert [*found.states] == [*expected]
    for name, (u, v, s) in expected.items():
        for part, whole in ((found.states[name]["i"], u), (found.states[name]["v"], v), (found.spikes[name], s)):
            assert np.array_equal(part[:, 0].numpy(), whole), name


def random_network(seed: int, path: Path) -> tuple[Network, list[Columns], np.ndarray, dict[str, Traces]]:
    """Return a network, events and frames of 40 steps, and the traces of its neurons by the interpreter."""
    layers = random_layers(seed)
    steps = random_steps(SHAPE, 40, 400 if seed % 2 else 60, seed)
    frames = np.stack([frame_of(columns, SHAPE) for columns in steps])
    expected = interpreted(layers, frames)
    assert all(traces.s.any() for traces in expected.values())
    if seed % 2:
        assert max(np.abs(np.diff(traces.u, axis=0)).max() for traces in expected.values()) > LIMIT
        assert min(traces.v.min() for traces in expected.values()) == 1 - LIMIT
    return load(write(path / "a.net", layers)), steps, frames, expected


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.long) for seed in (0, 2, 3, 8, 9))])
def test_a_network_drawn_at_random_is_equal_in_every_bit_to_an_interpreter_of_integers(
    seed: int, tmp_path: Path
) -> None:
    network, _, frames, expected = random_network(seed, tmp_path)
    assert_equal_traces(drive_of(network, frames), expected)
    with torch.no_grad():
        y, _ = network(torch.from_numpy(frames)[:, None])
    assert np.array_equal(y[:, 0].numpy(), expected["lif5"].s)
    dense = DenseLoops(network_form(network, SHAPE))
    for t, frame in enumerate(frames):
        dense.step(frame)
        for name, (u, v, _) in expected.items():
            assert np.array_equal(dense.states[name]["i"].ravel(), u[t].ravel())
            assert np.array_equal(dense.states[name]["v"].ravel(), v[t].ravel())


@pytest.mark.slow
def test_its_stream_has_the_same_bits(tmp_path: Path) -> None:
    network, steps, frames, expected = random_network(1, tmp_path)
    found = certify(network, EventStream(network), steps, frames)
    assert found.is_equal
    assert found.spikes_differ == 0
    assert {name: layer.spikes for name, layer in found.layers.items()} == {
        name: traces.s.sum() for name, traces in expected.items()
    }


@needs_compiler
@pytest.mark.parametrize("seed", [pytest.param(0, marks=pytest.mark.long), 1])
def test_its_c_program_has_the_same_bits(seed: int, tmp_path: Path) -> None:
    network = load(write(tmp_path / "a.net", random_layers(seed)))
    assert_equal_bits(network_form(network, SHAPE), rate=1.0)


@pytest.mark.long
@pytest.mark.skipif(not HAS_ONNX, reason="onnx and onnxruntime are not installed")
def test_its_onnx_network_has_the_same_whole_numbers(tmp_path: Path) -> None:
    network, _, frames, _ = random_network(1, tmp_path)
    found = certify_onnx(onnx_network(network_form(network, SHAPE), with_neurons=True), [frames])
    assert (found.steps, found.largest, found.spikes_differ) == (40, 0.0, 0)
    assert found.spikes > 1000


def drive_of(network: Network, x: np.ndarray) -> NetworkRecord:
    with plain_loops():
        return record(network, torch.tensor(x, dtype=torch.float32)[:, None])


def test_an_input_layer_adds_its_affine_map_to_the_membrane(tmp_path: Path) -> None:
    neuron = {**NEURON, "iDecay": 100, "vThMant": 90}
    given = {"type": "input", "shape": [2, 2, 3], "weight": 40.0, "bias": 36.0, "neuron": neuron}
    fc = {**FC, "weight": np.full((3, 12), 2.0)}
    network = load(write(tmp_path / "a.net", [given, {"type": "flatten", "shape": [1, 1, 12]}, fc]))
    x = np.random.default_rng(0).random((8, 2, 2, 3)).astype(np.float32)
    found = drive_of(network, x)
    bias = np.trunc(2 * 40 * x.astype(np.float64) - 40 + 36).astype(np.int64)
    v, s = np.zeros((2, 2, 3), np.int64), []
    for t in range(8):
        v = (v * (4096 - 128) >> 12) * (v >= 0) - (-v * (4096 - 128) >> 12) * (v < 0) + 64 * bias[t]
        s.append(v > 90 * 64)
        v = np.where(s[-1], 0, v)
        assert np.array_equal(found.states["input"]["v"][t, 0].numpy(), v)
    assert np.array_equal(found.spikes["input"][:, 0].numpy(), np.stack(s))
    assert np.stack(s).any()


def test_a_recurrent_layer_reaches_itself_a_step_later(tmp_path: Path) -> None:
    chance = np.random.default_rng(0)
    weight, feedback = (2.0 * chance.integers(-20, 40, shape) for shape in ((6, 4), (6, 6)))
    bias = chance.integers(-20, 20, 6).astype(np.float64)
    layer = {**FC, "type": "dense_rec", "shape": [6], "weight": weight, "weight_rec": feedback, "bias": bias}
    x = chance.integers(0, 2, (30, 4))
    expected = Traces(*np.zeros((3, 0, 6), np.int64))
    sums = np.zeros((0, 6), np.int64)
    for t, x_t in enumerate(x):  # each step again from the first, which needs no state
        s = expected.s[-1] if t else np.zeros(6)
        sums = np.concatenate([sums, (weight @ x_t + feedback @ s)[None].astype(np.int64)])
        expected = fixed_point_lif(sums, NEURON["iDecay"] - 1, NEURON["vDecay"], NEURON["vThMant"], bias.astype(int))
    found = drive_of(load(write(tmp_path / "a.net", [layer])), x)
    assert np.array_equal(found.y[:, 0].numpy(), expected.s)
    assert 0 < expected.s.mean() < 1


@pytest.mark.parametrize("delay", [3.0, [0.0, 2.0, 1.0], [1.0, 0.0, 3.0, 2.0], "each"])
def test_delays_of_a_layer_of_an_output_an_input_and_a_weight_hold_spikes_back(delay: Any, tmp_path: Path) -> None:
    chance = np.random.default_rng(0)
    weight = 2.0 * chance.integers(-20, 60, (3, 4))
    given = chance.integers(0, 4, (3, 4)).astype(float) if delay == "each" else np.array(delay)
    of_outputs = given.shape == (3,)
    steps = np.broadcast_to(given[:, None] if of_outputs else given, (3, 4)).astype(int)
    x = chance.integers(0, 2, (20, 4))
    held = np.concatenate([np.zeros((3, 4), int), x])
    sums = np.array(
        [[sum(weight[o, i] * held[3 + t - steps[o, i], i] for i in range(4)) for o in range(3)] for t in range(20)]
    ).astype(np.int64)
    found = drive_of(load(write(tmp_path / "a.net", [{**FC, "weight": weight, "delay": given}])), x)
    expected = fixed_point_lif(sums, NEURON["iDecay"] - 1, NEURON["vDecay"], NEURON["vThMant"])
    assert np.array_equal(found.states["lif0"]["i"][:, 0].numpy(), expected.u)
    assert np.array_equal(found.y[:, 0].numpy(), expected.s)


def test_a_last_layer_without_neurons_is_its_weighted_sum(tmp_path: Path) -> None:
    last = {"type": "dense", "shape": [2], "weight": np.array([[2.0, 4.0, 6.0], [-2.0, 0.0, 8.0]])}
    read, _ = read_lava(write(tmp_path / "a.net", [FC, last]))
    found = drive_of(read.build().network, np.ones((6, 4)))
    assert np.array_equal(
        found.y[:, 0], found.spikes["lif0"][:, 0] @ torch.tensor(last["weight"].T, dtype=torch.float32)
    )
    assert found.y.any()
    assert [line.partition(":")[0] for line in read.assumptions] == ["steps", "fc1"]


def pilotnet(real_data: Path) -> Path:
    folder = real_data / "foreign" / "lava-dl" / "pilotnet_lif"
    if not folder.is_dir():
        pytest.skip(f"no traces of PilotNet: {folder} is missing")
    return folder


def trace_of(folder: Path, name: str) -> np.ndarray:
    """Return a trace of PilotNet, `[T, C, Y, X]` or `[T, F]`; their axes are X, Y, C, T."""
    found = np.load(folder / f"{name}.npy", allow_pickle=False)
    return found.transpose(range(found.ndim)[::-1])


# Layers of the file, and the names of their traces.
PILOTNET = {
    **{"lif1": "conv-0", "lif2": "conv-1", "lif3": "conv-2", "lif4": "conv-3", "lif5": "conv-4"},
    **{"lif7": "fc-0", "lif8": "fc-1", "lif9": "fc-2"},
}
# A recording is shown for 16 steps, and a step of rest follows.
SHOWN = 16


@pytest.mark.long
def test_pilotnet_has_the_current_membrane_and_spikes_of_all_its_layers(real_data: Path) -> None:
    """A layer starts one step after the one before it: the k-th at step k of the traces.

    After a spike their membrane is 128, as Loihi's counts a rest of a step, and 0 a step later, as the next shows.
    """
    folder = pilotnet(real_data)
    network = load(folder / "network.net")
    image = trace_of(folder, "image").astype(np.float64)  # what the input layer makes of pixels: 80 x - 4
    found = drive_of(network, np.repeat(((image + 4) / 80)[None], SHOWN, 0))
    assert np.array_equal(found.spikes["input"][:, 0].numpy(), trace_of(folder, "input")[:SHOWN])
    compared = 0
    for start, (layer, name) in enumerate(PILOTNET.items(), 1):
        steps = slice(start, start + SHOWN)
        spikes = trace_of(folder, name)[steps]
        assert len(spikes) == SHOWN
        assert np.array_equal(found.spikes[layer][:, 0].numpy(), spikes), layer
        assert spikes.any()
        compared += spikes.size
        if layer == "lif1":  # of which no other traces are published
            continue
        u, v = (trace_of(folder, f"{name}-{part}")[steps] for part in "uv")
        assert (v[spikes] == 128).all()
        assert np.array_equal(found.states[layer]["i"][:, 0].numpy(), u), layer
        assert np.array_equal(found.states[layer]["v"][:, 0].numpy(), np.where(spikes, 0, v)), layer
        compared += 2 * spikes.size
    assert compared == 16 * (24 * 32 * 99 + 3 * (36 * 15 * 49 + 48 * 7 * 24 + 64 * 4 * 22 + 64 * 2 * 20 + 160))


def test_the_last_layer_of_pilotnet_adds_up_its_current(real_data: Path) -> None:
    """Its traces are of a longer run, from step 8 on with other input: its current is given here."""
    folder = pilotnet(real_data)
    u, v, s = (trace_of(folder, f"fc-3-{part}")[8:24] for part in "uvs")
    neuron = load(folder / "network.net").get_submodule("lif10")
    with torch.no_grad(), plain_loops():
        state, membranes, spikes = None, [], []
        for x in torch.tensor(u / 64, dtype=torch.float32).split(1):
            y, state = neuron(x[None], state)
            membranes.append(state.v.item())
            spikes.append(y.item())
    assert membranes == v.ravel().tolist()
    assert spikes == s.ravel().tolist() == [0.0] * 16
    assert len(set(membranes)) > 2


@pytest.mark.slow
def test_the_network_for_mnist_reads_the_test_digits(real_data: Path) -> None:
    file, digits = real_data / "foreign" / "lava-dl" / "mnist" / "trained_mnist_network.net", real_data / "smnist"
    if not file.is_file() or not digits.is_dir():
        pytest.skip(f"no network for MNIST, or no digits: {file} or {digits} is missing")
    pixels = np.frombuffer((digits / "t10k-images-idx3-ubyte").read_bytes(), np.uint8, offset=16).reshape(-1, 784) / 255
    labels = np.frombuffer((digits / "t10k-labels-idx1-ubyte").read_bytes(), np.uint8, offset=8)
    v, frames = np.zeros_like(pixels), []
    for _ in range(32):  # the encoder of its tutorial
        v = v + pixels
        frames.append(v > 1)
        v[v > 1] = 0
    with torch.no_grad():
        y, _ = load(file)(torch.tensor(np.stack(frames), dtype=torch.float32))
    assert (y.sum(0).argmax(-1).numpy() == labels).sum() == 9_523


def changed(layer: Mapping[str, Any] = FC, neuron: Mapping[str, Any] = NEURON, **fields: Any) -> Layers:
    """Return a layer with other fields, or with other fields of its neuron; a field of None is left out."""
    neuron = {key: value for key, value in neuron.items() if value is not None}
    return [{key: value for key, value in {**layer, "neuron": neuron, **fields}.items() if value is not None}]


IMAGE = {"type": "input", "shape": [2, 5, 5]}
CONV: dict[str, Any] = {
    **{"type": "conv", "shape": [3, 3, 3], "weight": np.full((3, 2, 3, 3), 2.0), "stride": [1, 1]},
    **{"padding": [0, 0], "dilation": [1, 1], "groups": 1, "neuron": NEURON},
}
BAD: dict[str, tuple[Any, str, tuple[Any, ...]]] = {
    "no layer": ({}, "", ("layers",)),
    "a gap": ({"0": FC, "2": FC}, "", ("0, 2",)),
    "no number": ({"0": FC, "x": FC}, "", ("x",)),
    "an array": ({"0": np.ones(3)}, "0", ("array",)),
    "no type": ({"0": {"shape": [3]}}, "0", ("type",)),
    "pooling": ([IMAGE, {"type": "pool", "shape": [2, 2, 2]}], "1", ("pool", "dense_rec", "conv", "flatten")),
    "average": ([FC, {"type": "average", "shape": [3]}], "1", ("average",)),
    "unknown field": (changed(dropout=0.5), "0", ("dropout",)),
    "sigma-delta": (changed(neuron={**NEURON, "type": b"SDNN"}), "0", ("SDNN", "LOIHI", "CUBA")),
    "resonate and fire": (changed(neuron={**NEURON, "type": b"RF"}), "0", ("RF",)),
    "unknown neuron field": (changed(neuron={**NEURON, "weight_exp": 3}), "0", ("weight_exp",)),
    "rest": (changed(neuron={**NEURON, "refDelay": 3}), "0", ("neuron.refDelay", 3, 1)),
    "graded spikes": (changed(neuron={**NEURON, "messageBits": 8}), "0", ("neuron.messageBits", 8)),
    "no current decay": (changed(neuron={**NEURON, "iDecay": 0}), "0", ("iDecay", 1, 4096)),
    "decay": (changed(neuron={**NEURON, "vDecay": 4097}), "0", ("vDecay", 4096, 4097)),
    "threshold": (changed(neuron={**NEURON, "vThMant": 2**17}), "0", ("vThMant", 131071)),
    "missing decay": (changed(neuron={**NEURON, "vDecay": None}), "0", ("vDecay",)),
    "two decays": (changed(neuron={**NEURON, "vDecay": [1, 2]}), "0", ("vDecay", 2)),
    "fraction": (changed(weight=np.full((3, 4), 0.5)), "0", ("weight", "whole")),
    "NaN": (changed(weight=np.full((3, 4), np.nan)), "0", ("weight",)),
    "infinite": (changed(bias=np.full(3, np.inf)), "0", ("bias",)),
    "complex": (changed(weight={"real": np.ones(3), "imag": np.ones(3)}), "0", ("weight", "complex")),
    "text": (changed(weight=np.array([b"a"] * 12)), "0", ("weight",)),
    "large": (changed(weight=np.full((3, 4), 256.0)), "0", (256, 254)),
    "odd": (changed(weight=np.array([[129.0, -2.0, 0.0, 0.0]] * 3)), "0", ("odd",)),
    "odd convolution": ([IMAGE, {**CONV, "weight": np.resize([1.0, -1.0], (3, 2, 3, 3))}], "1", ("odd",)),
    "width": ([FC, {**FC, "weight": np.ones((3, 5))}], "1", ("[3, 5]", "[3, 3]")),
    "rows": (changed(weight=np.ones((2, 4))), "0", ("[2, 4]", "[3, 4]")),
    "empty": (changed(weight=np.ones((3, 0))), "0", ("weight",)),
    "bias": (changed(bias=np.ones(2)), "0", ("bias", 2, 3)),
    "delay": (changed(delay=np.full(3, 63.0)), "0", ("delay", 62)),
    "delays": (changed(delay=np.ones((4, 3))), "0", ("delay", "[4, 3]", "[3, 4]")),
    "no flatten": ([IMAGE, {**FC, "weight": np.ones((3, 50))}], "1", ("flatten",)),
    "no size": ([CONV], "0", ("input",)),
    "late input": ([FC, IMAGE], "1", ("input", "first")),
    "two axes": ([{**IMAGE, "shape": [5, 5]}], "0", ("[5, 5]",)),
    "no weights": ([IMAGE], "", ("weights",)),
    "groups": ([IMAGE, {**CONV, "groups": 2}], "1", ("weight", 2)),
    "size": ([IMAGE, {**CONV, "shape": [3, 4, 4]}], "1", ("[3, 4, 4]", "[3, 3, 3]")),
    "no stride": ([IMAGE, {**CONV, "stride": [0, 1]}], "1", ("stride", 1)),
    "too small": ([IMAGE, {**CONV, "dilation": [3, 3]}], "1", ("1 to",)),
    "huge frames": ([{**IMAGE, "shape": [2, 10**9, 10**9]}, CONV], "0", ("16,777,216",)),
    "huge padding": ([IMAGE, {**CONV, "padding": [10**9, 10**9]}], "1", ("16,777,216",)),
    "silent middle": ([{**FC, "neuron": np.ones(1)}, FC], "0", ("neuron",)),
    "no neuron": ([{key: FC[key] for key in ("type", "shape", "weight")}, FC], "0", ("neuron", "last")),
    "flattened": ([IMAGE, {"type": "flatten", "shape": [49]}], "1", ("49", "[2, 5, 5]")),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_not_read_is_refused_by_its_layer(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lava_files, "require_readable", lambda *_, **__: None)  # a process, tried below
    layers, at, facts = BAD[name]
    path = write(tmp_path / "a.net", layers)
    with assert_raises(NIRError, f"{path}: layer.{at}" if at else str(path), *facts):
        read_lava(path)


def test_a_file_that_links_elsewhere_is_cut_or_is_no_network_is_refused(tmp_path: Path) -> None:
    secret = write(tmp_path / "secret.net", [FC])
    linked = tmp_path / "linked.net"
    with h5py.File(linked, "w") as file:
        file["layer/0"] = h5py.ExternalLink(str(secret), "/layer/0")
    outside = tmp_path / "outside.net"
    with h5py.File(outside, "w") as file:
        file["layer"] = h5py.ExternalLink(str(secret), "/layer")
    cut = tmp_path / "cut.net"
    cut.write_bytes(secret.read_bytes()[:-200])
    virtual = tmp_path / "virtual.net"
    with h5py.File(virtual, "w") as file:
        layout = h5py.VirtualLayout((3, 4), "f8")
        layout[:] = h5py.VirtualSource(str(secret), "layer/0/weight", (3, 4))
        file.create_virtual_dataset("layer/0/weight", layout)
    promised = tmp_path / "promised.net"
    with h5py.File(promised, "w") as file:
        file.create_dataset("layer/0/weight", (10**6, 10**6), "f4", chunks=(10**3, 10**3))
    places = {linked: "layer.0", outside: "", cut: "", virtual: "layer.0.weight", promised: "layer.0.weight"}
    for path, where in places.items():
        with assert_raises(NIRError, f"{path}: {where}".removesuffix(": ")):
            read_lava(path)
    for path, word in ((tmp_path / "none.net", "there"), (tmp_path, "file")):
        with assert_raises(NIRError, str(path), word):
            read_lava(path)
