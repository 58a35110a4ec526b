"""Hydra, called from the command line and from Python, with the same outcome: an experiment and its run's folder."""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import ConfigCompositionException
from omegaconf import DictConfig, OmegaConf, open_dict

from snnlab.config.compose import check, readable_errors
from snnlab.config.folders import GLOBAL_GROUPS, config_folder, groups, own_folder
from snnlab.config.hints import of_word
from snnlab.config.hydra_guard import guarded_hydra
from snnlab.config.origin import Origin, line_of
from snnlab.config.overrides import checked, mark_overrides, repeated
from snnlab.config.own_files import OwnFile, check_chosen, clash, files_and_packages
from snnlab.config.plugins import require_typed
from snnlab.config.schema import Experiment
from snnlab.config.trainer_settings import check_trainer
from snnlab.errors import ConfigError
from snnlab.settings import is_override, key_of, literal, quoted

_log = logging.getLogger(__name__)
# An override that gives a layer as a whole.
_LAYER = re.compile(r"[+]{0,2}model\.layers\.(?P<name>\w+)=\{")

VERSION_BASE = "1.3"
ROOT = "train"


def let_hydra_answer(flags: Sequence[str], overrides: Sequence[str], config_dir: str | None) -> None:
    """Let `hydra.main` answer what it knows best: `--help`, `--cfg`, `--info`; nothing is run.

    Args:
        flags: Its own.
        config_dir: The user's folder of YAML files, where one is named.

    Raises:
        ConfigError: if the configuration cannot be composed.
    """
    own = own_folder(config_dir)
    ready, _ = _ready(overrides, own)
    where = ["--config-dir", str(own)] if own else []
    sys.argv = [sys.argv[0], *flags, *where, *ready]
    # Hydra's own reporting prints tracebacks and exits with 1; we want the exceptions.
    os.environ["HYDRA_FULL_ERROR"] = "1"

    @hydra.main(version_base=VERSION_BASE, config_path=str(config_folder()), config_name=ROOT)
    def task(cfg: DictConfig) -> None:
        raise AssertionError("Hydra answers before it runs anything")

    try:
        with readable_errors(), guarded_hydra():
            task()
    except SystemExit as end:
        if end.code:
            raise


def compose_once(overrides: Sequence[str], config_dir: str | Path | None) -> tuple[Experiment, Path]:
    """Compose one experiment from Python.

    Raises:
        ConfigError: if the configuration cannot be composed or checked.
    """
    for words in repeated(overrides):
        _log.warning(words)
    experiment, (folder,) = _composed(overrides, config_dir, "run.dir")
    where = [] if config_dir is None else ["--config-dir", str(config_dir)]
    experiment = replace(experiment, command=("snnlab", "train", *where, *overrides))
    return experiment, Path(folder).expanduser().absolute()


def compose_job(
    overrides: Sequence[str], config_dir: str | Path | None, number: int, folder: Path | None
) -> tuple[Experiment, Path, Path]:
    """Compose one run of a grid, and return it with the grid's folder and its own.

    Args:
        overrides: Of this run.
        number: Which run it is, from 0.
        folder: The grid's folder; None: what the configuration makes of this moment.

    Raises:
        ConfigError: if the configuration cannot be composed or checked.
    """
    place = [f"hydra.sweep.dir={literal(str(folder))}"] if folder else []
    given = [f"hydra.job.num={number}", *place]
    experiment, (above, below) = _composed(overrides, config_dir, "sweep.dir", "sweep.subdir", more=given)
    found = Path(above).expanduser().absolute()
    return experiment, found, found / below


