"""One training of a search, in this process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from snnlab.experiments.session.trial import train_task
from snnlab.experiments.workers import RunTask
from snnlab.runs.run_folder import is_locked, locked
from snnlab.training.module import SpikingModule

from ...cli.conftest import FAST
from ...refusals import assert_text_has


def task(folder: Path, *overrides: str) -> RunTask:
    given = [*FAST, "logger=none", "plots=null", "test=false", "trainer.enable_progress_bar=false", *overrides]
    return RunTask(str(folder / "run"), given, None, str(folder))


@pytest.mark.long
def test_a_half_written_result_is_archived_and_the_run_resumes(workplace: Path, digits_store: str):
    first = train_task(task(workplace, digits_store))
    assert first["status"] == "completed"
    result = workplace / "run" / "result.json"
    result.write_text(result.read_text()[:40])
    again = train_task(task(workplace, digits_store, "data.num_workers=1"))
    assert (again["status"], again["metrics"]["val/loss"]) == ("completed", first["metrics"]["val/loss"])
    assert "num_workers: 1" in (workplace / "run" / "config.yaml").read_text()
    assert json.loads(result.read_text())["status"] == "completed"
    assert (workplace / "run" / "result_damaged.json").exists()


@pytest.mark.long
def test_a_finished_trial_is_not_trained_again(workplace: Path, digits_store: str):
    first = train_task(task(workplace, digits_store))
    weights = workplace / "run" / "checkpoints" / "last.ckpt"
    before = weights.stat().st_mtime_ns
    again = train_task(task(workplace, digits_store))
    assert again["metrics"] == first["metrics"]
    assert weights.stat().st_mtime_ns == before


def test_a_mistake_is_returned_as_text(workplace: Path, digits_store: str):
    outcome = train_task(task(workplace, digits_store, "neuron.taumem=3"))
    assert outcome["status"] == "failed"
    assert outcome["error"] is not None
    assert_text_has(outcome["error"], "neuron", "'taumem'")


def test_a_diverging_trial_fails_with_a_message(workplace: Path, digits_store: str, monkeypatch: pytest.MonkeyPatch):
    step = SpikingModule.training_step
    monkeypatch.setattr(SpikingModule, "training_step", lambda *given: step(*given) * float("nan"))
    outcome = train_task(task(workplace, digits_store))
    assert outcome["status"] == "failed"
    assert outcome["error"] is not None
    assert_text_has(outcome["error"], "loss", "nan")
    assert not (workplace / "run" / "traceback.txt").exists()


def test_a_bug_fails_the_trial_and_leaves_its_traceback(
    workplace: Path, digits_store: str, monkeypatch: pytest.MonkeyPatch
):
    def broken(*_: Any) -> None:
        raise KeyError("a bug")

    monkeypatch.setattr(SpikingModule, "training_step", broken)
    outcome = train_task(task(workplace, digits_store))
    assert (outcome["status"], outcome["error"]) == ("failed", "KeyError: 'a bug'")
    assert_text_has((workplace / "run" / "traceback.txt").read_text(), "broken")


def test_a_disk_that_cannot_be_written_stops_the_search_and_not_only_the_trial(workplace: Path, digits_store: str):
    (workplace / "run").write_text("a file stands where the folder is to be")
    assert train_task(task(workplace, digits_store))["status"] == "stopped"


def test_a_missing_working_folder_stops_the_search_with_a_message(workplace: Path, digits_store: str):
    one = task(workplace, digits_store)
    outcome = train_task(RunTask(one.folder, one.overrides, None, str(workplace / "gone")))
    assert outcome["status"] == "stopped"
    assert str(outcome["error"]).startswith(f"{workplace / 'gone'}: ")


def test_a_folder_without_a_training_is_not_locked(tmp_path: Path):
    assert not is_locked(tmp_path)
    with locked(tmp_path):
        pass
    assert not is_locked(tmp_path)
