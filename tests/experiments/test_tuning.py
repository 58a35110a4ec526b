"""Methods are tuned on validation, each with the same budget, and trained with the tuned settings."""

from __future__ import annotations

import json
from typing import Any

import pytest

from snnlab.experiments.suite_settings import TUNE_SEED
from snnlab.experiments.workers import Outcome, RunTask

from ..refusals import assert_text_has
from .conftest import Stub, settings_of

TUNE: dict[str, Any] = {"trials": 2, "sampler": "grid", "space": {"optimizer.lr": [0.1, 0.2]}}
SMALL: dict[str, Any] = {
    "methods": {"a": ["neuron=lif"], "b": {"overrides": ["neuron=iaf"], "tune": False}},
    "datasets": {"digits": ["data=saccade_digits"]},
    "seeds": [0],
    "tune": TUNE,
}


@pytest.fixture
def tuned(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> Stub:
    """Return a stub whose trials improve with a smaller learning rate."""
    plain = Stub.train

    def train(self: Stub, task: RunTask) -> Outcome:
        outcome = plain(self, task)
        if outcome["status"] == "completed":
            outcome["metrics"]["val/loss"] = float(settings_of(task).get("optimizer.lr", 1.0))
        return outcome

    monkeypatch.setattr(Stub, "train", train)
    return stub


def test_a_method_is_trained_with_its_tuned_settings(tuned: Stub):
    suite_state = tuned.run(**SMALL)
    trials = [settings_of(task) for task in tuned.trained if "/tune/" in task.folder]
    assert [(one["optimizer.lr"], one["test"], one["seed"]) for one in trials] == [
        ("0.1", "false", str(TUNE_SEED)),
        ("0.2", "false", str(TUNE_SEED)),
    ]
    last = {task.folder.split("/")[-2]: settings_of(task) for task in tuned.trained if "/runs/" in task.folder}
    assert last["a"]["optimizer.lr"] == "0.1"
    assert "optimizer.lr" not in last["b"]
    said = {cell.method: state.tuned for cell, state in suite_state.states.items()}
    assert said == {"a": {"trials": 2, "val_size": 9, "values": {"optimizer.lr": 0.1}}, "b": None}
    page = json.loads((tuned.folder / "tune/digits/a/search.json").read_text())
    assert page["winner"]["overrides"][-1] == "optimizer.lr=0.1"


def test_what_is_tuned_is_not_tuned_again(tuned: Stub):
    tuned.run(**SMALL, common=["data.root=here"])
    tuned.trained.clear()
    tuned.run(**{**SMALL, "seeds": [0, 1], "common": ["data.root=elsewhere"]})
    assert len(tuned.trained) == 2
    assert settings_of(tuned.trained[0])["optimizer.lr"] == "0.1"


def test_a_method_that_cannot_be_tuned_has_failed_and_the_others_continue(tuned: Stub):
    tuned.broken = lambda task: "it broke" if "/tune/" in task.folder else None
    suite_state = tuned.run(**{**SMALL, "tune": {**TUNE, "failures": 1}})
    assert {cell.method: state.status for cell, state in suite_state.states.items()} == {
        "a": "failed",
        "b": "completed",
    }
    assert_text_has(
        next(state.error or "" for cell, state in suite_state.states.items() if cell.method == "a"), "2 trials"
    )
