"""Counting, sharing and adopting trials, without training."""

from __future__ import annotations

import math
import multiprocessing
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest

from snnlab.errors import ConfigError, RunFolderError
from snnlab.experiments.study import LOCKS, SearchLock, SharedStudy, quiet_optuna, require_optuna
from snnlab.experiments.sweep_settings import parse_settings
from snnlab.experiments.workers import Outcome

from ..refusals import assert_raises, assert_text_has

SPACE = {"a": {"low": 0.0, "high": 1.0}, "b": [1, 2]}


OPEN_LOCKS: list[SearchLock] = []


def lock(folder: Path) -> SearchLock:
    OPEN_LOCKS.append(SearchLock(folder))
    return OPEN_LOCKS[-1]


def study(folder: Path, **values: Any) -> SharedStudy:
    sweep, space = parse_settings({"space": SPACE, "trials": 3, "sampler": "random", **values})
    return SharedStudy(folder, sweep, space, lock(folder), {"overrides": [], "seed": 0})


def outcome(status: Any = "completed", **metrics: float) -> Outcome:
    error = "broken" if status == "failed" else None
    found = {"val/loss": 1.0, **{name.replace("_", "/"): value for name, value in metrics.items()}}
    return Outcome(status=status, error=error, metrics=found, fit_s=1.0, wall_s=2.0, epochs=1, val_size=10)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "a_sweep"
    path.mkdir()
    yield path
    for one in OPEN_LOCKS:
        one.release()
    OPEN_LOCKS.clear()


def test_missing_optuna_is_reported(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with assert_raises(ConfigError, "sweep", "pip install"):
        require_optuna()


@pytest.mark.long
def test_no_more_trials_begin_than_are_to_finish(folder: Path):
    shared = study(folder)
    begun = [shared.next_trial() for _ in range(3)]
    assert [trial.number for trial in begun if trial] == [0, 1, 2]
    assert shared.next_trial() is None
    shared.tell(0, outcome())
    assert shared.next_trial() is None
    assert vars(shared.count()) == {"finished": 1, "complete": 1, "pruned": 0, "running": 2, "failed": 0}


def test_a_failed_trial_is_recorded_with_its_error_and_another_begins(folder: Path):
    shared = study(folder)
    for _ in range(3):
        shared.next_trial()
    shared.tell(1, outcome("failed"))
    shared.tell(2, outcome(val_loss=math.nan))
    assert [trial.number for _ in range(2) if (trial := shared.next_trial())] == [3, 4]
    assert shared.next_trial() is None
    assert_text_has(shared.trials()[1].user_attrs["outcome"]["error"], "broken")
    assert shared.count().failed == 2


def test_no_trial_begins_once_more_have_failed_than_may(folder: Path):
    shared = study(folder, failures=1)
    for number in range(2):
        shared.next_trial()
        shared.tell(number, outcome("failed"))
    assert shared.next_trial() is None


@pytest.mark.parametrize("kind", ["sqlite", "journal"])
def test_trials_of_a_dead_process_are_adopted_and_those_of_a_living_one_are_not(folder: Path, kind: str):
    where = {"storage": f"{kind}:///{folder}/elsewhere"}
    first = study(folder, **where)
    begun = first.next_trial()
    assert begun is not None
    first._set_attribute(0, "driver", "a_dead_one")
    second = study(folder, **where)
    adopted = second.next_trial()
    assert adopted is not None
    assert adopted.adopted
    assert (adopted.number, adopted.values) == (begun.number, begun.values)
    following = second.next_trial()
    assert following is not None
    assert not following.adopted


def test_optunas_heartbeat_is_not_for_those_who_ask_and_tell(folder: Path):
    """The reason why a lock shows the death of a process; if this fails, the heartbeat may replace it."""
    with quiet_optuna():
        storage = optuna.storages.RDBStorage(f"sqlite:///{folder}/other.db", heartbeat_interval=1, grace_period=1)
        own_study = optuna.create_study(storage=storage)
        with pytest.warns(UserWarning, match=r"Study\.optimize"):
            own_study.ask()


@pytest.mark.long
def test_what_was_killed_while_it_was_proposed_is_no_trial(folder: Path):
    shared = study(folder)
    shared.study.ask()
    begun = [shared.next_trial() for _ in range(4)]
    assert [trial.number for trial in begun if trial] == [1, 2, 3]
    assert shared.count().failed == 0


def test_a_grid_has_every_combination_once(folder: Path):
    shared = study(folder, sampler="grid", space={"a": [1, 2, 3], "b": ["x", "y"]}, trials=None)
    drawn = [trial.values for _ in range(8) if (trial := shared.next_trial())]
    assert sorted((v["a"], v["b"]) for v in drawn) == [(a, b) for a in (1, 2, 3) for b in "xy"]


@pytest.mark.long
def test_two_processes_share_a_study_and_propose_different_values(folder: Path):
    study(folder, trials=12)
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_take_all, args=(folder,)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        assert process.exitcode == 0
    trials = study(folder, trials=12).trials()
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 12
    assert len({trial.params["a"] for trial in trials}) == 12


def _take_all(folder: Path) -> None:
    shared = study(folder, trials=12)
    while trial := shared.next_trial():
        shared.tell(trial.number, outcome())


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
    with assert_raises(RunFolderError, "sweep.storage", "study.db"):
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


def test_a_study_of_the_same_storage_without_a_trial_is_not_restarted(folder: Path):
    study(folder, storage=f"sqlite:///{folder}/elsewhere.db").next_trial()
    (folder / "trials" / "000").mkdir(parents=True)
    with assert_raises(RunFolderError, "a_sweep/other.db", "empty"):
        study(folder, storage=f"sqlite:///{folder}/other.db")


def test_a_process_is_alive_as_long_as_it_holds_its_lock(folder: Path):
    me = lock(folder)
    assert me.is_alive(me.name)
    assert not me.is_alive("no_process")
    (folder / LOCKS / "left_behind").touch()
    assert not me.is_alive("left_behind")
