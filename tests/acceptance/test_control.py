"""Trainings under a control: their messages, their records and their results."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from snnlab import load, train
from snnlab.config.compose import compose_experiment
from snnlab.files import write_json
from snnlab.runs.run_folder import Result
from snnlab.session import Session
from snnlab.session.build_store import find_duplicates

from .conftest import FAST, Outcome

Snnlab = Callable[..., Outcome]
QUIET = ("plots=null", "monitors=null", "logger=none")
# Chance of 10 classes, and four standard deviations of 160 test recordings.
CHANCE, TOLERANCE = 0.1, 0.095


def run(store: str, control: str) -> Result:
    return train(*FAST, store, *QUIET, f"control={control}")


def test_permuted_test_labels_change_nothing_before_the_test(workplace: Path, digits_store: str):
    plain, permuted = run(digits_store, "null"), run(digits_store, "permuted_test_labels")
    one, other = ((result.folder / "metrics.csv").read_bytes() for result in (plain, permuted))
    assert one == other
    before, after = plain.metrics, permuted.metrics
    assert {k: v for k, v in before.items() if "test" not in k} == {k: v for k, v in after.items() if "test" not in k}
    assert before["test/loss"] != after["test/loss"]
    one, other = (load(result.folder).predictions for result in (plain, permuted))
    assert all(np.array_equal(one[name], other[name]) == (name != "test_target") for name in one)


def test_a_control_is_recorded_printed_and_evaluated_as_it_was_tested(
    workplace: Path, snnlab: Snnlab, digits_store: str
):
    done = snnlab("train", *FAST, digits_store, *QUIET, "control=shuffled_time")
    assert done.status == 0, done.err
    assert "control" in done.out
    folder = Path(done.out.splitlines()[-1])
    assert "control: shuffled_time" in (folder / "config.yaml").read_text()
    page = json.loads((folder / "result.json").read_text())
    assert page["control"] == "shuffled_time"
    assert "control: shuffled_time:" in done.err
    losses = []
    for more in ((), ("control=null",)):
        done = snnlab("evaluate", str(folder), *more)
        assert done.status == 0, done.err
        assert ("control: shuffled_time:" in done.out) == (not more)
        losses.append(json.loads((Path(done.out.splitlines()[-1]) / "result.json").read_text())["metrics"]["test/loss"])
    assert losses[0] == page["metrics"]["test/loss"]
    assert losses[1] != losses[0]


def test_a_run_from_before_controls_is_none(workplace: Path, snnlab: Snnlab, digits_store: str):
    result = run(digits_store, "null")
    text = (result.folder / "config.yaml").read_text()
    (result.folder / "config.yaml").write_text(text.replace("control: null\n", ""))
    page = json.loads((result.folder / "result.json").read_text())
    del page["control"]
    write_json(result.folder / "result.json", page)
    assert load(result.folder).experiment.control is None
    assert snnlab("report", str(result.folder)).status == 0
    assert snnlab("evaluate", str(result.folder)).status == 0


def test_a_dataset_is_checked_for_duplicates(workplace: Path, digits_store: str):
    experiment, _ = compose_experiment([digits_store], None)
    session = Session(experiment)
    found = find_duplicates(session.settings, session.store, session.dataset)
    assert found.passed
    assert found.compared > 1000


@pytest.mark.slow
@pytest.mark.parametrize(("control", "learns"), [("shuffled_labels", False), ("counts_only", True)])
def test_labels_that_are_shuffled_give_chance(workplace: Path, digits_store: str, control: str, learns: bool):
    result = train(
        "model=mlp_lif", "data.num_bins=8", digits_store, *QUIET, "trainer.max_epochs=3", f"control={control}"
    )
    assert (abs(result.metrics["test/accuracy"] - CHANCE) > TOLERANCE) == learns
