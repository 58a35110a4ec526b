"""The loggers of an experiment, each told which run it logs."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snnlab.config.schema import Experiment
from snnlab.config.targets import find_target, partial_target
from snnlab.errors import ConfigError, MissingPackageError
from snnlab.settings import takes

if TYPE_CHECKING:
    from lightning.pytorch.loggers import Logger

MODULES = ("lightning.pytorch", "snnlab.record.steps_csv", "snnlab.record.tensorboard")
# Of loggers that are packages of their own: the extra of snnlab-train that brings them.
_EXTRAS = {"WandbLogger": "wandb", "MLFlowLogger": "mlflow"}


def build_loggers(experiment: Experiment, folder: Path, logged_steps: int | None) -> list[Logger]:
    """Return the experiment's loggers.

    Args:
        logged_steps: Of a run that is resumed, from which step on the loggers forget what they were told.

    Raises:
        ConfigError: for a mistake in their settings, or a package that is missing.
    """
    from lightning.pytorch.loggers import Logger

    built = []
    for place, node, target in _named(experiment):
        _require_package(target, place)
        extra = {k: v for k, v in _of_run(target, experiment, folder, logged_steps).items() if takes(target, k)}
        try:
            built.append(partial_target(node, [Logger], _modules(experiment), place, extra=extra)())
        except ModuleNotFoundError as error:
            raise MissingPackageError(f"{place}: {error}") from error
    return built


def check_loggers(experiment: Experiment) -> None:
    """Check the settings of an experiment's loggers without building any.

    Raises:
        ConfigError: for a mistake in them, or a package that is missing.
    """
    from lightning.pytorch.loggers import Logger

    for place, node, target in _named(experiment):
        _require_package(target, place)
        needed = {name: "" for name in ("save_dir",) if takes(target, name) and name not in node}
        partial_target(node, [Logger], _modules(experiment), place, extra=needed)


def _modules(experiment: Experiment) -> tuple[str, ...]:
    return (*MODULES, *experiment.plugins)


def _named(experiment: Experiment) -> Iterator[tuple[str, Mapping[str, Any], type[Logger]]]:
    from lightning.pytorch.loggers import Logger

    for key, node in (experiment.logger or {}).items():
        if node is None:
            continue
        place = f"logger.{key}"
        if not isinstance(node, Mapping):
            raise ConfigError(f"{place}: expected a mapping with _target_, got {node!r}")
        yield place, node, find_target(node, [Logger], _modules(experiment), place)


def _of_run(target: type[Logger], experiment: Experiment, folder: Path, logged_steps: int | None) -> dict[str, Any]:
    """Return what a logger is told of the run, as far as it takes it and the YAML does not set it."""
    from lightning.pytorch.loggers import MLFlowLogger, WandbLogger

    from snnlab.record.logged_run import kind, remembered

    name = remembered(folder).get(kind(target))
    if issubclass(target, WandbLogger):
        # A name that is the run's own already, so that one killed before it could remember goes on in the same run.
        own = re.sub(r"[^\w-]", "-", f"{folder.parent.name}-{folder.name}")
        return {"save_dir": str(folder), "name": f"{folder.parent.name}/{folder.name}", "id": name or own}
    if issubclass(target, MLFlowLogger):
        run = {"experiment_name": experiment.name, "run_name": folder.name, "run_id": name}
        return run | {"tracking_uri": os.environ.get("MLFLOW_TRACKING_URI") or _database(experiment.output_dir)}
    in_folder = {"save_dir": str(folder), "name": "", "version": "tensorboard"}
    return in_folder if logged_steps is None else {**in_folder, "purge_step": logged_steps}


def _database(output_dir: str) -> str:
    """Return MLflow's name of a file for all runs: it does not write to folders any more."""
    folder = Path(output_dir).expanduser().absolute()
    folder.mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{folder / 'mlflow.db'}"


def _require_package(target: type[Logger], place: str) -> None:
    extra = _EXTRAS.get(target.__name__)
    if extra is not None and find_spec(extra) is None:
        raise MissingPackageError(f"{place}: the package {extra} is missing; pip install 'snnlab-train[{extra}]'")
