"""The bench of steps next to busy processes: its ways and its table."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return the script's module."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "scripts"))
    return importlib.import_module("bench_neighbour")


@pytest.mark.parametrize(
    ("way", "expected"),
    [
        ("default", ({}, None, None)),
        ("GOMP_SPINCOUNT=0,threads=1", ({"GOMP_SPINCOUNT": "0"}, 1, None)),
        ("own_pool", ({}, None, True)),
        ("team,OMP_WAIT_POLICY=passive", ({"OMP_WAIT_POLICY": "passive"}, None, False)),
    ],
)
def test_a_way_has_variables_threads_and_a_pool(bench: ModuleType, way: str, expected: object) -> None:
    assert bench.settings_of(way) == expected


def test_ratios_are_to_the_first_way_alone(bench: ModuleType) -> None:
    seconds = {"snnlab": {"default": [[0.030, 0.034, 0.1], [0.068]], "threads=1": [[0.051], [0.051]]}}
    lines = bench.table(seconds, [0, 1]).splitlines()
    assert lines[0] == "| snnlab | alone | 1 busy |"
    assert lines[2:] == [
        "| default | 34.0 (1.00) | 68.0 (2.00) |",
        "| threads=1 | 51.0 (1.50) | 51.0 (1.50) |",
    ]


def test_busy_processes_end_with_the_measurement(bench: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    popen = bench.subprocess.Popen
    monkeypatch.setattr(bench, "BUSY", "import time; time.sleep(60)")
    monkeypatch.setattr(bench.subprocess, "Popen", lambda *given: made.append(popen(*given)) or made[-1])
    with bench.busy(2):
        assert [process.poll() for process in made] == [None, None]
    assert len(made) == 2
    assert all(process.poll() is not None for process in made)
