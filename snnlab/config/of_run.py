"""The experiment of a recorded run: its own config.yaml, and what is to be different."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import hydra
from omegaconf import DictConfig, OmegaConf

from snnlab.config.compose import check, readable_errors
from snnlab.config.composing import ROOT, VERSION_BASE, own_hydra, read_overrides
from snnlab.config.folders import config_folder, groups, own_folder
from snnlab.config.foreign import Typed, Use, fetches_nothing, require_named
from snnlab.config.hydra_guard import guarded_hydra
from snnlab.config.migration import migrate
from snnlab.config.overrides import mark_overrides
from snnlab.config.own_files import check_chosen
from snnlab.config.plugins import naming, places_of
from snnlab.config.references import asks_outside, require_bounded
from snnlab.config.schema import Experiment
from snnlab.config.trainer_settings import check_trainer
from snnlab.errors import ConfigError, RecordError, listing
from snnlab.printable import each_text
from snnlab.record.run_config import read_raw
from snnlab.record.run_folder import CONFIG, config_text
from snnlab.record.run_reading import read_config
from snnlab.record.signature import file_hash, signed
from snnlab.settings import key_of, literal

_log = logging.getLogger(__name__)

# What makes a run's network what it is: a file of these groups would be another run's.
_FIXED = ("model", "experiment", "debug")
# Stands for the mark of a reference that is shown and not followed: a character that no text has.
_SHOWN = "\ue000{"
_GROUP = re.compile(r"(?P<group>[A-Za-z_]\w*)=(?P<name>[\w-]+)")


def compose_run(
    run: Path,
    overrides: Sequence[str] = (),
    config_dir: str | Path | None = None,
    use: Use = "network",
    begun: Callable[[], Experiment] | None = None,
) -> Experiment:
    """Return the experiment of a run, with overrides on top; today's packaged files are not looked at.

    A group override, such as `data=dvsgesture`, is the exception: that file is composed on its own, and takes the
    node's place.

    Args:
        overrides: Overrides of values as for `snnlab train`, and of groups but the model, the neuron, experiments.
        config_dir: The user's folder, for group overrides.
        use: What is done with it; see `snnlab.config.foreign`.
        begun: Composes the experiment that this process was told to train; a run that records the same is the user's.

    Raises:
        RecordError: if the folder is no run's.
        ConfigError: if an override cannot be used, or the run needs what its user has to name again.
    """
    recorded = recorded_config(run)
    cfg, own = recorded.copy(), own_folder(config_dir)
    names = groups(config_folder(), own)
    given = read_overrides(overrides, own)
    check_chosen(own, given, names)
    chosen, values = _by_kind(given, names, cfg)
    for group, name in chosen.items():
        cfg[group] = _of_group(group, name, own)[group]
    marked = mark_overrides(values, names)
    typed = _typed(marked, chosen)
    if use not in ("record", "shape"):
        cfg = _allowed(cfg, typed, use, run, begun)
    with TemporaryDirectory() as folder, readable_errors(), own_hydra(), guarded_hydra():
        OmegaConf.save(cfg, Path(folder) / CONFIG)
        hydra.initialize_config_dir(folder, version_base=VERSION_BASE, job_name=ROOT)
        composed = hydra.compose("config", marked)
    experiment = check(composed, (), chosen)
    if any(key_of(text).startswith("trainer") for text in given):
        check_trainer(experiment.trainer, test=experiment.test)
    _require_same_classes(cfg, recorded, run)
    told: dict[str, Any] = {field.name: _told(getattr(experiment, field.name)) for field in fields(experiment)}
    experiment = replace(experiment, **{**told, "of_run": run.absolute()})
    if use == "record":
        return replace(experiment, plugins=())
    _require_all_plugins(experiment, list(recorded.get("plugins") or ()), typed, use)
    return experiment


def _typed(overrides: Sequence[str], chosen: Collection[str]) -> Typed:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    with readable_errors():
        parsed = OverridesParser.create().parse_overrides(list(overrides))
    return Typed.of({one.key_or_group: None if one.is_delete() else one.value() for one in parsed}, chosen)


def _allowed(cfg: DictConfig, typed: Typed, use: Use, run: Path, begun: Callable[[], Experiment] | None) -> DictConfig:
    """Return a configuration whose references are followed, after what its user has to name again was named.

    Raises:
        ConfigError: if something was not.
    """
    raw: dict[str, Any] = _told(OmegaConf.to_container(cfg, resolve=False))
    signature = signed(run, CONFIG)
    known = {} if signature is None else signature.plugins
    plugins = [name for name in raw.get("plugins") or () if not _is_imported_file(str(name), known)]
    own = signature is not None
    if begun is not None and (plugins or not own) and _records(run, begun()):
        plugins, own = [], True
    require_named(raw, typed, use, run, plugins, own=own)
    if not own and fetches_nothing(raw, typed):
        raw["data"]["download"] = False
    made = OmegaConf.create(raw)
    assert isinstance(made, DictConfig)
    return made


def _records(run: Path, experiment: Experiment) -> bool:
    return config_text(experiment.record or {}) == (run / CONFIG).read_text(encoding="utf-8")


def _is_imported_file(name: str, known: Mapping[str, tuple[Path, str]]) -> bool:
    """Return whether a plugin would be the file that was imported when the run was recorded."""
    if name not in known or not (places := places_of(name)):
        return False
    path, content = known[name]
    return places[-1].resolve() == path and path.is_file() and file_hash(path) == content


def _require_all_plugins(experiment: Experiment, recorded: Sequence[str], typed: Typed, use: Use) -> None:
    """Raise if none of a run's plugins was named where that is needed, or only some of them were."""
    unnamed = use == "shape" and not typed.has("plugins")
    if recorded and (unnamed or set(experiment.plugins) < set(recorded)):
        raise ConfigError(experiment.of_run, f"needs {naming(recorded)}")


