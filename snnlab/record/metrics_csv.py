"""metrics.csv: a row an epoch, and nothing in it that depends on the clock or the machine."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Checkpoint

from snnlab.record.files import write_text

_PER_STEP = ("train/loss_step",)


class MetricsCSV(Checkpoint):
    """Writes all metrics of each epoch.

    A Checkpoint only because Lightning calls those last, when the module has logged its epoch.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[dict[str, Any]] = []

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Add the epoch's row."""
        values = {k: float(v) for k, v in sorted(trainer.callback_metrics.items()) if k not in _PER_STEP}
        self.rows.append({"epoch": trainer.current_epoch, "step": trainer.global_step, **values})
        columns = list(dict.fromkeys(key for row in self.rows for key in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        if trainer.is_global_zero:
            write_text(self.path, text.getvalue())

    def state_dict(self) -> dict[str, Any]:
        """Return the rows, so that a resumed run continues them."""
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a checkpoint's rows."""
        self.rows = list(state_dict["rows"])
