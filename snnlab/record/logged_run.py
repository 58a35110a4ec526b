"""What loggers are told of a run as a whole: its configuration, how it ended, and by which name to find it again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger

from snnlab.files import write_json
from snnlab.record.run_config import plain
from snnlab.record.runs_table import flat

# Where things lie and what is shown: nothing that a run could be better or worse for.
_LEFT_OUT = ("logger", "pictures", "monitors", "output_dir", "checkpoint_every_s", "data.root", "data.store_dir")
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
