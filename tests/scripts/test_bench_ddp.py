"""The bench of several processes: its overrides."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return the script's module."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module("bench_ddp")


def test_a_step_has_the_same_recordings_in_both_ways(bench: ModuleType):
    one, many = bench.configurations(4, ["data.batch_size=64", "model=gru"]).values()
    assert {"threads=4", "data.batch_size=64", "model=gru"} <= set(one)
    assert {"trainer=ddp", "trainer.devices=4", "threads=1", "data.batch_size=16", "model=gru"} <= set(many)
