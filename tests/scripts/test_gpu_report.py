"""The page of a machine with a GPU, made from synthetic records: nothing here was measured on one."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ..refusals import assert_text_has

ROOT = Path(__file__).parents[2]
GPU_TESTS = "tests/kernels/test_gpu.py::"
PRESET = f"{GPU_TESTS}test_compiled_every_preset_equals_the_plain_loop"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """Return the script's module."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    yield importlib.import_module("gpu_report")
    for name in [name for name in sys.modules if name.partition(".")[0] in ("gpu_report", "gpureport", "stepbench")]:
        del sys.modules[name]


def method(ms: float, mb: float | None = 100.0) -> dict[str, Any]:
    return {"median_ms": ms, "peak_mb": mb, "variant": "", "to_relu": None, "to_fastest_library": None}


def bench(**methods: float) -> dict[str, Any]:
    title = "conv, avg pooling, T = 30, batch 32"
    return {"cases": [{"title": title, "methods": {name: method(ms) for name, ms in methods.items()}}]}


def synthetic() -> dict[str, Any]:
    """Return a record as a machine with a GPU would write it; its numbers are invented."""
    return {
        "about": {
            "machine": "A GPU that there is not",
            "date": "2026-11-27T12:00:00+00:00",
            "git": {"commit": "0123abc", "dirty": False},
            "versions": {"torch": "2.13.0+cu130", "cupy-cuda12x": None},
        },
        "minutes": 18.2,
        "tests": {
            f"{PRESET}[lif-fixed]": "passed",
            f"{PRESET}[lif-learned]": "passed",
            f"{PRESET}[se_adlif-fixed]": "passed",
            f"{GPU_TESTS}test_compiled_recurrent_neurons_equal_the_plain_loop[lif-value-True]": "passed",
            "tests/training/callbacks/test_stopwatch.py::test_on_a_gpu": "skipped",
        },
        "bench": {
            "SpikingJelly 2, its Triton kernels": bench(snnlab=2.0, spikingjelly_triton=3.0),
            "SpikingJelly 0.0.0.0.14, CuPy": bench(snnlab=2.0, spikingjelly_cupy=2.5),
        },
        "notes": [],
    }


def test_the_page_has_a_verdict_a_row_for_each_neuron_and_the_ratios(script: ModuleType) -> None:
    lines = script.page(synthetic()).splitlines()
    assert_text_has("\n".join(lines), "- **pass**: tests", "4 passed, 1 skipped")
    assert any(line.startswith("- **pass**: ") and "1.25" in line and "CuPy" in line for line in lines)
    assert "| lif | passed | passed |" in lines
    assert "| se_adlif | passed | - |" in lines
    assert "| test_compiled_recurrent_neurons_equal_the_plain_loop | 1 | 0 | 0 | 0 |" in lines
    assert any("| spikingjelly_triton | 3.00 | 1.50 | 100 |" in line for line in lines)


def test_failed_missing_or_slower_results_fail_the_page(script: ModuleType) -> None:
    report = synthetic()
    report["tests"][f"{PRESET}[lif-learned]"] = "failed"
    report["tests"][f"{PRESET}[se_adlif-fixed]"] = "not run"
    report["bench"]["SpikingJelly 0.0.0.0.14, CuPy"] = bench(snnlab=2.0, spikingjelly_cupy=1.0)
    lines = script.page(report).splitlines()
    assert_text_has("\n".join(lines), "- **FAIL**: tests", "2 passed, 1 failed, 1 skipped, 1 not")
    assert any(line.startswith("- **FAIL**: ") and "0.50" in line for line in lines)
    assert f"- `{PRESET}[lif-learned]`" in lines


def test_without_a_gpu_nothing_is_run(script: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr(sys, "argv", ["gpu_report.py"])
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr(script, "run_tests", lambda *_: pytest.fail("tests were about to run"))
    assert script.main() == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("listed", [None, "echo 'No devices were found'; exit 0"])
def test_make_gpu_installs_nothing_without_a_gpu(listed: str | None, tmp_path: Path) -> None:
    if listed is not None:
        (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{listed}\n")
        (tmp_path / "nvidia-smi").chmod(0o755)
    elif any((Path(folder) / "nvidia-smi").exists() for folder in os.environ["PATH"].split(os.pathsep)):
        pytest.skip("there is an nvidia-smi here")
    before = (ROOT / ".venv_gpu").exists()
    env = os.environ | {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(["make", "-C", ROOT, "gpu"], env=env, capture_output=True, text=True)
    assert done.returncode == 2
    assert_text_has(done.stderr.splitlines()[0], "NVIDIA GPU", "nothing", "installed")
    assert (ROOT / ".venv_gpu").exists() == before
