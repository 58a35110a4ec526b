"""The bench of binning recordings into frames runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "bench_data.py"
TINY = ["--recordings", "4", "--batch", "2", "--rounds", "2"]


def bench(*arguments: str | Path, data: Path) -> subprocess.CompletedProcess[str]:
    """Run the script with SNNLAB_DATA set to a folder."""
    environment = os.environ | {"SNNLAB_DATA": str(data)}
    return subprocess.run([sys.executable, SCRIPT, *arguments], capture_output=True, text=True, env=environment)


@pytest.mark.slow
def test_a_run_writes_all_times_and_a_figure_and_prints_a_table(tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = bench(*TINY, "--out", out, data=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "nmnist" in done.stderr
    assert {path.name for path in out.iterdir()} == {"bench_data.json", "bench_data.png"}
    assert (out / "bench_data.png").read_bytes().startswith(b"\x89PNG")
    found = json.loads((out / "bench_data.json").read_text())
    assert found["threads"] == 1
    assert found["versions"]["tonic"]
    assert list(found["data"]) == ["saccade_digits"]
    of_data = found["data"]["saccade_digits"]
    assert of_data["recordings"] == 4
    assert "snnlab" in of_data["methods"]
    for name, method in of_data["methods"].items():
        assert len(method["seconds"]) == 2
        assert method["per_s"] == pytest.approx(2 * 4 / sum(method["seconds"]))  # of two, the median is the mean
        assert method["to_tonic"] == pytest.approx(method["per_s"] / of_data["methods"]["tonic"]["per_s"])
        assert f"| {name} |" in done.stdout
