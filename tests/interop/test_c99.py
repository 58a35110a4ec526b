"""A network in C equals the plain dense loops of its form, bit for bit, after every step: outputs and all states."""

from __future__ import annotations

import runpy
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from snnlab.errors import ConfigError
from snnlab.interop.c99.c_folder import (
    certify_c,
    compiler,
    files_of,
    identifier,
    write_folder,
)
from snnlab.interop.c99.c_network import InputMap, c_network
from snnlab.nn.network_form import NetworkForm

from ..refusals import assert_raises
from .forms import (
    LIF,
    NETWORKS,
    conv,
    form_of,
    form_of_neurons,
    form_with_own_numbers,
    names,
    neuron_kinds,
    recorded,
    sensor,
)

FLAG_ROWS = [
    (f"-std={dialect}", *options)
    for dialect in ("gnu11", "gnu17", "c99")
    for options in (("-O0",), ("-O2",), ("-O3", "-march=native"), ("-O2", "-mavx512fp16"))
]
needs_compiler = pytest.mark.skipif(compiler() is None, reason="needs a C compiler: cc, gcc or clang")


def assert_equal_bits(form: NetworkForm, rate: float = 0.2, steps: int = 40) -> None:
    cc = compiler()
    assert cc is not None
    recordings = [recorded(form, rate, steps), recorded(form, rate, 5, seed=1)]
    found = certify_c(c_network(form, "net", sensor(form), "random"), form, recordings, cc)
    assert found.values >= 45 * np.prod(form.out_shape)
    assert found.differ == 0, found.first


@needs_compiler
@pytest.mark.parametrize("name", names(unmarked=2))
def test_every_kind_of_map_has_the_bits_of_the_plain_loops(name: str) -> None:
    layers, in_shape = NETWORKS[name]
    assert_equal_bits(form_of(layers, in_shape, 3.0))


@needs_compiler
@pytest.mark.parametrize("kind", neuron_kinds())
def test_every_neuron_has_the_bits_of_its_step_in_all_states(kind: str) -> None:
    assert_equal_bits(form_of_neurons(kind))


@needs_compiler
def test_numbers_of_each_channel_and_of_each_neuron_are_arrays() -> None:
    assert_equal_bits(form_with_own_numbers())


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
    own_flags = ["CFLAGS=-O3 -march=native", "EXACT="]  # gcc then joins a product and a sum, but for the text's pragma
    subprocess.run(["make", "-B", "check", *own_flags], cwd=folder, capture_output=True, check=True)
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
    (tmp_path / "net.c").write_bytes(files["net.c"].replace(b"static const int16_t places", b"const int16_t places"))
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
@pytest.mark.parametrize("flags", FLAG_ROWS, ids=" ".join)
def test_flags_that_keep_the_precision_of_floats_compile(tmp_path: Path, flags: tuple[str, ...]) -> None:
    """With half precision (AVX512-FP16) gcc's own dialect computes floats as floats, and says 16."""
    layers, in_shape = NETWORKS["a first convolution with dilated columns"]
    form, cc = form_of(layers, in_shape, 3.0), compiler()
    assert cc is not None
    if subprocess.run([cc, *flags, "-E", "-x", "c", "/dev/null"], capture_output=True, check=False).returncode:
        pytest.skip(f"{cc} does not know {flags}")
    network = c_network(form, "net", sensor(form), "flags")
    (tmp_path / "net.h").write_text(network.header)
    (tmp_path / "net.c").write_text(network.source)
    subprocess.run([cc, *flags, "-ffp-contract=off", "-c", "net.c"], cwd=tmp_path, capture_output=True, check=True)


@needs_compiler
def test_the_answers_beside_the_c_do_not_depend_on_how_events_are_read(tmp_path: Path) -> None:
    layers, in_shape = NETWORKS["pooling"]
    form, cc = form_of(layers, in_shape, 3.0), compiler()
    assert cc is not None
    network = c_network(form, "net", sensor(form), "late events")
    for name, content in files_of(network, form, recorded(form, 0.1, 4)).items():
        (tmp_path / name).write_bytes(content)
    subprocess.run([cc, "-O1", "-shared", "-fPIC", "net.c", "-o", "net.so", "-lm"], cwd=tmp_path, check=True)
    program = runpy.run_path(str(tmp_path / "network.py"))
    rng = np.random.default_rng(0)
    events: Any = np.zeros(3000, program["TIMED"])
    events["t"] = np.sort(rng.integers(0, 40_000, events.size))
    events["t"][rng.integers(1, events.size, 100)] -= 5_000
    events["t"][rng.integers(1, events.size, 3)] += 2**42
    events["x"], events["y"], events["p"] = (rng.integers(0, size, events.size) for size in (15, 17, 2))
    results = []
    for size in (16, 24, 64, 48_000):
        answers = program["Answers"](program["Network"](tmp_path / "net.so"))
        data = events.tobytes()
        lines = [line for at in range(0, len(data), size) for line in answers.feed(data[at : at + size])]
        results.append(([*lines, answers.end_step()], answers.dropped, answers.network.states()))
    lines, dropped, states = results[0]
    assert dropped >= 90
    for other_lines, other_dropped, other_states in results[1:]:
        assert (other_lines, other_dropped) == (lines, dropped)
        assert all(np.array_equal(other_states[name], values) for name, values in states.items())


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
    for target in ("file", "file/board"):
        with assert_raises(ConfigError, "--c", target):
            write_folder(tmp_path / target, files, force=True)
    assert (tmp_path / "file").read_text() == "kept"


@needs_compiler
def test_what_the_compiler_refuses_is_one_line() -> None:
    form, cc = form_of({"fc": {"type": "linear", "out_features": 2}}, (3,), 1.0), compiler()
    assert cc is not None
    network = c_network(form, "net", sensor(form), "small")
    wrong = network._replace(source=f"{network.source}int n = undeclared_name;\n")
    with assert_raises(ConfigError, "--c", "undeclared_name"):
        certify_c(wrong, form, [recorded(form, 0.1, 2)], cc)


@pytest.mark.parametrize(
    ("text", "name"), [("conv_lif", "conv_lif"), ("3 nets/é", "nets"), ("__", "network"), ("Main", "main_network")]
)
def test_a_name_is_one_in_c(text: str, name: str) -> None:
    assert identifier(text) == name
