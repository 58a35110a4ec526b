from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from lightning.pytorch.loggers import MLFlowLogger, WandbLogger

from snnlab.runs.loggers import RunLogging


class Wandb(WandbLogger):
    """W&B's logger without W&B."""

    def __init__(self) -> None:
        self._experiment: Any = SimpleNamespace(tags=("theirs",))
        self.logged: list[Any] = []

    @property
    def experiment(self) -> Any:
        return self._experiment

    @property
    def version(self) -> str:
        return "1"

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        self.logged.append(params)


class MLflow(MLFlowLogger):
    """MLflow's logger without MLflow."""

    def __init__(self) -> None:
        self.tags: dict[str, str] = {}

    @property
    def experiment(self) -> Any:
        return SimpleNamespace(set_tag=lambda run, key, value: self.tags.update({f"{run}/{key}": value}))

    @property
    def run_id(self) -> str:
        return "7"

    def log_hyperparams(self, params: Any) -> None: ...


def test_tags_are_logged_to_loggers_that_support_them(tmp_path: Path) -> None:
    wandb, mlflow = Wandb(), MLflow()
    callback = RunLogging({"tags": ["paper", "theirs"], "seed": 3}, tmp_path)
    callback.on_fit_start(SimpleNamespace(is_global_zero=True, loggers=[wandb, mlflow]), None)  # type: ignore[arg-type]
    assert wandb.experiment.tags == ("theirs", "paper")
    assert mlflow.tags == {"7/paper": "true", "7/theirs": "true"}
    assert wandb.logged == [{"tags": "['paper', 'theirs']", "seed": 3}]
