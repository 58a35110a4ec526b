"""The bench of records prints its four measurements."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "bench_records.py"
SMALL = (
    "model=mlp_lif",
    "model.layers.fc1.out_features=8",
    "data=spike_patterns",
    "trainer.max_epochs=1",
    "trainer.accelerator=cpu",
    "logger=none",
    "plots=null",
)


@pytest.mark.slow
def test_it_prints_the_costs_of_checkpoints_resuming_opening_and_determinism(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    spec = importlib.util.spec_from_file_location("bench_records", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    bench = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(bench)
    monkeypatch.setattr(bench, "_ROUNDS", 1)
    bench.main([*SMALL, f"data.store_dir={tmp_path}"])
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"checkpoints: .* \d+ ms of [\d.]+ s, [\d.]+%", lines[-4])
    assert re.fullmatch(r"first step: .* [\d.]+ s, resumed [\d.]+ s", lines[-3])
    assert re.fullmatch(r"opening .*: \d+ ms", lines[-2])
    assert re.fullmatch(r"trainer\.deterministic=true: [\d.]+ s .*, [\d.]+ of [\d.]+", lines[-1])
