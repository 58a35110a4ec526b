"""The bench of binning recordings into frames: its output, its errors, and that wrong frames are not timed."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

from ..refusals import assert_text_has

SCRIPT = Path(__file__).parents[2] / "scripts" / "bench_data.py"
TINY = ["--recordings", "4", "--batch", "2", "--rounds", "2"]


def bench(*arguments: str | Path, data: Path) -> subprocess.CompletedProcess[str]:
    """Run the script with SNNLAB_DATA set to a folder."""
    environment = os.environ | {"SNNLAB_DATA": str(data)}
    return subprocess.run([sys.executable, SCRIPT, *arguments], capture_output=True, text=True, env=environment)


@pytest.fixture
def of_bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """Return the bench's module, imported by its name relative to the script."""
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    yield importlib.import_module("databench.bench")
    parts = ("bench_data", "bench_step", "databench", "stepbench", "surroundings")
    for name in [name for name in sys.modules if name.partition(".")[0] in parts]:
        del sys.modules[name]


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


def test_missing_recordings_are_named_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], of_bench: ModuleType
) -> None:
    script = importlib.import_module("bench_data")
    monkeypatch.setattr(os, "environ", os.environ | {"SNNLAB_DATA": str(tmp_path)})
    monkeypatch.setattr(sys, "argv", ["bench_data.py", *TINY, "--data", "nmnist", "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as ended:
        script.main()
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert_text_has(line, "bench_data: --data nmnist", "NMNIST")
    assert not (tmp_path / "out").exists()


def test_nothing_is_timed_if_one_value_differs(of_bench: ModuleType) -> None:
    frames = torch.arange(8.0).view(2, 4)
    wrong = frames.clone()
    wrong[1, 3] += 1
    turns = {"snnlab": lambda: iter([frames, frames]), "equal": lambda: iter([frames, frames])}
    of_bench.check(turns)
    with pytest.raises(of_bench.BenchError, match=r"^wrong:.*snnlab"):
        of_bench.check(turns | {"wrong": lambda: iter([frames, wrong])})
