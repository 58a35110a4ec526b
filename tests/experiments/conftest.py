"""A suite whose runs are stubs: they write a run's folder and take no time."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from snnlab.config.merging import merge_overrides
from snnlab.errors import DataError
from snnlab.experiments.executor import Executor
from snnlab.experiments.suite_plan import PreflightResult, SuiteFunctions, SuitePlan
from snnlab.experiments.suite_runner import SuiteRunner
from snnlab.experiments.suite_settings import parse_settings
from snnlab.experiments.suite_state import SuiteState, load_suite_state, make_suite_folder, write_suite_yaml
from snnlab.experiments.workers import InProcessWorker, Outcome, RunTask

N = 200
SUITE: dict[str, Any] = {
    "methods": {"a": ["neuron=lif"], "b": ["neuron=cuba_lif"]},
    "datasets": {"digits": ["data=saccade_digits"], "patterns": ["data=spike_patterns"]},
    "seeds": [0, 1],
    "engine": "here",
}


def settings_of(task: RunTask) -> dict[str, str]:
    """Return what a task's overrides set."""
    return {key: value for key, _, value in (text.partition("=") for text in task.overrides)}


def write_run(folder: Path, accuracy: float = 0.9, classes: int = 4, **metrics: float) -> None:
    """Write the folder of a run that is completed."""
    folder.mkdir(parents=True, exist_ok=True)
    found = {"test/accuracy": accuracy, "val/loss": 0.5, "params": 100.0, **metrics}
    (folder / "config.yaml").write_text("data: {num_bins: 8, duration_ms: 80.0}\nmodel: {layers: {}}\n")
    page = {"status": "completed", "seed": 0, "metrics": found, "selection": {"epoch": 2, "epochs": 3}}
    page["provenance"] = {}
    (folder / "result.json").write_text(json.dumps({"schema_version": 1, **page, "timing": {"fit_s": 2.0}}))
    target, right = np.arange(N) % classes, np.arange(N) < accuracy * N
    readout = np.eye(classes)[np.where(right, target, (target + 1) % classes)]
    arrays = {"recording": np.arange(N), "target": target, "readout": readout, "answers": readout.argmax(1)[:, None]}
    np.savez(folder / "predictions.npz", **{f"test_{name}": values for name, values in arrays.items()})


@dataclass
class Stub:
    """Workers that train nothing.

    Attributes:
        folder: The suite's.
        broken: Why the training of a task fails, or None.
        gaps: Datasets without recordings, with the reason.
        trained: The tasks, in order.
    """

    folder: Path
    broken: Callable[[RunTask], str | None] = lambda task: None
    gaps: dict[str, str] = field(default_factory=dict)
    accuracy: Callable[[RunTask], float] = lambda task: 0.9
    trained: list[RunTask] = field(default_factory=list)
    surveyed: int = 0
    classes: int = 4
    tables: Callable[[], Any] = lambda: None

    def train(self, task: RunTask) -> Outcome:
        self.trained.append(task)
        error, begun = self.broken(task), time.perf_counter()
        if error is None:
            write_run(Path(task.folder), self.accuracy(task), self.classes)
        status = "interrupted" if error == "ctrl-c" else "failed" if error else "completed"
        metrics = {} if error else {"test/accuracy": self.accuracy(task)}
        wall_s = time.perf_counter() - begun
        return Outcome(status=status, error=error, metrics=metrics, fit_s=0.0, wall_s=wall_s, epochs=1, val_size=9)

    def preflight(self, probes: Any, config_dir: str | None, place: str) -> PreflightResult:
        self.surveyed += 1
        data = next(text for text in probes[0] if text.startswith("data=")).partition("=")[2]
        gap = DataError("", self.gaps[data]) if data in self.gaps else None
        return PreflightResult(gap=gap, duplicates=None if gap else "none")

    def run(self, **values: Any) -> SuiteState:
        """Run what is missing of the suite, with other settings."""
        plan = SuitePlan(
            self.folder, "s", parse_settings({**SUITE, **values}), [], None, str(self.folder), "snnlab bench suite=s"
        )
        make_suite_folder(self.folder)
        write_suite_yaml(plan)
        suite_state = load_suite_state(self.folder, plan.run_specs())
        executor = Executor(InProcessWorker, self.train, 1)
        work = SuiteFunctions(self.preflight, merge_overrides)
        SuiteRunner(plan, plan.run_specs(), suite_state, work, executor, time.perf_counter(), self.tables).run()
        return suite_state


@pytest.fixture
def stub(tmp_path: Path) -> Stub:
    return Stub(tmp_path / "suite_s")
