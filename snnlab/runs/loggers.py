"""Loggers of a training: metrics.csv, steps.csv, TensorBoard, and a run's settings and results for all loggers."""

from __future__ import annotations

import csv
import json
from argparse import Namespace
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import lightning as L
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger

from snnlab.compat import batches_that_stepped
from snnlab.files import write_json, write_text
from snnlab.runs.recorded import flat, resolve_references
from snnlab.runs.tables import csv_text
from snnlab.training.module import EpochCallback

_PER_STEP = ("train/loss_step",)


class MetricsCSV(EpochCallback):
    """Writes all metrics of each epoch to `metrics.csv`."""

    state_key = "metrics_csv"  # type: ignore[assignment]

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[dict[str, Any]] = []
        self._validated = False

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Remove the epochs after the checkpoint from which the training is resumed."""
        if trainer.is_global_zero:
            self._write()

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Mark the last validation as old: Lightning keeps its metrics until the next one."""
        self._validated = False

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Record that this epoch has metrics of a validation."""
        self._validated = True

    def on_epoch_logged(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
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


_NEVER = -1


class LoggedMetrics:
    """Filters out metrics that were already logged at a step."""

    def __init__(self) -> None:
        self._at: dict[str, int | None] = {}

    def new(self, metrics: Mapping[str, float], step: int | None) -> dict[str, float]:
        """Return the metrics that were not yet logged at this step, and record them as logged."""
        found = {name: value for name, value in metrics.items() if self._at.get(name, _NEVER) != step}
        self._at.update(dict.fromkeys(found, step))
        return found


COLUMNS = ("step", "name", "value")


class StepsCSV(Logger):
    """Writes `steps.csv` with the columns step, name, value: the curves of TensorBoard.

    Args:
        purge_step: For a resumed run, existing lines from this step on are removed; None keeps all.
    """

    def __init__(self, save_dir: str, purge_step: int | None = None) -> None:
        super().__init__()
        self.path = Path(save_dir) / "steps.csv"
        self._purge_step = purge_step
        self._started, self._logged = False, LoggedMetrics()

    @property
    def name(self) -> str:
        """Name for Lightning."""
        return "steps"

    @property
    def version(self) -> str:
        """Empty: the run folder has the version."""
        return ""

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Write nothing: the hyperparameters are in the run's config.yaml."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add a line for each metric that is new at this step."""
        if not self._started:
            self._start()
        with self.path.open("a", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows(
                ("" if step is None else step, name, float(value))
                for name, value in self._logged.new(metrics, step).items()
            )

    def _start(self) -> None:
        """Write the header and the existing lines before `purge_step`."""
        self._started = True
        lines: list[str] = []
        if self.path.is_file():
            lines = self.path.read_text(encoding="utf-8").splitlines()[1:]
        kept = [line for line in lines if self._purge_step is None or self._before(line, self._purge_step)]
        write_text(self.path, "\n".join([",".join(COLUMNS), *kept, ""]))

    @staticmethod
    def _before(line: str, step: int) -> bool:
        at, _, rest = line.partition(",")
        return (
            at.isdigit() and int(at) < step and rest.count(",") == 1
        )  # a killed process may have truncated the last line


class TensorBoard(TensorBoardLogger):
    """Lightning's logger for TensorBoard without repeated metrics at a step, such as `epoch`."""

    @cached_property
    def _logged(self) -> LoggedMetrics:
        return LoggedMetrics()

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Write the metrics that are new at this step."""
        super().log_metrics(self._logged.new(metrics, step), step)


# Paths and displays, which have no effect on the result.
_EXCLUDED = ("logger", "plots", "monitors", "output_dir", "checkpoint_every_s", "data.root", "data.store_dir")
_NAMES_FILE = "loggers.json"


class RunLogging(L.Callback):
    """Logs a run's configuration and, at its end, the metrics of the chosen epoch to all loggers.

    TensorBoard gets both at the end, for its HPARAMS tab. W&B and MLflow get the configuration first; their run IDs are
    saved in the run folder, so that a resumed run continues in the same run of theirs.

    Args:
        config: The run's configuration, as recorded.
    """

    def __init__(self, config: Mapping[str, Any], folder: Path) -> None:
        self.settings, self.tags = hyperparameters(config), [str(tag) for tag in config.get("tags") or ()]
        self.folder = folder

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log the configuration and the tags, and save the loggers' run IDs."""
        if not trainer.is_global_zero:
            return
        known, names = read_logger_run_ids(self.folder), {}
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger | MLFlowLogger):
                names[kind(logger)] = str(logger.version)
        if names:
            write_json(self.folder / _NAMES_FILE, {**known, **names})
        for logger in trainer.loggers:
            # MLflow rejects a second value of a setting, and a resumed run may have more epochs.
            logged_before = isinstance(logger, MLFlowLogger) and kind(logger) in known
            if not logged_before and not isinstance(logger, TensorBoardLogger):
                logger.log_hyperparams(self.settings)
            if isinstance(logger, WandbLogger) and self.tags:
                logger.experiment.tags = tuple(dict.fromkeys([*(logger.experiment.tags or ()), *self.tags]))
            if isinstance(logger, MLFlowLogger):
                for tag in self.tags:
                    logger.experiment.set_tag(logger.run_id, tag, "true")

    def log_final_metrics(self, trainer: L.Trainer, metrics: Mapping[str, float]) -> None:
        """Log the metrics of the chosen epoch: `test/...` and, as `val_chosen/...`, those of its validation.

        With that name they come after the training's curves in TensorBoard, which sorts by name.
        """
        chosen = {_chosen_name(name): value for name, value in metrics.items() if _is_network_metric(name)}
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.log_hyperparams({**self.settings, "params": metrics["params"]}, chosen, trainer.global_step)
                logger.experiment.flush()
            else:
                logger.log_metrics({**chosen, "params": metrics["params"]}, trainer.global_step)
        _finish_wandb(trainer, 0)

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """End W&B's run: otherwise the next run of this process would continue in it."""
        _finish_wandb(trainer, 1)


