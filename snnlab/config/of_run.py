"""The experiment of a recorded run: its own config.yaml, and what is to be different."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import hydra
from omegaconf import DictConfig, OmegaConf

from snnlab.config.compose import check, readable_errors
from snnlab.config.composing import ROOT, VERSION_BASE, own_hydra, read_overrides
from snnlab.config.folders import config_folder, groups, own_folder
from snnlab.config.migration import migrate
from snnlab.config.overrides import mark_overrides
from snnlab.config.own_files import check_chosen
from snnlab.config.schema import Experiment
from snnlab.config.trainer_settings import check_trainer
from snnlab.errors import ConfigError, RecordError, listing
from snnlab.record.run_folder import CONFIG
from snnlab.record.run_reading import read_config
from snnlab.settings import key_of, literal

_log = logging.getLogger(__name__)

# What makes a run's network what it is: a file of these groups would be another run's.
_FIXED = ("model", "experiment", "debug")
_GROUP = re.compile(r"(?P<group>[A-Za-z_]\w*)=(?P<name>[\w-]+)")


def compose_run(run: Path, overrides: Sequence[str] = (), config_dir: str | Path | None = None) -> Experiment:
    """Return the experiment of a run, with overrides on top; today's packaged files are not looked at.

    A group override, such as `data=dvsgesture`, is the exception: that file is composed on its own, and takes the
    node's place.

    Args:
        run: The run's folder.
        overrides: Overrides of values as for `snnlab train`, and of groups but the model, the neuron, experiments.
        config_dir: The user's folder, for group overrides.

    Raises:
        RecordError: if the folder is no run's.
        ConfigError: if an override cannot be used.
    """
    recorded = recorded_config(run)
    cfg, own = recorded.copy(), own_folder(config_dir)
    names = groups(config_folder(), own)
    given = read_overrides(overrides, own)
    check_chosen(own, given, names)
    chosen, values = _by_kind(given, names, cfg)
    for group, name in chosen.items():
        cfg[group] = _of_group(group, name, own)[group]
    with TemporaryDirectory() as folder, readable_errors(), own_hydra():
        OmegaConf.save(cfg, Path(folder) / CONFIG)
        hydra.initialize_config_dir(folder, version_base=VERSION_BASE, job_name=ROOT)
        composed = hydra.compose("config", mark_overrides(values, names))
    experiment = check(composed, (), chosen)
    if any(key_of(text).startswith("trainer") for text in given):
        check_trainer(experiment.trainer, test=experiment.test)
    _require_same_classes(cfg, recorded, run)
    return experiment


def recorded_config(run: Path) -> DictConfig:
    """Return a run's config.yaml; what an older one says otherwise than today is put into today's words, and told.

    Raises:
        RecordError: if there is none, or it is not what a run wrote.
    """
    path = run / CONFIG
    if run.is_file():
        raise RecordError(f"{run}: is a file; name the run's folder, {run.parent}")
    if not path.is_file():
        raise RecordError(f"{run}: is no run's folder, there is no {CONFIG} in it")
    read_config(run)  # that it is what a run wrote
    with readable_errors():
        cfg = OmegaConf.load(path)
    assert isinstance(cfg, DictConfig)
    for change in migrate(cfg):
        _log.warning("%s: %s", path, change)
    return cfg


def _by_kind(overrides: Sequence[str], names: Collection[str], cfg: DictConfig) -> tuple[dict[str, str], list[str]]:
    """Return the files chosen by group, and the overrides of values."""
    chosen: dict[str, str] = {}
    values: list[str] = []
    for text in overrides:
        found = _GROUP.fullmatch(text)
        key = key_of(text).partition(".")[0]
        if key == "hydra":
            raise ConfigError(f"{text}: says where a new run goes; this one is there")
        if key == "neuron":
            raise ConfigError(
                f"{text}: a run's neurons are in its layers; override those, such as model.layers."
                f"{_spiking(cfg)[0]}.NAME=VALUE (layers: {listing(_spiking(cfg))})"
            )
        if found and found["group"] in _FIXED:
            raise ConfigError(f"{text}: a run's {found['group']} is what it was; train another run for that")
        if found and found["group"] in names and found["name"] != "null":
            chosen[found["group"]] = found["name"]
        else:
            values.append(text)
    return chosen, values


def _spiking(cfg: DictConfig) -> list[str]:
    """Return the layers that have a threshold, or where none says so, all."""
    layers = cfg.model.layers
    return [str(name) for name in layers if "v_threshold" in (layers[name] or {})] or [str(name) for name in layers]


def _of_group(group: str, name: str, own: Path | None) -> Any:
    """Compose the packaged defaults with one other file, for its node."""
    marked = [f"{group}={name}", *([f"hydra.searchpath=[{literal(f'file://{own}')}]"] if own else [])]
    with readable_errors(), own_hydra():
        hydra.initialize_config_dir(str(config_folder()), version_base=VERSION_BASE, job_name=ROOT)
        return hydra.compose(ROOT, marked)


def _require_same_classes(cfg: DictConfig, recorded: DictConfig, run: Path) -> None:
    now, then = (OmegaConf.select(node, "data.num_classes") for node in (cfg, recorded))
    if now != then:
        raise ConfigError(
            f"data.num_classes: the network of {run.name} answers with one of {then} classes, and these recordings have"
            f" {now}; snnlab train init_from={run} trains one that begins with its other layers' weights"
        )
