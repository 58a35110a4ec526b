"""metrics.csv: a row an epoch, and nothing in it that depends on the clock or the machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Checkpoint

from snnlab.files import write_text
from snnlab.record.tables import csv_text

_PER_STEP = ("train/loss_step",)


class MetricsCSV(Checkpoint):
    """Writes all metrics of each epoch.

    A Checkpoint only because Lightning calls those last, when the module has logged its epoch.
    """

    state_key = "metrics_csv"  # type: ignore[assignment]

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[dict[str, Any]] = []
        self._validated = False

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Cut off the epochs after the checkpoint that the training is resumed from."""
        if trainer.is_global_zero:
            self._write()

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Forget the last validation: Lightning shows its figures until the next one."""
        self._validated = False

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Remember that this epoch has figures of its own."""
        self._validated = True

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Add the epoch's row."""
        metrics = trainer.callback_metrics
        names = (k for k in sorted(metrics) if k not in _PER_STEP and (self._validated or not k.startswith("val/")))
        values = {name: float(metrics[name]) for name in names}
        self.rows.append({"epoch": trainer.current_epoch, "step": trainer.global_step, **values})
        if trainer.is_global_zero:
            self._write()

    def state_dict(self) -> dict[str, Any]:
        """Return the rows, so that a resumed run continues them."""
        return {"rows": self.rows, "validated": self._validated}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a checkpoint's rows."""
        self.rows, self._validated = list(state_dict["rows"]), state_dict["validated"]

    def _write(self) -> None:
        if not self.rows:
            self.path.unlink(missing_ok=True)
            return
        write_text(self.path, csv_text(list(dict.fromkeys(key for row in self.rows for key in row)), self.rows))