class LoggedTest(L.Callback):
    """Logs the metrics of a test to the loggers of the training before it, at its end.

    Args:
        training: The trainer of the training.
    """

    def __init__(self, training: L.Trainer) -> None:
        self.training = training

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log at the last step of the training; the trainer of the test counts none."""
        values = {name: float(value) for name, value in trainer.callback_metrics.items()}
        for logger in self.training.loggers:
            logger.log_metrics({**values, "epoch": self.training.current_epoch}, batches_that_stepped(self.training))
            logger.save()


def hyperparameters(config: Mapping[str, Any]) -> dict[str, bool | int | float | str]:
    """Return a configuration by dotted keys, without paths and displays; lists and null as text."""
    found = flat(resolve_references(config))
    kept = {
        name: value
        for name, value in found.items()
        if not any(f"{name}.".startswith(f"{excluded}.") for excluded in _EXCLUDED)
    }
    return {
        name: value if isinstance(value, bool | int | float | str) else _metric_text(value)
        for name, value in kept.items()
    }


def read_logger_run_ids(folder: Path) -> dict[str, str]:
    """Return the loggers' run IDs from a run folder, by `kind`; empty if there are none yet."""
    path = folder / _NAMES_FILE
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def kind(logger: Logger | type[Logger]) -> str:
    """Return the key of a logger's run ID."""
    return (logger if isinstance(logger, type) else type(logger)).__name__


def _finish_wandb(trainer: L.Trainer, exit_code: int) -> None:
    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger) and trainer.is_global_zero and logger._experiment is not None:
            logger.experiment.finish(exit_code=exit_code)


def _is_network_metric(name: str) -> bool:
    """Return whether a metric is one of the whole network, on validation or test recordings."""
    stage, _, what = name.partition("/")
    return stage in ("val", "test") and "/" not in what and what not in ("recordings", "windows")


def _chosen_name(name: str) -> str:
    """Return the name of a metric of the chosen epoch; `val/...` are the names of every epoch."""
    return name.replace("val/", "val_chosen/", 1) if name.startswith("val/") else name


def _metric_text(value: Any) -> str:
    return "null" if value is None else str(value)
