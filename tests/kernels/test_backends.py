"""The choice of the backend: by name, or by device and dtype."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from snnlab.errors import ConfigError
from snnlab.kernels import function
from snnlab.kernels.function import Backend, resolve_backend
from snnlab.nn import LIF, build_network
from snnlab.nn.neurons.base import backend_of, plain_loops, set_backend

from ..refusals import assert_raises

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def test_a_cpu_runs_rendered_loops_where_they_are_exact() -> None:
    assert resolve_backend("auto", CPU, torch.float32) == resolve_backend("auto", CPU, torch.float64) == "numba"
    assert resolve_backend("auto", CPU, torch.bfloat16) == "reference"


@pytest.mark.parametrize(("triton", "expected"), [(True, "triton"), (False, "reference")])
def test_a_gpu_runs_triton_where_it_is_installed(triton: bool, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(function, "_has_triton", lambda: triton)
    assert resolve_backend("auto", CUDA, torch.float32) == expected


@pytest.mark.parametrize(
    ("backend", "device", "dtype", "expected"),
    [
        ("numba", CUDA, torch.float32, ("numba", "CPU", "cuda")),
        ("triton", CPU, torch.float32, ("triton", "cpu")),
        ("numba", CPU, torch.bfloat16, ("numba", "float64", "torch.bfloat16")),
    ],
)
def test_a_backend_that_cannot_run_reports_the_reason(
    backend: Backend, device: torch.device, dtype: torch.dtype, expected: tuple
) -> None:
    with assert_raises(ConfigError, "backend", *expected):
        resolve_backend(backend, device, dtype)


def test_missing_triton_is_reported_with_its_installation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(function, "_has_triton", lambda: False)
    with assert_raises(ConfigError, "backend", "install"):
        resolve_backend("triton", CUDA, torch.float32)


def test_an_unknown_backend_is_reported_with_the_known_ones() -> None:
    with assert_raises(ConfigError, "backend", "fast"):
        set_backend(LIF(1.0), "fast")  # pyright: ignore[reportArgumentType]


def test_plain_loops_last_for_a_while_and_in_this_thread_alone() -> None:
    neuron = LIF(1.0)
    with plain_loops(), ThreadPoolExecutor(1) as other:
        assert backend_of(neuron) == "reference"
        assert other.submit(backend_of, neuron).result() == "auto"
    assert backend_of(neuron) == neuron.backend == "auto"


def test_a_network_is_built_without_compiling(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr(function, "trace_step", refuse)
    built = build_network({"n1": {"type": "lif"}}, in_shape=(4,), dt=1.0)
    assert built.network.get_submodule("n1").backend == "auto"
