"""Builds the loggers of an experiment."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger, MLFlowLogger, WandbLogger

from snnlab.config.catalogue import TARGETS
from snnlab.config.schema import Experiment
from snnlab.errors import ConfigError, MissingPackageError
from snnlab.runs.loggers import kind, read_logger_run_ids
from snnlab.session.targets import find_target, partial_target, plugin_classes
from snnlab.spec.signatures import has_parameter

# The extras of snnlab-train that install the packages of loggers.
_EXTRAS = {"WandbLogger": "wandb", "MLFlowLogger": "mlflow"}


def build_loggers(experiment: Experiment, folder: Path, logged_steps: int | None) -> list[Logger]:
    """Return the experiment's loggers.

    Args:
        logged_steps: For a resumed run, the step from which loggers discard what they logged.
    """
    built = []
    for place, node, target in _logger_nodes(experiment):
        _require_package(target, place)
        extra = {
            k: v
            for k, v in _run_arguments(target, experiment, folder, logged_steps).items()
            if has_parameter(target, k)
        }
        try:
            inner = plugin_classes(experiment)
            built.append(
                partial_target(node, [Logger], _allowed_modules(experiment), place, extra=extra, inner=inner)()
            )
        except ModuleNotFoundError as error:
            raise MissingPackageError(place, error) from error
    return built


def check_loggers(experiment: Experiment) -> None:
    """Check the settings of the loggers without building them."""
    for place, node, target in _logger_nodes(experiment):
        _require_package(target, place)
        needed = {name: "" for name in ("save_dir",) if has_parameter(target, name) and name not in node}
        partial_target(
            node, [Logger], _allowed_modules(experiment), place, extra=needed, inner=plugin_classes(experiment)
        )


def _allowed_modules(experiment: Experiment) -> tuple[str, ...]:
    return (*TARGETS["logger"], *experiment.plugins)


def _logger_nodes(experiment: Experiment) -> Iterator[tuple[str, Mapping[str, Any], type[Logger]]]:

    for key, node in (experiment.logger or {}).items():
        if node is None:
            continue
        place = f"logger.{key}"
        if not isinstance(node, Mapping):
            raise ConfigError(place, f"expected a mapping with _target_, got {node!r}")
        yield place, node, find_target(node, [Logger], _allowed_modules(experiment), place)


def _run_arguments(
    target: type[Logger], experiment: Experiment, folder: Path, logged_steps: int | None
) -> dict[str, Any]:
    """Return the arguments of a logger that describe the run: folder, name, id."""
    name = read_logger_run_ids(folder).get(kind(target))
    if issubclass(target, WandbLogger):
        # The id follows from the run's folder, so that a run killed before it stored the id continues the same W&B run.
        own = re.sub(r"[^\w-]", "-", f"{folder.parent.name}-{folder.name}")
        return {"save_dir": str(folder), "name": f"{folder.parent.name}/{folder.name}", "id": name or own}
    if issubclass(target, MLFlowLogger):
        run = {"experiment_name": experiment.name, "run_name": folder.name, "run_id": name}
        return run | {"tracking_uri": os.environ.get("MLFLOW_TRACKING_URI") or _database(experiment.output_dir)}
    in_folder = {"save_dir": str(folder), "name": "", "version": "tensorboard"}
    return in_folder if logged_steps is None else {**in_folder, "purge_step": logged_steps}


def _database(output_dir: str) -> str:
    """Return the URI of one SQLite file for all runs: MLflow no longer writes to folders."""
    folder = Path(output_dir).expanduser().absolute()
    folder.mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{folder / 'mlflow.db'}"


def _require_package(target: type[Logger], place: str) -> None:
    extra = _EXTRAS.get(target.__name__)
    if extra is not None and find_spec(extra) is None:
        raise MissingPackageError(place, f"the package {extra} is missing", f"pip install 'snnlab-train[{extra}]'")
