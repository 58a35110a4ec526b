from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import Callback

from snnlab.record.metrics_csv import MetricsCSV
from snnlab.training.callbacks.risen_loss import RisenLoss
from snnlab.training.callbacks.selection import Selection
from snnlab.training.callbacks.silence import SilenceWarning
from snnlab.training.callbacks.timing import Timing
from snnlab.training.old_checkpoints import KEYS, bring_up_to_date
from snnlab.training.optimization.average import Averaging

ROOT = Path(__file__).parents[2]

# What each class of ours that keeps a state is called in checkpoints: for ever, whatever the class is called.
STATES: dict[type[Callback], str] = {
    Averaging: "average",
    MetricsCSV: "metrics_csv",
    RisenLoss: "risen_loss",
    Selection: "selection",
    SilenceWarning: "silent_layers",
    Timing: "timing",
}


def test_the_keys_of_states_are_fixed() -> None:
    assert {one: one.state_key for one in STATES} == STATES
    assert set(KEYS.values()) < set(STATES.values())


def test_every_callback_that_keeps_a_state_has_such_a_key() -> None:
    found = set()
    for path in (ROOT / "snnlab").rglob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and {"L.Callback", "Checkpoint", "WeightAveraging"} & {
                ast.unparse(base) for base in node.bases
            }:
                defined = {part.name for part in node.body if isinstance(part, ast.FunctionDef)}
                found |= {node.name} if "load_state_dict" in defined else set()
    assert found == {one.__name__ for one in STATES}


def test_an_average_of_an_old_run_is_brought_into_todays_form() -> None:
    old = {"network.a.weight": torch.ones(1), "average.a/weight": torch.zeros(1), "average._extra_state": 3}
    checkpoint: dict[str, Any] = {"state_dict": old, "global_step": 7}
    bring_up_to_date(checkpoint)
    assert checkpoint["state_dict"] == {"network.a.weight": torch.zeros(1)}
    assert checkpoint["current_model_state"] == {"network.a.weight": torch.ones(1)}
    assert checkpoint["callbacks"]["average"] == {"latest_update_step": 7, "updates": 3}


def test_states_of_old_runs_are_found_by_their_new_keys() -> None:
    checkpoint: dict[str, Any] = {"state_dict": {}, "callbacks": {old: old for old in (*KEYS, "EarlyStopping{...}")}}
    bring_up_to_date(checkpoint)
    new = {new: old for old, new in KEYS.items()}
    assert checkpoint["callbacks"] == new | {"EarlyStopping{...}": "EarlyStopping{...}"}
