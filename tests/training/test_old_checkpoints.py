from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import Callback

from snnlab.runs.loggers import MetricsCSV
from snnlab.training.checkpoints import CALLBACK_KEYS, upgrade_checkpoint
from snnlab.training.health import DeadLayerWarning, LossRiseWarning
from snnlab.training.progress import Timing
from snnlab.training.snapshots import BestCheckpoint
from snnlab.training.weight_averaging import Averaging, ExponentialAverage

ROOT = Path(__file__).parents[2]

# Keys of our callbacks in checkpoints; they never change, even if the class is renamed.
STATES: dict[type[Callback], str] = {
    Averaging: "average",
    MetricsCSV: "metrics_csv",
    LossRiseWarning: "risen_loss",
    BestCheckpoint: "selection",
    DeadLayerWarning: "silent_layers",
    Timing: "timing",
}


def test_the_keys_of_states_are_fixed() -> None:
    assert {one: one.state_key for one in STATES} == STATES
    assert set(CALLBACK_KEYS.values()) < set(STATES.values())


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


def test_an_average_of_an_old_run_is_converted_to_the_current_format() -> None:
    old = {"network.a.weight": torch.ones(1), "average.a/weight": torch.zeros(1), "average._extra_state": 3}
    checkpoint: dict[str, Any] = {"state_dict": old, "global_step": 7}
    upgrade_checkpoint(checkpoint)
    assert checkpoint["state_dict"] == {"network.a.weight": torch.zeros(1)}
    assert checkpoint["current_model_state"] == {"network.a.weight": torch.ones(1)}
    assert checkpoint["callbacks"]["average"] == {"latest_update_step": 7, "updates": 3}


def test_states_of_old_runs_are_found_by_their_new_keys() -> None:
    checkpoint: dict[str, Any] = {
        "state_dict": {},
        "callbacks": {old: old for old in (*CALLBACK_KEYS, "EarlyStopping{...}")},
    }
    upgrade_checkpoint(checkpoint)
    new = {new: old for old, new in CALLBACK_KEYS.items()}
    assert checkpoint["callbacks"] == new | {"EarlyStopping{...}": "EarlyStopping{...}"}


def as_before(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Return a checkpoint in the old format, with the average in the module's state."""
    old = {key: value for key, value in checkpoint.items() if key not in ("current_model_state", "averaging_state")}
    state = checkpoint["callbacks"]["average"]
    weights = {name: value for name, value in checkpoint["state_dict"].items() if name.startswith("network.")}
    average = {f"average.{name.removeprefix('network.').replace('.', '/')}": value for name, value in weights.items()}
    old["state_dict"] = {**checkpoint["current_model_state"], **average, "average._extra_state": state["updates"]}
    old["callbacks"] = {key: value for key, value in checkpoint["callbacks"].items() if key != "average"}
    return old


def test_a_checkpoint_with_an_average_is_the_same_from_either_form(
    make_module: Any, quiet_trainer: Any, loader: Any, tmp_path: Path
) -> None:
    trainer = quiet_trainer(callbacks=[Averaging(ExponentialAverage(0.5))], max_epochs=2)
    trainer.fit(make_module(), loader, loader)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    checkpoint = torch.load(tmp_path / "a.ckpt", weights_only=True)
    again = as_before(checkpoint)
    upgrade_checkpoint(again)
    assert again["callbacks"]["average"] == checkpoint["callbacks"]["average"]
    assert again["averaging_state"].keys() == checkpoint["averaging_state"].keys()
    for part in ("state_dict", "current_model_state"):
        weights = {name: value for name, value in checkpoint[part].items() if name.startswith("network.")}
        assert weights
        assert all(torch.equal(again[part][name], value) for name, value in weights.items())
