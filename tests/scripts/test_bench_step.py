"""The bench of training steps runs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "bench_step.py"
TINY = ["--steps", "4", "--batch", "2", "--rounds", "1", "--threads", "1"]


def bench(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, SCRIPT, *arguments], capture_output=True, text=True)


def results(folder: Path) -> Any:
    assert {path.name for path in folder.iterdir()} == {"bench_step.json", "bench_step.png"}
    assert (folder / "bench_step.png").read_bytes().startswith(b"\x89PNG")
    return json.loads((folder / "bench_step.json").read_text())


@pytest.mark.slow
def test_a_run_writes_all_times_and_a_figure_and_prints_a_table(tmp_path: Path) -> None:
    methods = ["relu", "snnlab_reference"]
    done = bench(*TINY, "--methods", *methods, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    found = results(tmp_path / "out")
    (case,) = found["cases"]
    assert (case["work"]["steps"], case["work"]["batch"], case["work"]["pool"]) == (4, 2, "avg")
    assert list(case["methods"]) == methods
    for name, method in case["methods"].items():
        assert [len(turn) for turn in method["seconds"]] == [3]
        assert method["median_ms"] == pytest.approx(1e3 * sorted(method["seconds"][0])[1])
        assert method["to_relu"] == pytest.approx(method["median_ms"] / case["methods"]["relu"]["median_ms"])
        assert method["to_fastest_library"] is None
        assert f"| {name} |" in done.stdout
    assert set(case["methods"]["relu"]["tried"]) == {"channels-last", "contiguous"}
    # Compared at a high spike rate, and at the measured one.
    compared = [(line["method"], line["spikes"]) for line in found["equality"]]
    assert compared == [("snnlab_reference", "busy"), ("snnlab_reference", "trained")]
    assert found["versions"]["torch"]
    assert found["machine"]