def _composed(
    overrides: Sequence[str], config_dir: str | Path | None, *wanted: str, more: Sequence[str] = ()
) -> tuple[Experiment, tuple[str, ...]]:
    """Compose an experiment, and resolve the wanted settings of Hydra's own."""
    own = own_folder(config_dir)
    ready, files = _ready(overrides, own)
    where = [f"hydra.searchpath=[{literal(f'file://{own}')}]"] if own else []
    ready += [*more, *where]
    with readable_errors(), own_hydra(), guarded_hydra():
        hydra.initialize_config_dir(str(config_folder()), version_base=VERSION_BASE, job_name=ROOT)
        try:
            cfg = hydra.compose(ROOT, ready, return_hydra_config=True)
        except ConfigCompositionException as error:
            if found := clash(files, _plain(hydra.compose(ROOT))) if files else None:
                raise found from error
            raise
        _require_places(cfg, ready, files, where)
        HydraConfig.instance().set_config(cfg)
        plain = cfg.copy()
        with open_dict(plain):
            node = plain.pop("hydra")
        experiment = _checked(plain, node, own, files)
        found = tuple(str(OmegaConf.select(cfg.hydra, key)) for key in wanted)
    if empty := next((key for key, said in zip(wanted, found, strict=True) if not said.strip()), None):
        raise ConfigError(f"hydra.{empty}", "is empty", "name a folder")
    return experiment, found


def _require_places(cfg: DictConfig, ready: Sequence[str], files: Sequence[OwnFile], where: Sequence[str]) -> None:
    """Refuse a new layer that does not say where it stands: it would come behind the readout.

    Args:
        cfg: What was composed.
        ready: Overrides, as Hydra takes them.
        files: The user's files among those that were chosen.
        where: Overrides that say where files are found.
    """
    layers = OmegaConf.select(cfg, "model.layers")
    in_files = {name: one.path for one in files if one.group in GLOBAL_GROUPS for name in _layers(one.page)}
    typed = [match["name"] for text in ready if (match := _LAYER.match(text))]
    nodes = layers if isinstance(layers, DictConfig) else {}
    new = [name for name in [*typed, *in_files] if isinstance(nodes.get(name), DictConfig) and "type" in nodes[name]]
    unplaced = [name for name in new if "after" not in nodes[name]]
    choice = cfg.hydra.runtime.choices.get("model")
    if not unplaced or choice is None:
        return
    before = OmegaConf.select(hydra.compose(ROOT, [f"model={quoted(choice)}", *where]), "model.layers") or {}
    for name in unplaced:
        if before and name not in before:
            place = f"model.layers.{name}"
            path = None if name in typed else in_files[name]
            at = f"{path}:{line_of(path, place, '')}: " if path else ""
            raise ConfigError(f"{at}{place}", "a new layer needs its place", "set after: NAME", before)


def _layers(page: Mapping[str, Any]) -> list[str]:
    """Return the layers that a file of an experiment speaks of."""
    model = page.get("model")
    layers = model.get("layers") if isinstance(model, Mapping) else None
    return list(layers) if isinstance(layers, Mapping) else []


def _ready(overrides: Sequence[str], own: Path | None) -> tuple[list[str], list[OwnFile]]:
    """Return overrides as Hydra takes them, and the user's files that they choose, looked at."""
    names = groups(config_folder(), own)
    given = read_overrides(overrides, own)
    return mark_overrides(given, names), check_chosen(own, given, names)


def read_overrides(overrides: Sequence[str], own: Path | None) -> list[str]:
    """Return overrides as Hydra's grammar takes them.

    Raises:
        ConfigError: for what is none, or says what is not used here.
    """
    for text in overrides:
        if not is_override(text):
            raise ConfigError(text or repr(text), f"not an override{of_word(text, own)}")
    return checked(overrides, groups(config_folder(), own))


def _plain(cfg: DictConfig) -> dict[str, Any]:
    plain = OmegaConf.to_container(cfg, resolve=False)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def _checked(cfg: DictConfig, hydra_node: Any, own: Path | None, files: Sequence[OwnFile]) -> Experiment:
    # As they stand: in the list of them a reference would lead elsewhere than in its place.
    choices = {str(group): name for group, name in hydra_node.runtime.choices.items()}
    typed = OmegaConf.to_container(hydra_node.overrides.task, resolve=False)
    assert isinstance(typed, list)
    keys = [key for key in map(key_of, typed) if key not in choices]
    origin = Origin(tuple(files_and_packages(files)), tuple(keys))
    try:
        experiment = check(cfg, tuple(folder for folder in (config_folder(), own) if folder), choices)
        check_trainer(experiment.trainer, test=experiment.test)
        require_typed(experiment.plugins, keys)
    except ConfigError as error:
        raise origin.located(error) from error
    return replace(experiment, origin=origin)


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
