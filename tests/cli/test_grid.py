"""`snnlab train -m`: its table, and its runs several at a time."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from snnlab.experiments import workers
from snnlab.training.module import SpikingModule

from .conftest import FAST, Outcome

Snnlab = Callable[..., Outcome]
GRID = ("-m", *FAST, "neuron.tau_mem=5,10", "logger=none", "plots=null", "threads=1")


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "table.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_launcher_trains_the_same_runs_and_resumes_them(
    workplace: Path, snnlab: Snnlab, digits_store: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(workers, "ProcessWorker", lambda threads: workers.InProcessWorker())
    given = (*GRID, "test=false", digits_store, "launcher=joblib", "workers=2", "hydra.sweep.dir=outputs/mine")
    done = snnlab("train", *given)
    assert done.status == 0, done.err
    assert "2 of 2" in done.err
    folder = workplace / "outputs" / "mine"
    assert Path(done.out.splitlines()[-1]) == folder
    assert sorted(path.parent.name for path in folder.glob("*/result.json")) == ["0_0", "1_0"]
    assert [(row["neuron.tau_mem"], row["runs"], row["missing"]) for row in rows(folder)] == [
        ("5", "1", "0"),
        ("10", "1", "0"),
    ]
    before = (folder / "1_0" / "result.json").stat().st_mtime_ns
    again = snnlab("train", *given)
    assert again.status == 0
    assert (folder / "1_0" / "result.json").stat().st_mtime_ns == before


def test_a_stopped_grid_continues(workplace: Path, snnlab: Snnlab, digits_store: str, monkeypatch: pytest.MonkeyPatch):
    given = ("-m", *FAST, "seed=0,1", "logger=none", "plots=null", "test=false", digits_store)
    where = "hydra.sweep.dir=outputs/mine"
    genuine, stops = SpikingModule.training_step, iter([False] * 3 + [True])

    def stopped(*arguments: Any) -> Any:
        if next(stops, False):
            raise KeyboardInterrupt
        return genuine(*arguments)

    monkeypatch.setattr(SpikingModule, "training_step", stopped)
    assert snnlab("train", *given, where).status == 130
    states = [json.loads(path.read_text())["status"] for path in sorted(workplace.glob("outputs/mine/*/result.json"))]
    assert states == ["completed", "interrupted"]
    first = workplace / "outputs" / "mine" / "0_0" / "result.json"
    before = first.read_bytes()
    done = snnlab("train", *given, where)
    assert done.status == 0, done.err
    assert first.read_bytes() == before
    assert [row["runs"] for row in rows(workplace / "outputs" / "mine")] == ["2"]


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["joblib", "submitit", "ray"])
def test_every_launcher_trains_all(workplace: Path, snnlab: Snnlab, digits_store: str, launcher: str):
    pytest.importorskip(launcher)
    where = ["submitit.cluster=local"] if launcher == "submitit" else []
    done = snnlab("train", *GRID, digits_store, f"launcher={launcher}", *where)
    assert done.status == 0, done.err
    folder = Path(done.out.splitlines()[-1])
    states = [json.loads(path.read_text())["status"] for path in folder.glob("*/result.json")]
    assert states == ["completed"] * 2
    assert [row["runs"] for row in rows(folder)] == ["1", "1"]
