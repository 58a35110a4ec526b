from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from snnlab.errors import RunFolderError
from snnlab.training.checkpoints import weights_hash
from snnlab.training.snapshots import BestCheckpoint, SelectionRule

from ..refusals import assert_raises, assert_text_has

STEPS = 3  # of an epoch
Fit = Callable[..., Any]
NAN, INF = math.nan, math.inf


def _steps(path: Path) -> float:
    """Return the number of steps of the saved weights."""
    return float(torch.load(path, weights_only=True)["state_dict"]["weight"])


@pytest.mark.parametrize(
    ("rule", "losses", "accuracies", "chosen"),
    [
        ("lowest_val_loss", [3.0, 1.0, 2.0], [0.1, 0.2, 0.9], 1),
        ("lowest_val_loss", [2.0, 1.0, 1.0], [0.1, 0.2, 0.9], 1),
        ("lowest_val_loss", [NAN, 5.0, NAN], [0.9, 0.1, 0.9], 1),
        ("lowest_val_loss", [5.0, NAN, INF], [0.1, 0.9, 0.9], 0),
        ("lowest_val_loss", [NAN, NAN, INF], [0.1, 0.2, 0.9], 0),
        ("lowest_val_loss", [NAN, -INF, 7.0], [0.5, 0.5, 0.5], 2),
        ("best_val_accuracy", [1.0, 3.0, 2.0], [0.1, 0.9, 0.5], 1),
        ("best_val_accuracy", [1.0, 3.0, 2.0], [0.1, 0.9, 0.9], 2),
        ("best_val_accuracy", [1.0, 2.0, 2.0], [0.1, 0.9, 0.9], 1),
        ("best_val_accuracy", [NAN, 3.0, NAN], [0.9, 0.9, 0.9], 1),
        ("last", [1.0, 2.0, NAN], [0.9, 0.5, 0.1], 2),
    ],
)
def test_the_rule_chooses_the_epoch(
    tmp_path: Path, fit_scripted: Fit, rule: SelectionRule, losses: list[float], accuracies: list[float], chosen: int
) -> None:
    selection = BestCheckpoint(tmp_path, rule)
    fit_scripted([selection], losses, accuracies)
    assert selection.epoch == chosen
    assert selection.values == pytest.approx(
        {"val/loss": losses[chosen], "val/accuracy": accuracies[chosen]}, nan_ok=True
    )
    assert _steps(selection.best_path) == STEPS * (chosen + 1)


def test_the_previous_best_epoch_is_kept_until_the_next_checkpoint(tmp_path: Path, fit_scripted: Fit):
    selection = BestCheckpoint(tmp_path, "lowest_val_loss")
    fit_scripted([selection], [3.0, 2.0, 1.0])
    assert sorted(path.name for path in tmp_path.iterdir()) == [".best_before.ckpt", "best.ckpt"]
    assert _steps(tmp_path / ".best_before.ckpt") == STEPS  # of the first epoch: no checkpoint was written since
    selection.drop_previous()
    assert [path.name for path in tmp_path.iterdir()] == ["best.ckpt"]


def test_a_resumed_training_begins_with_the_epoch_that_its_checkpoint_had_chosen(tmp_path: Path, fit_scripted: Fit):
    fit_scripted([BestCheckpoint(tmp_path, "lowest_val_loss")], [3.0, 2.0])
    state = {"epoch": 0, "values": {}, "key": (3.0,), "weights": weights_hash(tmp_path / ".best_before.ckpt")}
    again = BestCheckpoint(tmp_path, "lowest_val_loss")
    again.load_state_dict(state)
    again.on_fit_start(SimpleNamespace(is_global_zero=True), None)  # type: ignore[arg-type]
    assert _steps(again.best_path) == STEPS
    assert [path.name for path in tmp_path.iterdir()] == ["best.ckpt"]
    again.load_state_dict({**state, "epoch": 7})
    with assert_raises(RunFolderError, "best.ckpt", 8):
        again.on_fit_start(SimpleNamespace(is_global_zero=True), None)  # type: ignore[arg-type]


@pytest.mark.parametrize("rule", ["lowest_val_loss", "best_val_accuracy"])
def test_an_epoch_that_was_not_validated_is_not_chosen(tmp_path: Path, fit_scripted: Fit, rule: SelectionRule) -> None:
    selection = BestCheckpoint(tmp_path, rule)
    # Validated after the second and the fourth epoch.
    fit_scripted([selection], [0.0, 3.0, 0.0, 2.0, 0.0], [1.0, 0.5, 1.0, 0.6, 1.0], check_val_every_n_epoch=2)
    assert selection.epoch == 3
    assert _steps(selection.best_path) == 4 * STEPS


@pytest.mark.parametrize("rule", ["lowest_val_loss", "best_val_accuracy"])
def test_where_no_epoch_was_validated_the_last_is_kept_and_that_is_said(
    tmp_path: Path, fit_scripted: Fit, rule: SelectionRule, caplog: pytest.LogCaptureFixture
) -> None:
    selection = BestCheckpoint(tmp_path, rule)
    fit_scripted([selection], [1.0, 2.0], check_val_every_n_epoch=5)
    assert (selection.epoch, selection.values) == (1, {})
    assert _steps(selection.best_path) == 2 * STEPS
    assert_text_has(caplog.text, "validated")
    again = BestCheckpoint(tmp_path, rule)
    again.load_state_dict(selection.state_dict())
    fit_scripted([again], [9.0], [0.1])
    assert (again.epoch, again.values["val/loss"]) == (0, 9.0)


@pytest.mark.parametrize("rule", ["lowest_val_loss", "best_val_accuracy", "last"])
def test_a_resumed_selection_goes_on_where_it_was(tmp_path: Path, fit_scripted: Fit, rule: SelectionRule) -> None:
    first = BestCheckpoint(tmp_path, rule)
    fit_scripted([first], [2.0, 1.0, 3.0])
    second = BestCheckpoint(tmp_path, rule)
    second.load_state_dict(first.state_dict())
    assert (second.epoch, second.values) == (first.epoch, first.values)
    # Epochs worse than the best one do not replace it, except with `last`.
    fit_scripted([second], [4.0, 2.5])
    assert second.epoch == 1
    assert _steps(second.best_path) == 2 * STEPS


def test_a_selection_without_epochs_can_be_saved(tmp_path: Path) -> None:
    selection = BestCheckpoint(tmp_path, "lowest_val_loss")
    selection.load_state_dict(BestCheckpoint(tmp_path, "lowest_val_loss").state_dict())
    assert selection.epoch is None


def test_the_best_checkpoint_contains_its_epoch(tmp_path: Path, fit_scripted: Fit) -> None:
    selection = BestCheckpoint(tmp_path, "lowest_val_loss")
    fit_scripted([selection], [2.0, 1.0, 3.0])
    saved = torch.load(selection.best_path, weights_only=True)
    assert saved["epoch"] == selection.epoch == 1
    assert "optimizer_states" not in saved  # it contains only weights
