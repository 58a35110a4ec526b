"""A network in C equals the plain dense loops of its form, bit for bit, after every step: outputs and all states."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from snnlab.errors import ConfigError
from snnlab.interop.c99.c_folder import (
    EVENT,
    Recorded,
    certify_c,
    compiler,
    files_of,
    identifier,
    write_folder,
)
from snnlab.interop.c99.c_network import InputMap, c_network
from snnlab.nn import NEURONS, build_network
from snnlab.nn.network_form import NetworkForm, network_form

from ..refusals import assert_raises

Layers = dict[str, dict[str, Any]]

needs_compiler = pytest.mark.skipif(compiler() is None, reason="needs a C compiler: cc, gcc or clang")
LIF = {"type": "lif", "tau_mem": 20.0}
# They have no single step, or none that can be traced.
NO_FORM = {"lava_cuba", "psn", "masked_psn", "sliding_psn"}


def form_of(layers: Layers, in_shape: tuple[int, ...], gain: float) -> NetworkForm:
    torch.manual_seed(0)
    network = build_network(layers, in_shape=in_shape, dt=1.0, num_steps=40).network.eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(gain)
    return network_form(network, in_shape)


def recorded(form: NetworkForm, rate: float, steps: int, seed: int = 0) -> Recorded:
    """Return events at random, those of a step in random order."""
    rng, events = np.random.default_rng(seed), []
    frames = rng.poisson(rate, (steps, *form.in_shape)).astype(np.float32)
    for frame in frames:
        places = np.repeat(np.argwhere(frame), frame[frame > 0].astype(int), 0)
        one = np.zeros(len(places), EVENT)
        one["p"], one["y"], one["x"] = rng.permutation(places).T
        events.append(one)
    return Recorded("random", events, frames)


def sensor(form: NetworkForm) -> InputMap:
    polarities, height, width = form.in_shape
    return InputMap(width, height, polarities)


def assert_equal_bits(form: NetworkForm, rate: float = 0.2, steps: int = 40) -> None:
    cc = compiler()
    assert cc is not None
    recordings = [recorded(form, rate, steps), recorded(form, rate, 5, seed=1)]
    found = certify_c(c_network(form, "net", sensor(form), "random"), form, recordings, cc)
    assert found.values >= 45 * np.prod(form.out_shape)
    assert found.differ == 0, found.first


def conv(**settings: Any) -> dict[str, Any]:
    return {"type": "conv2d", "out_channels": 8, "kernel_size": 3, **settings}


NETWORKS: dict[str, tuple[Layers, tuple[int, ...]]] = {
    "pooling": (
        {
            **{"c1": conv(padding=1, bias=False), "n1": LIF, "p1": {"type": "avg_pool", "kernel_size": 2}},
            **{"c2": conv(stride=2), "n2": LIF, "p2": {"type": "max_pool", "kernel_size": 2}},
            **{"flatten": {"type": "flatten"}, "fc": {"type": "linear", "out_features": 10}, "out": {"type": "li"}},
        },
        (2, 17, 15),
    ),
    "sums, groups, dilation, feedback": (
        {
            "c1": conv(stride=2, dilation=2, groups=2, padding=2, bias=False),
            "n1": {**LIF, "recurrent": {"type": "conv", "kernel_size": 3}},
            "block": {"type": "residual", "layers": {"c": conv(padding=1), "n": LIF}},
            "p": {"type": "max_pool", "kernel_size": 3, "stride": 2, "padding": 1},
            "flatten": {"type": "flatten"},
            "fc": {"type": "linear", "out_features": 10, "delay": {"max": 5.0}},
            "n2": {"type": "lif", "tau_mem": 5.0, "recurrent": {"type": "dense", "delay": {"max": 3.0}}},
        },
        (4, 12, 14),
    ),
    "a line of sensors, delays": (
        {
            "c": {"type": "conv1d", "out_channels": 8, "kernel_size": 3, "delay": {"max": 4.0}},
            **{"n": LIF, "flatten": {"type": "flatten"}, "out": {"type": "linear", "out_features": 3}},
        },
        (2, 20),
    ),
    "pooled currents": (
        {
            "c": conv(),
            "p": {"type": "max_pool", "kernel_size": 2},
            "n": LIF,
            "s": {"type": "sum_pool", "kernel_size": 3},
        },
        (2, 14, 14),
    ),
    "strides longer than a kernel, windows that cut": (
        {
            **{"c1": conv(kernel_size=2, padding=1), "p1": {"type": "max_pool", "kernel_size": 2}, "n1": LIF},
            **{
                "c2": conv(kernel_size=1, stride=2, bias=False),
                "n2": LIF,
                "p2": {"type": "avg_pool", "kernel_size": 2},
            },
            **{"c3": conv(kernel_size=3, stride=2, padding=2), "p3": {"type": "avg_pool", "kernel_size": 2}, "n3": LIF},
        },
        (2, 24, 21),
    ),
    "features": (
        {
            "fc": {"type": "linear", "out_features": 30},
            "n": {"type": "alif"},
            "out": {"type": "linear", "out_features": 4},
        },
        (25,),
    ),
}


@needs_compiler
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.long] * (at > 1)) for at, name in enumerate(NETWORKS)]
)
def test_every_kind_of_map_has_the_bits_of_the_plain_loops(name: str) -> None:
    layers, in_shape = NETWORKS[name]
    assert_equal_bits(form_of(layers, in_shape, 3.0))


@needs_compiler
@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, marks=[pytest.mark.long] * (kind not in ("adex", "cuba_lif", "lif_refrac")))
        for kind in sorted(set(NEURONS) - NO_FORM)
    ],
)
def test_every_neuron_has_the_bits_of_its_step_in_all_states(kind: str) -> None:
    layers = {
        **{"c1": conv(padding=1), "n1": {"type": kind}, "p": {"type": "sum_pool", "kernel_size": 2}},
        **{"c2": conv(bias=False), "n2": {"type": kind}, "flatten": {"type": "flatten"}},
        "fc": {"type": "linear", "out_features": 7},
    }
    assert_equal_bits(form_of(layers, (2, 9, 8), 4.0))


@needs_compiler
def test_numbers_of_each_channel_and_of_each_neuron_are_arrays() -> None:
    own = {**LIF, "per_neuron": ["tau_mem", "v_threshold"]}
    layers = {"c": conv(bias=False), "n1": own, "flatten": {"type": "flatten"}}
    layers |= {"fc": {"type": "linear", "out_features": 9, "bias": False}, "n2": own}
    network = build_network(layers, in_shape=(2, 9, 8), dt=1.0, num_steps=40).network.eval()
    rng = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, values in network.named_buffers():
            if name.endswith("_values"):
                values.mul_(torch.rand(values.shape, generator=rng) + 0.5)
        for parameter in network.parameters():
            parameter.mul_(4.0)
    form = network_form(network, (2, 9, 8))
    sizes = {value.shape for one in form.neurons.values() for value in one.form.numbers.values()}
    assert {(9, 1, 1), (8, 7, 6)} <= sizes
    assert_equal_bits(form)


@needs_compiler
def test_the_written_program_finds_its_recording_equal_and_a_changed_one_different(tmp_path: Path) -> None:
    layers, in_shape = NETWORKS["pooling"]
    form = form_of(layers, in_shape, 3.0)
    network = c_network(form, "net", sensor(form), "random")
    write_folder(tmp_path / "board", files_of(network, form, recorded(form, 0.1, 20)), force=False)
    folder = tmp_path / "board"
    done = subprocess.run(["make", "check"], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "20 steps" in done.stdout
    content = bytearray((folder / "recording.bin").read_bytes())
    content[-1] ^= 1
    (folder / "recording.bin").write_bytes(content)
    assert subprocess.run(["make", "check"], cwd=folder, capture_output=True, check=False).returncode != 0
    (folder / "recording.bin").write_bytes(content[:-3])
    cut = subprocess.run(["./replay"], cwd=folder, capture_output=True, text=True, check=False)
    assert cut.returncode == 2
    assert "ends in step 19" in cut.stdout


@needs_compiler
def test_events_outside_of_the_sensor_or_of_a_cell_are_left_out_and_counted(tmp_path: Path) -> None:
    form = form_of({"c": conv(bias=False), "n": LIF}, (1, 6, 6), 1.0)
    places = np.full((12, 12), -1)
    places[:, :10] = (np.arange(12) // 2)[:, None] * 6 + np.arange(10) // 2
    network = c_network(form, "net", InputMap(12, 12, 2, places, per_polarity=0), "cells")
    files = files_of(network, form, recorded(form, 0.0, 1))
    (tmp_path / "net.c").write_bytes(files["net.c"].replace(b"static const int32_t places", b"const int32_t places"))
    for name in ("net.h", "network.py"):
        (tmp_path / name).write_bytes(files[name])
    text = """
        import numpy as np, network
        own = network.Network("net.so")
        events = np.array([(11, 3, 0), (2, 3, 1), (3, 2, 0), (12, 0, 0), (0, 12, 0), (0, 0, 2)], network.EVENT)
        own.step(events)
        print(own.outside)
    """
    (tmp_path / "run.py").write_text("\n".join(line.strip() for line in text.splitlines()))
    cc = compiler()
    assert cc is not None
    subprocess.run([cc, "-O1", "-shared", "-fPIC", "net.c", "-o", "net.so", "-lm"], cwd=tmp_path, check=True)
    done = subprocess.run(["python3", "run.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "3", done.stderr


@needs_compiler
def test_fast_math_is_refused_by_the_compiler(tmp_path: Path) -> None:
    form = form_of({"fc": {"type": "linear", "out_features": 2}}, (3,), 1.0)
    network = c_network(form, "net", sensor(form), "small")
    (tmp_path / "net.h").write_text(network.header)
    (tmp_path / "net.c").write_text(network.source)
    cc = compiler()
    assert cc is not None
    done = subprocess.run([cc, "-ffast-math", "-c", "net.c"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "fast-math" in done.stderr


def test_a_folder_is_overwritten_only_on_demand_and_only_if_an_export_wrote_it(tmp_path: Path) -> None:
    files = {"net.h": b"1", "README.md": b"2"}
    write_folder(tmp_path / "board", files, force=False)
    with assert_raises(ConfigError, "--c", "--force"):
        write_folder(tmp_path / "board", files, force=False)
    write_folder(tmp_path / "board", {"net.h": b"3", "README.md": b"4"}, force=True)
    assert (tmp_path / "board" / "net.h").read_bytes() == b"3"
    (tmp_path / "board" / "mine.txt").write_text("kept")
    with assert_raises(ConfigError, "--c", "mine.txt"):
        write_folder(tmp_path / "board", files, force=True)
    assert (tmp_path / "board" / "mine.txt").read_text() == "kept"
    (tmp_path / "board" / "mine.txt").rename(tmp_path / "board" / "mine.c")
    with assert_raises(ConfigError, "--c", "mine.c"):
        write_folder(tmp_path / "board", files, force=True)
    (tmp_path / "file").write_text("kept")
    with assert_raises(ConfigError, "--c", "folder"):
        write_folder(tmp_path / "file", files, force=True)


@pytest.mark.parametrize(("text", "name"), [("conv_lif", "conv_lif"), ("3 nets/é", "nets"), ("__", "network")])
def test_a_name_is_one_in_c(text: str, name: str) -> None:
    assert identifier(text) == name
