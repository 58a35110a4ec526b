from __future__ import annotations

import ast
from pathlib import Path

from lightning.pytorch.callbacks import Callback

from snnlab.runs.loggers import MetricsCSV
from snnlab.training.health import DeadLayerWarning, LossRiseWarning
from snnlab.training.progress import Timing
from snnlab.training.snapshots import BestCheckpoint
from snnlab.training.weight_averaging import Averaging

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


def test_every_callback_that_keeps_a_state_has_such_a_key() -> None:
    found = set()
    for path in (ROOT / "snnlab").rglob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and {"L.Callback", "EpochCallback", "WeightAveraging"} & {
                ast.unparse(base) for base in node.bases
            }:
                defined = {part.name for part in node.body if isinstance(part, ast.FunctionDef)}
                found |= {node.name} if "load_state_dict" in defined else set()
    assert found == {one.__name__ for one in STATES}