def _shown(node: Any) -> Any:
    """Return values in which references to anything outside of them are texts, that nothing follows."""
    return each_text(node, lambda text: text.replace("${", _SHOWN) if asks_outside(text) else text)


def _told(node: Any) -> Any:
    """Return values with these texts as they stand in the run's file."""
    return each_text(node, lambda text: text.replace(_SHOWN, "${"))


def recorded_config(run: Path) -> DictConfig:
    """Return a run's config.yaml; what an older one says otherwise than today is put into today's words, and told.

    References to anything but itself, such as the environment, are texts in it; `compose_run` follows what it may.

    Raises:
        RecordError: if there is none, or it is not what a run wrote.
    """
    path = run / CONFIG
    if run.is_file():
        raise RecordError(run, "is a file", f"name the run's folder, {run.parent}")
    if not path.is_file():
        raise RecordError(run, f"is no run's folder, there is no {CONFIG} in it")
    read_config(run)  # that it is what a run wrote
    with readable_errors():
        raw = read_raw(path)
        require_bounded(raw)
        cfg = OmegaConf.create(_shown(raw))
    # A record has no `hydra`, by which a file would set Hydra up, and no `defaults`, by which it would choose others.
    if not isinstance(cfg, DictConfig) or any(name in cfg for name in ("hydra", "defaults")):
        raise RecordError(path, "is not what a run recorded")
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
            raise ConfigError(text, "says where a new run goes", "this one is there")
        if key == "neuron":
            raise ConfigError(
                text,
                "a run's neurons are in its layers",
                (
                    f"override those, such as model.layers.{_spiking(cfg)[0]}.NAME=VALUE (layers:"
                    f" {listing(_spiking(cfg))})"
                ),
            )
        if found and found["group"] in _FIXED:
            raise ConfigError(text, f"a run's {found['group']} is what it was", "train another run for that")
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
    with readable_errors(), own_hydra(), guarded_hydra():
        hydra.initialize_config_dir(str(config_folder()), version_base=VERSION_BASE, job_name=ROOT)
        return hydra.compose(ROOT, marked)


def _require_same_classes(cfg: DictConfig, recorded: DictConfig, run: Path) -> None:
    now, then = (OmegaConf.select(node, "data.num_classes") for node in (cfg, recorded))
    if now != then:
        raise ConfigError(
            "data.num_classes",
            f"the network of {run.name} answers with one of {then} classes, and these recordings have {now}",
            f"snnlab train init_from={run} trains one that begins with its other layers' weights",
        )
