"""Hydra, called from the command line and from Python, with the same outcome: an experiment and its run's folder."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict

from snnlab.config.compose import check, readable_errors
from snnlab.config.folders import config_folder, groups, own_folder
from snnlab.config.hydra_guard import guarded_hydra, require_own_words
from snnlab.config.origin import Origin, own_files
from snnlab.config.overrides import mark_overrides
from snnlab.config.plugins import require_typed
from snnlab.config.schema import Experiment
from snnlab.errors import ConfigError, SnnlabError
from snnlab.files import remove_empty, unwritable
from snnlab.search.space import written
from snnlab.settings import key_of

VERSION_BASE = "1.3"
ROOT = "train"

# What Hydra calls the user's folder, from the command line and from Python.
_OWN_PROVIDERS = ("command-line", "hydra.searchpath in command-line")

_OVERRIDE = re.compile(r"~|[+]{0,2}[A-Za-z_][^\s=]*=")


Job = Callable[[Experiment, Path], Any]


def split_overrides(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Return the overrides among arguments, and the others."""
    overrides = [a for a in arguments if _OVERRIDE.match(a)]
    return overrides, [a for a in arguments if not _OVERRIDE.match(a)]


def run_hydra(
    arguments: list[str],
    job: Job,
    failed: Callable[[SnnlabError], Any],
    began: Callable[[], None] | None = None,
) -> None:
    """Let `hydra.main` take the arguments: `--help`, `--cfg`, `-m` and completion are Hydra's own.

    Args:
        arguments: What stands behind `snnlab train`.
        job: Called for each job with the experiment and the run's folder.
        failed: Called with the user's mistake in one job; the next job runs all the same.
        began: Called when a job begins, before it is checked.

    Raises:
        ConfigError: if the configuration cannot be composed.
    """
    own = own_folder(_config_dir(arguments))
    if own and not _config_dir(arguments):
        arguments = ["--config-dir", str(own), *arguments]
    overrides, others = split_overrides(arguments)
    require_own_words(vars(get_args_parser().parse_args(others)), overrides)
    sys.argv = [sys.argv[0], *others, *mark_overrides(overrides, groups(config_folder(), own))]
    # Hydra's own reporting prints tracebacks and exits with 1; we want the exceptions.
    os.environ["HYDRA_FULL_ERROR"] = "1"

    started: list[bool] = []

    @hydra.main(version_base=VERSION_BASE, config_path=str(config_folder()), config_name=ROOT)
    def task(cfg: DictConfig) -> None:
        started.append(True)
        if began:
            began()
        folder = Path(HydraConfig.get().runtime.output_dir)
        try:
            job(_checked(cfg, HydraConfig.get()), folder)
        except SnnlabError as error:  # raised further, Hydra would print it in its own words
            failed(error)
        finally:
            remove_empty(folder, parents=2)  # Hydra made it before anything was checked

    with readable_errors(), guarded_hydra():
        try:
            task()
        except OSError as error:
            # Trouble of the job itself, or a missing file of the configuration, is not that of the folder.
            if started or isinstance(error, HydraException):
                raise
            raise unwritable(Path(error.filename or "."), error) from error


def compose_once(overrides: list[str], config_dir: str | Path | None) -> tuple[Experiment, Path]:
    """Compose one experiment from Python.

    Raises:
        ConfigError: if the configuration cannot be composed or checked.
    """
    experiment, (folder,) = _composed(overrides, config_dir, "run.dir")
    return experiment, Path(folder).absolute()


def compose_job(
    overrides: list[str], config_dir: str | Path | None, number: int, folder: Path | None
) -> tuple[Experiment, Path, Path]:
    """Compose one run of a grid, and return it with the grid's folder and its own.

    Args:
        overrides: Of this run.
        config_dir: The user's folder of YAML files.
        number: Which run it is, from 0.
        folder: The grid's folder; None: what the configuration makes of this moment.

    Raises:
        ConfigError: if the configuration cannot be composed or checked.
    """
    place = [f"hydra.sweep.dir={written(str(folder))}"] if folder else []
    given = [*overrides, f"hydra.job.num={number}", *place]
    experiment, (above, below) = _composed(given, config_dir, "sweep.dir", "sweep.subdir")
    found = Path(above).absolute()
    return experiment, found, found / below


def _composed(overrides: list[str], config_dir: str | Path | None, *wanted: str) -> tuple[Experiment, tuple[str, ...]]:
    """Compose an experiment, and resolve the wanted settings of Hydra's own."""
    own = own_folder(config_dir)
    require_own_words({}, overrides)
    ready = mark_overrides(overrides, groups(config_folder(), own))
    if own:
        ready.append(f"hydra.searchpath=['file://{own}']")
    with readable_errors(), own_hydra(), guarded_hydra():
        hydra.initialize_config_dir(str(config_folder()), version_base=VERSION_BASE, job_name=ROOT)
        cfg = hydra.compose(ROOT, ready, return_hydra_config=True)
        HydraConfig.instance().set_config(cfg)
        found = tuple(str(OmegaConf.select(cfg.hydra, key)) for key in wanted)
        with open_dict(cfg):
            node = cfg.pop("hydra")
        return _checked(cfg, node), found


def _checked(cfg: DictConfig, hydra_node: Any) -> Experiment:
    choices = {str(group): name for group, name in hydra_node.runtime.choices.items()}
    sources = {source.provider: Path(source.path) for source in hydra_node.runtime.config_sources}
    own = next((path for provider, path in sources.items() if provider in _OWN_PROVIDERS), None)
    keys = map(key_of, hydra_node.overrides.task)
    typed = [key for key in keys if key not in choices]
    origin = Origin(tuple(own_files(own, choices)), tuple(typed))
    try:
        experiment = replace(check(cfg, tuple(sources.values()), choices), origin=origin)
        require_typed(experiment.plugins, typed)
        return experiment
    except ConfigError as error:
        raise origin.located(error) from error


@contextmanager
def own_hydra() -> Iterator[None]:
    """Leave the Hydra of a program around us as it was."""
    outer, outer_config = GlobalHydra.instance().hydra, HydraConfig.instance().cfg
    GlobalHydra.instance().clear()
    try:
        yield
    finally:
        GlobalHydra.instance().hydra = outer
        HydraConfig.instance().cfg = outer_config


def _config_dir(arguments: list[str]) -> str | None:
    for argument, following in pairwise([*arguments, ""]):
        if argument in ("--config-dir", "-cd"):
            return following
        if argument.startswith("--config-dir="):
            return argument.partition("=")[2]
    return None
