"""`snnlab train control=NAME`: what docs/statistics.md promises of controls."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from snnlab import load, train
from snnlab.runs.run_folder import Result

from .conftest import FAST, WHOLE, Outcome

Snnlab = Callable[..., Outcome]
# Chance of 10 classes, and four standard deviations of 160 test recordings.
CHANCE, TOLERANCE = 0.1, 0.095


def run(store: str, control: str) -> Result:
    return train(*FAST, store, "logger=none", f"control={control}")


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
    done = snnlab("train", *FAST, digits_store, "logger=none", "control=shuffled_time")
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


@pytest.mark.slow
@pytest.mark.parametrize(("control", "learns"), [("shuffled_labels", False), ("counts_only", True)])
def test_labels_that_are_shuffled_give_chance(workplace: Path, digits_store: str, control: str, learns: bool):
    wide = ("data.num_bins=8", "model.layers.fc1.out_features=256", "trainer.max_epochs=3")
    result = train(*WHOLE, *wide, digits_store, f"control={control}")
    assert (abs(result.metrics["test/accuracy"] - CHANCE) > TOLERANCE) == learns
