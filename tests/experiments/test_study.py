"""Counting, proposing and resuming trials, without training."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import pytest

from snnlab.errors import ConfigError, RunFolderError
from snnlab.experiments.study import SearchStudy, require_optuna
from snnlab.experiments.sweep_settings import parse_settings
from snnlab.experiments.workers import Outcome

from ..refusals import assert_raises, assert_text_has

SPACE = {"a": {"low": 0.0, "high": 1.0}, "b": [1, 2]}


def study(folder: Path, **values: Any) -> SearchStudy:
    sweep, space = parse_settings({"space": SPACE, "trials": 3, "sampler": "random", **values})
    return SearchStudy(folder, sweep, space, {"overrides": [], "seed": 0})


def outcome(status: Any = "completed", **metrics: float) -> Outcome:
    error = "broken" if status == "failed" else None
    found = {"val/loss": 1.0, **{name.replace("_", "/"): value for name, value in metrics.items()}}
    return Outcome(status=status, error=error, metrics=found, fit_s=1.0, wall_s=2.0, epochs=1, val_size=10)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "a_sweep"
    path.mkdir()
    return path


def test_missing_optuna_is_reported(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with assert_raises(ConfigError, "sweep", "pip install"):
        require_optuna()


@pytest.mark.long
def test_no_more_trials_begin_than_are_to_finish(folder: Path):
    searched = study(folder)
    begun = [searched.next_trial() for _ in range(3)]
    assert [trial.number for trial in begun if trial] == [0, 1, 2]
    assert searched.next_trial() is None
    searched.tell(0, outcome())
    assert searched.next_trial() is None
    assert vars(searched.count()) == {"finished": 1, "complete": 1, "pruned": 0, "running": 2, "failed": 0}


def test_a_failed_trial_is_recorded_with_its_error_and_another_begins(folder: Path):
    searched = study(folder)
    for _ in range(3):
        searched.next_trial()
    searched.tell(1, outcome("failed"))
    searched.tell(2, outcome(val_loss=math.nan))
    assert [trial.number for _ in range(2) if (trial := searched.next_trial())] == [3, 4]
    assert searched.next_trial() is None
    assert_text_has(searched.trials()[1].user_attrs["outcome"]["error"], "broken")
    assert searched.count().failed == 2


def test_no_trial_begins_once_more_have_failed_than_may(folder: Path):
    searched = study(folder, failures=1)
    for number in range(2):
        searched.next_trial()
        searched.tell(number, outcome("failed"))
    assert searched.next_trial() is None


def test_trials_that_a_killed_search_had_begun_are_resumed_first(folder: Path):
    first = study(folder)
    begun = [first.next_trial() for _ in range(2)]
    first.tell(0, outcome())
    again = study(folder)
    resumed, new = again.next_trial(), again.next_trial()
    assert begun[1] is not None
    assert resumed is not None
    assert new is not None
    assert (resumed.number, resumed.values, resumed.resumed) == (1, begun[1].values, True)
    assert (new.number, new.resumed) == (2, False)
    assert again.next_trial() is None
    assert len({trial.params["a"] for trial in again.trials()}) == 3


@pytest.mark.long
def test_what_was_killed_while_it_was_proposed_is_no_trial(folder: Path):
    study(folder).study.ask()
    again = study(folder)
    begun = [again.next_trial() for _ in range(4)]
    assert [trial.number for trial in begun if trial] == [1, 2, 3]
    assert again.count().failed == 0


def test_a_grid_has_every_combination_once(folder: Path):
    searched = study(folder, sampler="grid", space={"a": [1, 2, 3], "b": ["x", "y"]}, trials=None)
    drawn = [trial.values for _ in range(8) if (trial := searched.next_trial())]
    assert sorted((v["a"], v["b"]) for v in drawn) == [(a, b) for a in (1, 2, 3) for b in "xy"]


@pytest.mark.parametrize(
    ("values", "what"),
    [({"space": {"a": [1]}}, "space"), ({"objectives": {"val/accuracy": "maximize"}}, "objectives")],
)
def test_the_study_of_another_search_is_refused(folder: Path, values: dict[str, Any], what: str):
    study(folder)
    with assert_raises(RunFolderError, "a_sweep/study.db", "a_sweep", what):
        study(folder, **values)


def test_a_file_that_is_no_study_is_refused_in_one_line(folder: Path):
    (folder / "study.db").write_text("nothing of the kind " * 50)
    with assert_raises(RunFolderError, "a_sweep/study.db"):
        study(folder)


@pytest.mark.parametrize("empty", [False, True])
def test_a_search_whose_study_is_missing_or_empty_is_not_restarted(folder: Path, empty: bool):
    study(folder).next_trial()
    (folder / "trials" / "000").mkdir(parents=True)
    assert study(folder).count().running == 1
    (folder / "study.db").unlink()
    if empty:
        (folder / "study.db").touch()
    with assert_raises(RunFolderError, "a_sweep/study.db", "snnlab"):
        study(folder)
    assert (folder / "study.db").exists() == empty
    assert not empty or (folder / "study.db").stat().st_size == 0
