from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from snnlab.training.callbacks.selection import Rule, Selection

STEPS = 3  # of an epoch
Fit = Callable[..., Any]
NAN, INF = math.nan, math.inf


def _steps(path: Path) -> float:
    """Return how many steps the saved weights were trained for."""
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
    tmp_path: Path, fit_scripted: Fit, rule: Rule, losses: list[float], accuracies: list[float], chosen: int
) -> None:
    selection = Selection(tmp_path, rule)
    fit_scripted([selection], losses, accuracies)
    assert selection.epoch == chosen
    assert selection.values == pytest.approx(
        {"val/loss": losses[chosen], "val/accuracy": accuracies[chosen]}, nan_ok=True
    )
    assert _steps(selection.best_path) == STEPS * (chosen + 1)
    assert _steps(selection.last_path) == STEPS * len(losses)


def test_the_two_checkpoints_are_all_there_is(tmp_path: Path, fit_scripted: Fit) -> None:
    fit_scripted([Selection(tmp_path / "checkpoints", "lowest_val_loss")], [2.0, 1.0])
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["best.ckpt", "last.ckpt"]


def test_without_validation_only_last_is_possible(tmp_path: Path, fit_scripted: Fit) -> None:
    selection = Selection(tmp_path, "last")
    fit_scripted([selection], [1.0, 2.0], limit_val_batches=0)
    assert (selection.epoch, selection.values) == (1, {})


@pytest.mark.parametrize("rule", ["lowest_val_loss", "best_val_accuracy"])
def test_an_epoch_that_was_not_validated_is_not_chosen(tmp_path: Path, fit_scripted: Fit, rule: Rule) -> None:
    selection = Selection(tmp_path, rule)
    # Validated after the second and the fourth epoch.
    fit_scripted([selection], [0.0, 3.0, 0.0, 2.0, 0.0], [1.0, 0.5, 1.0, 0.6, 1.0], check_val_every_n_epoch=2)
    assert selection.epoch == 3
    assert _steps(selection.best_path) == 4 * STEPS
    assert _steps(selection.last_path) == 5 * STEPS


@pytest.mark.parametrize("rule", ["lowest_val_loss", "best_val_accuracy", "last"])
def test_a_resumed_selection_goes_on_where_it_was(tmp_path: Path, fit_scripted: Fit, rule: Rule) -> None:
    first = Selection(tmp_path, rule)
    fit_scripted([first], [2.0, 1.0, 3.0])
    saved = torch.load(first.last_path, weights_only=True)["callbacks"][first.state_key]
    second = Selection(tmp_path, rule)
    second.load_state_dict(saved)
    assert (second.epoch, second.values) == (first.epoch, first.values)
    # Epochs worse than what was chosen before do not replace it, except under `last`.
    fit_scripted([second], [4.0, 2.5])
    assert second.epoch == 1
    assert _steps(second.best_path) == 2 * STEPS


def test_a_selection_that_has_seen_nothing_can_be_saved(tmp_path: Path) -> None:
    selection = Selection(tmp_path, "lowest_val_loss")
    selection.load_state_dict(Selection(tmp_path, "lowest_val_loss").state_dict())
    assert selection.epoch is None


def test_the_best_checkpoint_knows_that_it_is_the_best(tmp_path: Path, fit_scripted: Fit) -> None:
    selection = Selection(tmp_path, "lowest_val_loss")
    fit_scripted([selection], [2.0, 1.0, 3.0])
    saved = torch.load(selection.best_path, weights_only=True)["callbacks"][selection.state_key]
    assert (saved["epoch"], saved["values"]["val/loss"]) == (1, 1.0)
