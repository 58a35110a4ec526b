"""What a training logs: metrics.csv, all steps as CSV, TensorBoard, and what loggers are told of the run."""

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
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger

from snnlab.files import write_json, write_text
from snnlab.runs.recorded import plain
from snnlab.runs.runs_table import flat
from snnlab.runs.tables import csv_text

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


_NEVER = -1


class Once:
    """Knows at which step each number was logged last."""

    def __init__(self) -> None:
        self._at: dict[str, int | None] = {}

    def new(self, metrics: Mapping[str, float], step: int | None) -> dict[str, float]:
        """Return those that were not logged at this step, and remember them."""
        found = {name: value for name, value in metrics.items() if self._at.get(name, _NEVER) != step}
        self._at.update(dict.fromkeys(found, step))
        return found


COLUMNS = ("step", "name", "value")


class StepsCSV(Logger):
    """Writes `steps.csv` with the columns step, name, value: what TensorBoard shows as curves.

    Args:
        purge_step: Of a run that is resumed, from which step on what it had logged is forgotten; None keeps all.
    """

    def __init__(self, save_dir: str, purge_step: int | None = None) -> None:
        super().__init__()
        self.path = Path(save_dir) / "steps.csv"
        self._purge_step = purge_step
        self._begun, self._once = False, Once()

    @property
    def name(self) -> str:
        """What Lightning calls it."""
        return "steps"

    @property
    def version(self) -> str:
        """A run's folder has one."""
        return ""

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Write nothing: they are in the run's config.yaml."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add a line for each number that is new at this step."""
        if not self._begun:
            self._begin()
        with self.path.open("a", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows(
                ("" if step is None else step, name, float(value))
                for name, value in self._once.new(metrics, step).items()
            )

    def _begin(self) -> None:
        """Write the heading, and what stays of the lines that are there."""
        self._begun = True
        lines: list[str] = []
        if self.path.is_file():
            lines = self.path.read_text(encoding="utf-8").splitlines()[1:]
        kept = [line for line in lines if self._purge_step is None or self._before(line, self._purge_step)]
        write_text(self.path, "\n".join([",".join(COLUMNS), *kept, ""]))

    @staticmethod
    def _before(line: str, step: int) -> bool:
        at, _, rest = line.partition(",")
        return at.isdigit() and int(at) < step and rest.count(",") == 1  # a kill may have cut the last line short


class TensorBoard(TensorBoardLogger):
    """Lightning's logger for TensorBoard, without numbers that come again at a step, as `epoch` does with others."""

    @cached_property
    def _once(self) -> Once:
        return Once()

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Write what is new at this step."""
        super().log_metrics(self._once.new(metrics, step), step)


# Where things lie and what is shown: nothing that a run could be better or worse for.
_LEFT_OUT = ("logger", "plots", "monitors", "output_dir", "checkpoint_every_s", "data.root", "data.store_dir")
_NAMES = "loggers.json"


class LoggedRun(L.Callback):
    """Tells the loggers a run's configuration and, at its end, the figures of the chosen epoch.

    TensorBoard gets both at the end, for its HPARAMS tab. W&B and MLflow get the configuration first; what they call
    the run is kept in its folder, so that a resumed run goes on in theirs.

    Args:
        config: The run's configuration, as recorded.
    """

    def __init__(self, config: Mapping[str, Any], folder: Path) -> None:
        self.settings, self.tags = hyperparameters(config), [str(tag) for tag in config.get("tags") or ()]
        self.folder = folder

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Say the configuration and the tags, and remember the names."""
        if not trainer.is_global_zero:
            return
        known, names = remembered(self.folder), {}
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger | MLFlowLogger):
                names[kind(logger)] = str(logger.version)
        if names:
            write_json(self.folder / _NAMES, {**known, **names})
        for logger in trainer.loggers:
            # MLflow refuses a second value of a setting, and a resumed run may have more epochs.
            told = isinstance(logger, MLFlowLogger) and kind(logger) in known
            if not told and not isinstance(logger, TensorBoardLogger):
                logger.log_hyperparams(self.settings)
            if isinstance(logger, WandbLogger) and self.tags:
                logger.experiment.tags = tuple(dict.fromkeys([*(logger.experiment.tags or ()), *self.tags]))
            if isinstance(logger, MLFlowLogger):
                for tag in self.tags:
                    logger.experiment.set_tag(logger.run_id, tag, "true")

    def conclude(self, trainer: L.Trainer, metrics: Mapping[str, float]) -> None:
        """Say the figures of the chosen epoch: those of its test, and under `val_chosen/` those of its validation.

        In TensorBoard, which sorts by name, they stand behind the curves of the training.
        """
        chosen = {_of_chosen(name): value for name, value in metrics.items() if _is_figure(name)}
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.log_hyperparams({**self.settings, "params": metrics["params"]}, chosen, trainer.global_step)
                logger.experiment.flush()
            else:
                logger.log_metrics({**chosen, "params": metrics["params"]}, trainer.global_step)
        _finish(trainer, 0)

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """End W&B's run too: the next one of this process would go on in it."""
        _finish(trainer, 1)


def hyperparameters(config: Mapping[str, Any]) -> dict[str, bool | int | float | str]:
    """Return a configuration by dotted keys, without what says where things lie; lists and null as text."""
    found = flat(plain(config))
    kept = {
        name: value for name, value in found.items() if not any(f"{name}.".startswith(f"{left}.") for left in _LEFT_OUT)
    }
    return {
        name: value if isinstance(value, bool | int | float | str) else _text(value) for name, value in kept.items()
    }


def remembered(folder: Path) -> dict[str, str]:
    """Return what loggers called the run of a folder, by `kind`; nothing where it has none yet."""
    path = folder / _NAMES
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def kind(logger: Logger | type[Logger]) -> str:
    """Return under which key a logger's name for the run is kept."""
    return (logger if isinstance(logger, type) else type(logger)).__name__


def _finish(trainer: L.Trainer, exit_code: int) -> None:
    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger) and trainer.is_global_zero and logger._experiment is not None:
            logger.experiment.finish(exit_code=exit_code)


def _is_figure(name: str) -> bool:
    """Return whether a metric is one of the answers of the whole network."""
    stage, _, what = name.partition("/")
    return stage in ("val", "test") and "/" not in what and what not in ("recordings", "windows")


def _of_chosen(name: str) -> str:
    """Return how a figure of the chosen epoch is called; `val/...` are those of every epoch."""
    return name.replace("val/", "val_chosen/", 1) if name.startswith("val/") else name


def _text(value: Any) -> str:
    return "null" if value is None else str(value)
