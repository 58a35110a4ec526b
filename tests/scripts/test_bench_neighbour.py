"""The bench of steps next to busy processes: they end with it."""

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


def test_busy_processes_end_with_the_measurement(bench: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    popen = bench.subprocess.Popen
    monkeypatch.setattr(bench, "BUSY", "import time; time.sleep(60)")
    monkeypatch.setattr(bench.subprocess, "Popen", lambda *given: made.append(popen(*given)) or made[-1])
    with bench.busy(2):
        assert [process.poll() for process in made] == [None, None]
    assert len(made) == 2
    assert all(process.poll() is not None for process in made)
