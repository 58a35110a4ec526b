"""The loop of a search with trainings that take no time."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from snnlab.errors import ConfigError
from snnlab.experiments import search_runner
from snnlab.experiments.executor import Executor
from snnlab.experiments.search_plan import SearchPlan
from snnlab.experiments.search_runner import SearchRunner
from snnlab.experiments.study import SearchStudy
from snnlab.experiments.sweep_settings import parse_settings
from snnlab.experiments.workers import InProcessWorker, Outcome, RunTask

from ..refusals import assert_raises


class Search:
    """A search whose trials are calls of a function."""

    def __init__(self, folder: Path, **values: Any) -> None:
        space = {"optimizer.lr": {"low": 0.1, "high": 1.0}}
        self.sweep, self.space = parse_settings({"space": space, "sampler": "random", "engine": "here", **values})
        self.folder = folder / "a_sweep"
        self.folder.mkdir()
        self.study = SearchStudy(self.folder, self.sweep, self.space, {"overrides": [], "seed": 0})
        self.status: Any = "completed"
        self.trained: list[RunTask] = []

    def train(self, task: RunTask) -> Outcome:
        self.trained.append(task)
        error = "it diverged" if self.status == "failed" else None
        figures = {"val/loss": 1.0}
        return Outcome(status=self.status, error=error, metrics=figures, fit_s=0, wall_s=0, epochs=1, val_size=9)

    def run(self) -> SearchRunner:
        plan = SearchPlan(self.folder, "a", self.sweep, self.space, [], None, 0, ".")
        found = SearchRunner(plan, self.study, Executor(InProcessWorker, self.train, 1), 0.0)
        found.run()
        return found


@pytest.fixture
def searches(tmp_path: Path) -> Any:
    return partial(Search, tmp_path)


def test_no_trial_begins_after_the_hours_are_over(searches: Any, monkeypatch: pytest.MonkeyPatch):
    search = searches(trials=None, hours=1)
    fake_time = SimpleNamespace(perf_counter=lambda: 1800.0 * len(search.trained))
    monkeypatch.setattr(search_runner, "time", fake_time)
    search.run()
    assert len(search.trained) == 3  # at 0, 30 and 60 minutes
    assert search.study.count().complete == 3


def test_trials_and_hours_together_end_with_what_is_first(searches: Any):
    search = searches(trials=2, hours=10_000)
    search.run()
    assert len(search.trained) == 2


def test_too_many_failed_trials_end_the_search_with_what_the_last_failed_of(searches: Any):
    search = searches(trials=9, failures=2)
    search.status = "failed"
    found = search.run()
    assert search.study.count().failed == 3
    with assert_raises(ConfigError, "sweep", 3, "sweep.failures", 2):
        found.check_failures()
