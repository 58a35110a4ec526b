"""Which kernel runs: by name, or from the device and the precision."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from snnlab.nn import LIF, NEURONS, build_network
from snnlab.nn.kernels import numba_alif, numba_recurrent, ops
from snnlab.nn.kernels.numba_cpu import run
from snnlab.nn.neurons import membrane
from snnlab.nn.neurons.membrane import plain_loops, set_backend

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def test_a_cpu_runs_compiled_loops_where_they_are_exact() -> None:
    assert ops.resolve("auto", CPU, torch.float32) == ops.resolve("auto", CPU, torch.float64) == "numba"
    assert ops.resolve("auto", CPU, torch.bfloat16) == "reference"
    assert ops.kernel_for("auto", torch.zeros(1, 1)) is run
    assert ops.kernel_for("reference", torch.zeros(1, 1)) is None


def test_adaptive_and_recurrent_neurons_run_in_their_own_loops_on_a_cpu() -> None:
    x = torch.zeros(1, 1, 1)
    assert ops.adaptive_kernel("auto", x) is numba_alif.run
    assert ops.recurrent_kernel("auto", x) is numba_recurrent.run
    for backend in ("reference", "eager"):
        assert ops.adaptive_kernel(backend, x) is ops.recurrent_kernel(backend, x) is None


@pytest.mark.parametrize(("kind", "recurrent"), [("alif", False), ("alif", True), ("lif", True)])
def test_a_backend_that_cannot_run_them_says_why(kind: str, recurrent: bool) -> None:
    neuron = NEURONS.build(kind, {"recurrent": recurrent}, "n", in_shape=(3,), dt=1.0)
    set_backend(neuron, "triton")
    with pytest.raises(ValueError, match="triton runs on NVIDIA's GPUs, and this is on cpu; set backend: auto"):
        neuron(torch.zeros(2, 1, 3))


@pytest.mark.parametrize(("triton", "expected"), [(True, "triton"), (False, "eager")])
def test_a_gpu_runs_triton_where_it_is_installed(triton: bool, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ops, "_has_triton", lambda: triton)
    assert ops.resolve("auto", CUDA, torch.float32) == expected


@pytest.mark.parametrize(
    ("backend", "device", "dtype", "message"),
    [
        ("numba", CUDA, torch.float32, "numba runs on the CPU, and this is on cuda; set backend: auto or eager"),
        ("triton", CPU, torch.float32, "triton runs on NVIDIA's GPUs, and this is on cpu; set backend: auto or eager"),
        ("numba", CPU, torch.bfloat16, "numba runs in float32 and float64, not in torch.bfloat16; set backend: auto"),
        ("eager", CPU, torch.float16, "eager runs in float32 and float64, not in torch.float16; set backend: auto"),
    ],
)
def test_what_cannot_run_says_why(backend: ops.Backend, device: torch.device, dtype: torch.dtype, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ops.resolve(backend, device, dtype)


def test_triton_that_is_missing_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ops, "_has_triton", lambda: False)
    with pytest.raises(ValueError, match="pip install triton"):
        ops.resolve("triton", CUDA, torch.float32)


def test_a_backend_that_does_not_exist_names_those_that_do() -> None:
    with pytest.raises(ValueError, match="auto, reference, eager, numba, triton, got 'fast'"):
        set_backend(LIF(1.0), "fast")  # pyright: ignore[reportArgumentType]


def test_plain_loops_last_for_a_while() -> None:
    neuron = LIF(1.0)
    with plain_loops(neuron):
        assert neuron.backend == "reference"
    assert neuron.backend == "auto"


def test_a_network_is_built_without_compiling(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(membrane, "kernel_for", lambda backend, _: asked.append(backend))
    built = build_network({"n1": {"type": "lif"}}, in_shape=(4,), dt=1.0)
    assert set(asked) == {"reference"}
    assert built.network.get_submodule("n1").backend == "auto"


def test_a_first_compilation_is_known_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ops, "__file__", str(tmp_path / "ops.py"))
    assert ops.compiles_first("numba", {"canonical", None})
    assert not ops.compiles_first("eager", {"canonical"})
    assert not ops.compiles_first("numba", {None})
    (tmp_path / "__pycache__").mkdir()
    version = f"{ops.sys.version_info[0]}{ops.sys.version_info[1]}"
    (tmp_path / "__pycache__" / f"numba_backward.backward-40.py{version}.nbi").touch()
    assert not ops.compiles_first("numba", {"canonical"})
    assert ops.compiles_first("numba", {"canonical", "adaptive"})
