"""Hydra, called from the command line and from Python, with the same outcome: an experiment and its run's folder."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict

from snnlab.config.compose import check, config_folder, readable_errors, ready_overrides
from snnlab.config.schema import Experiment
from snnlab.errors import SnnlabError
from snnlab.record.files import remove_empty, unwritable

VERSION_BASE = "1.3"
ROOT = "train"

_OVERRIDE = re.compile(r"~|[+]{0,2}[A-Za-z_][^\s=]*=")


Job = Callable[[Experiment, Path], Any]


def run_hydra(arguments: list[str], job: Job, failed: Callable[[SnnlabError], Any]) -> None:
    """Let `hydra.main` take the arguments: `--help`, `--cfg`, `-m` and completion are Hydra's own.

    Args:
        arguments: What stands behind `snnlab train`.
        job: Called for each job with the experiment and the run's folder.
        failed: Called with the user's mistake in one job; the next job runs all the same.

    Raises:
        ConfigError: if the configuration cannot be composed.
    """
    folders = [Path(folder) for folder in _config_dirs(arguments)]
    overrides = [a for a in arguments if _OVERRIDE.match(a)]
    others = [a for a in arguments if not _OVERRIDE.match(a)]
    sys.argv = [sys.argv[0], *others, *ready_overrides(overrides, folders)]
    # Hydra's own reporting prints tracebacks and exits with 1; we want the exceptions.
    os.environ["HYDRA_FULL_ERROR"] = "1"

    started: list[bool] = []

    @hydra.main(version_base=VERSION_BASE, config_path=str(config_folder()), config_name=ROOT)
    def task(cfg: DictConfig) -> None:
        started.append(True)
        folder = Path(HydraConfig.get().runtime.output_dir)
        try:
            job(_checked(cfg, HydraConfig.get()), folder)
        except SnnlabError as error:  # raised further, Hydra would print it in its own words
            failed(error)
        finally:
            remove_empty(folder, parents=2)  # Hydra made it before anything was checked

    with readable_errors():
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
    folders = [] if config_dir is None else [Path(config_dir).resolve()]
    ready = ready_overrides(overrides, folders)
    if folders:
        ready.append(f"hydra.searchpath=['file://{folders[0]}']")
    with readable_errors(), _own_hydra():
        hydra.initialize_config_dir(str(config_folder()), version_base=VERSION_BASE, job_name=ROOT)
        cfg = hydra.compose(ROOT, ready, return_hydra_config=True)
        HydraConfig.instance().set_config(cfg)
        output = str(cfg.hydra.run.dir)
        with open_dict(cfg):
            node = cfg.pop("hydra")
        return _checked(cfg, node), Path(output).absolute()


def _checked(cfg: DictConfig, hydra_node: Any) -> Experiment:
    choices = OmegaConf.to_container(hydra_node.runtime.choices)
    assert isinstance(choices, dict)
    sources = [Path(source.path) for source in hydra_node.runtime.config_sources if source.schema == "file"]
    return check(cfg, sources, {str(group): name for group, name in choices.items()})


@contextmanager
def _own_hydra() -> Iterator[None]:
    """Leave the Hydra of a program around us as it was."""
    outer, outer_config = GlobalHydra.instance().hydra, HydraConfig.instance().cfg
    GlobalHydra.instance().clear()
    try:
        yield
    finally:
        GlobalHydra.instance().hydra = outer
        HydraConfig.instance().cfg = outer_config


def _config_dirs(arguments: list[str]) -> list[str]:
    following = dict(pairwise(arguments))
    spelt = [a.partition("=")[2] for a in arguments if a.startswith("--config-dir=")]
    return spelt + [following[flag] for flag in ("--config-dir", "-cd") if flag in following]
