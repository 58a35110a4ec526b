"""Composes, checks and resolves Hydra's configuration: an `Experiment` and its run's folder.

A text from the environment is recorded as its reference, `${oc.env:NAME}`, and resolved again when the run's own user
opens it, because records are shared. Numbers and paths are recorded by value, so that
`seed: ${oc.decode:${oc.env:SLURM_ARRAY_TASK_ID}}` can be repeated. Passwords in addresses are masked.
"""

from __future__ import annotations

import logging
import math
import os
import re
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import ConfigCompositionException
from omegaconf import DictConfig, OmegaConf, open_dict

from snnlab.cards import KEY, parse_card
from snnlab.config.folders import GLOBAL_GROUPS, config_folder, groups, user_folder
from snnlab.config.hints import group_hint, setting_hint
from snnlab.config.hydra_limits import explain, guarded_hydra
from snnlab.config.layers import expand_layers
from snnlab.config.overrides import mark_overrides, repetition_warnings, require_overrides, to_hydra_grammar
from snnlab.config.own_files import FIRST_LINE, OwnFile, check_chosen, files_and_packages, type_conflict
from snnlab.config.plugins import require_typed_plugins
from snnlab.config.references import external_references, iterate_texts
from snnlab.config.schema import Experiment, ForeignWeights, Origin, line_of
from snnlab.config.trainer_settings import check_trainer
from snnlab.errors import ROOT, ConfigError, UnknownSettingError, UnsetError, did_you_mean
from snnlab.printable import masked
from snnlab.spec.annotations import value_text
from snnlab.spec.override_texts import key_of, literal, quoted
from snnlab.spec.signatures import check_settings
from snnlab.zoo import run_path

_log = logging.getLogger(__name__)

# Groups whose settings are a mapping; other settings refer to those of _REFERENCED.
_MAPPING_GROUPS = ("data", "trainer", "loss", "optimizer", "scheduler", "logger", "callbacks")
_REFERENCED = ("data", "trainer")
# The first number that does not fit into a signed 64-bit integer.
_TOO_LARGE = 2**63
# Fields of an experiment that are not settings.
_NOT_SETTINGS = ("record", "neuron", "origin", "command", "of_run")


@contextmanager
def readable_errors() -> Iterator[None]:
    """Turn errors of Hydra, OmegaConf and YAML raised inside into a ConfigError."""
    try:
        yield
    except ConfigError:
        raise
    except Exception as error:
        plain = explain(error)
        if plain is None:
            raise
        raise plain from error


def run_name(name: str | None, choices: Mapping[str, Any]) -> str:
    """Return the name of an experiment, MODEL_DATA if it has none."""
    return name or f"{choices.get('model')}_{choices.get('data')}"


def _experiment_name(name: str | None, choices: Mapping[str, Any]) -> str | None:
    """Return an experiment's name; the name `debug` of debug runs is only their folder's."""
    return choices.get("experiment") if choices.get("debug") and name == "debug" else name


# For hydra.run.dir, which Hydra resolves before snnlab's code sees the configuration.
OmegaConf.register_new_resolver("run_name", run_name, replace=True)


def check_config(cfg: DictConfig, sources: Sequence[Path], choices: Mapping[str, Any]) -> Experiment:
    """Check a composed configuration and return it resolved.

    Args:
        cfg: The composed configuration without its `hydra` node.
        sources: Folders of YAML files; the first match counts.
        choices: Names of the chosen files, by group.

    Raises:
        ConfigError: for the first mistake found.
    """
    with readable_errors():
        raw = _to_dict(cfg, resolve=False)
        neuron, model = raw.pop("neuron", None), _without_card(raw.get("model"))
        if not isinstance(model, Mapping):
            raise ConfigError(
                "model", f"expected a mapping with layers, got {value_text(model)}", group_hint("model", model)
            )
        if not isinstance(model.get("layers"), Mapping) or not model["layers"]:
            raise ConfigError("model.layers", "expected named layers, such as {out: {type: linear, out_features: 10}}")
        for group in _MAPPING_GROUPS:
            node = raw.get(group)
            if isinstance(node, str) or (group in _REFERENCED and not isinstance(node, Mapping)):
                raise ConfigError(group, f"expected a mapping, got {value_text(node)}", group_hint(group, node))
        neuron = _resolve_neuron(cfg, neuron)
        raw["model"] = {**model, "layers": expand_layers(model["layers"], neuron)}
        for group in GLOBAL_GROUPS:
            _require_nothing(group, raw.pop(group, None))
        _drop_replaced_time(raw, sources, choices)
        raw["name"] = run_name(_experiment_name(raw.get("name"), choices), choices)
        _name_data(raw.get("data"), choices.get("data"))
        _require_values(raw)
        _require_written_addresses(raw)
        resolved = _to_dict(OmegaConf.create(raw), resolve=True)
    _check_known(resolved, neuron)
    check_settings(Experiment, resolved, ROOT, "an experiment", supplied=_NOT_SETTINGS)
    _check_values(resolved)
    if unknown := sorted(resolved["model"].keys() - {"layers", "init", "weights"}):
        hint = f"; {unknown[0]} is a setting next to it: {unknown[0]}.KEY=VALUE" if unknown[0] in resolved else ""
        raise ConfigError("model", f"takes layers, init and weights, got {', '.join(unknown)}{hint}")
    _check_weights(resolved["model"].get("weights"), resolved.get("init_from"))
    ordered = {f.name: resolved[f.name] for f in fields(Experiment) if f.name in resolved}
    return Experiment(**ordered, neuron=neuron, record=experiment_record(raw, resolved))


def _without_card(model: Any) -> Any:
    """Return the model without its card, which describes a file and not an experiment; refuse a mistake in it."""
    if not isinstance(model, Mapping) or KEY not in model:
        return model
    parse_card(model[KEY])
    return {key: value for key, value in model.items() if key != KEY}


def _require_nothing(group: str, node: Any) -> None:
    """Refuse settings of an experiment's file that stay in the group, where nothing reads them."""
    if node:
        first = next(iter(node)) if isinstance(node, Mapping) else node
        raise ConfigError(
            f"{group}.{first}", "has no effect here", f"the first line of the file must be '{FIRST_LINE}'"
        )


def _check_known(resolved: Mapping[str, Any], neuron: Mapping[str, Any] | None) -> None:
    known = [one.name for one in fields(Experiment) if one.name not in _NOT_SETTINGS]
    for name in resolved:
        if name not in known:
            hint = setting_hint(str(name), {**resolved, "neuron": neuron}, [*known, "neuron", *GLOBAL_GROUPS])
            raise UnknownSettingError(ROOT, str(name), hint)


def _check_values(resolved: Mapping[str, Any]) -> None:
    """Refuse empty paths, invalid names, and numbers that are nan or too large."""
    if not resolved.get("output_dir", ".").strip():
        raise ConfigError("output_dir", "is empty", "name a folder, '.' is the working folder")
    if resolved.get("init_from") is not None and not resolved["init_from"].strip():
        raise ConfigError("init_from", "is empty", "name a run's folder, null starts with new weights")
    if resolved.get("init_from") is not None:
        run_path(resolved["init_from"])  # refuses an unknown packaged network
    parts = resolved["name"].split("/")
    if any(part.strip() in ("", ".", "..") for part in parts) or parts[0].startswith("~"):
        raise ConfigError("name", f"is a folder below output_dir, such as my_experiment, got {resolved['name']!r}")
    for place, problem in _not_numbers(resolved):
        raise ConfigError(place, problem)


def _check_weights(weights: Any, init_from: str | None) -> None:
    if weights is None:
        return
    if not isinstance(weights, Mapping):
        raise ConfigError("model.weights", f"expected a mapping such as {{file: PATH}}, got {value_text(weights)}")
    check_settings(ForeignWeights, weights, "model.weights", "weights")
    file = weights.get("file")
    if file is not None and not file.strip():
        raise ConfigError("model.weights.file", "is empty", "name a file of torch.save, null starts with new weights")
    if file is not None and init_from is not None:
        raise ConfigError(
            "model.weights.file", "and init_from both give the initial weights", "set one of them to null"
        )


def _not_numbers(node: Any, place: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(node, float) and math.isnan(node):
        yield place, "expected a number, got nan"
    elif isinstance(node, int) and abs(node) >= _TOO_LARGE:
        yield place, f"expected a number below 2 to the power of 63, got {node}"
    elif isinstance(node, Mapping):
        for name, value in node.items():
            yield from _not_numbers(value, f"{place}.{name}" if place else str(name))
    elif isinstance(node, list):
        for number, value in enumerate(node):
            yield from _not_numbers(value, f"{place}.{number}")


def _require_values(raw: dict[str, Any]) -> None:
    """Refuse a `???`, a value that a file leaves to its user, before references to it are resolved."""
    if missing := sorted(_unset_keys(raw)):
        have = "has" if len(missing) == 1 else "have"
        raise UnsetError(
            "", f"{', '.join(missing)} {have} no value", f"set {' '.join(f'{name}=...' for name in missing)}"
        )


def _require_written_addresses(raw: Mapping[str, Any]) -> None:
    """Refuse an address with references: it would send values of the environment to its server."""
    data = raw.get("data")
    for place, _ in external_references(data.get("archives"), "data.archives") if isinstance(data, Mapping) else ():
        raise ConfigError(place, "an address must not refer to the environment")


def _unset_keys(node: Any, place: str = "") -> Iterator[str]:
    if node == "???":
        yield place
    elif isinstance(node, Mapping):
        for name, value in node.items():
            yield from _unset_keys(value, f"{place}.{name}" if place else str(name))


def _to_dict(cfg: DictConfig, *, resolve: bool) -> dict[str, Any]:
    container = OmegaConf.to_container(cfg, resolve=resolve, throw_on_missing=resolve)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}


def _resolve_neuron(cfg: DictConfig, neuron: Any) -> dict[str, Any] | None:
    """Return the neuron with its references resolved; its node is removed from the configuration."""
    if neuron is None:
        return None
    node = OmegaConf.to_container(cfg.neuron, resolve=True) if isinstance(neuron, Mapping) else neuron
    if not isinstance(node, dict):
        raise ConfigError(
            "neuron", f"expected a mapping such as {{type: lif}}, got {value_text(node)}", group_hint("neuron", node)
        )
    return {str(key): value for key, value in node.items()}


def _drop_replaced_time(raw: dict[str, Any], sources: Sequence[Path], choices: Mapping[str, Any]) -> None:
    """Let a `dt` or `num_bins` of an experiment replace the other one in the data file."""
    data = raw.get("data")
    if not isinstance(data, dict) or data.get("num_bins") is None or data.get("dt") is None:
        return
    in_file = _set_times(_load_choice(sources, "data", choices.get("data")))
    in_experiment = _set_times((_load_choice(sources, "experiment", choices.get("experiment")) or {}).get("data"))
    if len(in_file) != 1 or len(in_experiment) == 2:
        raise ConfigError("data", "give either num_bins or dt (ms), not both")
    data[in_file.pop()] = None


def _name_data(data: Any, chosen: Any) -> None:
    """Name the data after its YAML file, if that is a user's own and has no name."""
    if isinstance(data, dict) and isinstance(chosen, str) and chosen != data.get("type") and data.get("name") is None:
        data["name"] = chosen.rpartition("/")[2]


def _set_times(node: Any) -> set[str]:
    return {key for key in ("num_bins", "dt") if isinstance(node, Mapping) and node.get(key) is not None}


def _load_choice(sources: Sequence[Path], group: str, choice: str | None) -> Any:
    for folder in sources:
        path = folder / group / f"{choice}.yaml"
        if path.is_file():
            return OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    return None


# References that stay in a run's config.yaml, so that they follow a later change of their target.
KEPT_REFERENCES = ("${data.", "${trainer.")
# Paths, recorded by value: without them a record is of no use.
PATHS = (
    *("output_dir", "init_from", "model.weights.file"),
    *("data.root", "data.store_dir", "data.labels", "data.split_file"),
)
_VARIABLE = re.compile(r"oc\.env:\s*['\"]?(\w+)")


def experiment_record(raw: Mapping[str, Any], resolved: Mapping[str, Any]) -> dict[str, Any]:
    """Return an experiment as it is written to a run's `config.yaml`.

    Args:
        raw: The experiment with its references.
        resolved: The same, resolved.
    """
    names = {name for _, text in iterate_texts(raw) for name in _VARIABLE.findall(text)}
    secrets = [value for name in names if (value := os.environ.get(name)) and not _is_number(value)]
    return {key: _recorded_value(value, resolved[key], key, secrets) for key, value in raw.items()}


def _recorded_value(raw: Any, resolved: Any, place: str, secrets: Collection[str]) -> Any:
    if isinstance(raw, dict):
        return {key: _recorded_value(value, resolved[key], f"{place}.{key}", secrets) for key, value in raw.items()}
    if isinstance(raw, list):
        return [_recorded_value(a, b, place, secrets) for a, b in zip(raw, resolved, strict=True)]
    if not isinstance(raw, str):
        return resolved
    if raw.startswith(KEPT_REFERENCES):
        return raw
    if not isinstance(resolved, str):
        return _resolved_unless_secret(resolved, raw, secrets)
    out_of_environment = "${" in raw and any(value in resolved for value in secrets)
    return raw if out_of_environment and place not in PATHS else masked(resolved)


def _resolved_unless_secret(resolved: Any, raw: str, secrets: Collection[str]) -> Any:
    """Return a resolved reference, or the reference itself if one of its values is from the environment."""
    return raw if any(value in text for _, text in iterate_texts(resolved) for value in secrets) else resolved


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return text.lower() in ("true", "false", "null")
    return True


# An override that sets a whole layer.
_LAYER = re.compile(r"[+]{0,2}model\.layers\.(?P<name>\w+)=\{")
VERSION_BASE = "1.3"
PRIMARY = "train"


def let_hydra_answer(flags: Sequence[str], overrides: Sequence[str], config_dir: str | None) -> None:
    """Let `hydra.main` answer `--help`, `--cfg` and `--info`; nothing is trained.

    Args:
        flags: Flags of Hydra.
        config_dir: The user's folder of YAML files, or None.

    Raises:
        ConfigError: if the configuration cannot be composed.
    """
    user_dir = user_folder(config_dir)
    ready, _ = _prepare(overrides, user_dir)
    where = ["--config-dir", str(user_dir)] if user_dir else []
    try:
        with readable_errors():
            call_hydra([*flags, *where, *ready])
    except SystemExit as end:
        if end.code:
            raise


def call_hydra(arguments: Sequence[str]) -> None:
    """Call `hydra.main` with flags that only print, such as `--cfg job`; sets `sys.argv` and `HYDRA_FULL_ERROR`."""
    sys.argv = [sys.argv[0], *arguments]
    # Hydra's own error report prints tracebacks and exits with 1; snnlab needs the exceptions.
    os.environ["HYDRA_FULL_ERROR"] = "1"

    @hydra.main(version_base=VERSION_BASE, config_path=str(config_folder()), config_name=PRIMARY)
    def task(cfg: DictConfig) -> None:
        raise AssertionError("Hydra answers before it runs anything")

    with guarded_hydra():
        task()


def compose_experiment(overrides: Sequence[str], config_dir: str | Path | None) -> tuple[Experiment, Path]:
    """Compose one experiment; return it with its run's folder.

    Raises:
        ConfigError: if the configuration cannot be composed or checked.
    """
    for warning in repetition_warnings(overrides):
        _log.warning(warning)
    experiment, (folder,) = _compose(overrides, config_dir, "run.dir")
    where = [] if config_dir is None else ["--config-dir", str(config_dir)]
    experiment = replace(experiment, command=("snnlab", "train", *where, *overrides))
    return experiment, Path(folder).expanduser().absolute()


def compose_grid_run(
    overrides: Sequence[str], config_dir: str | Path | None, number: int, folder: Path | None
) -> tuple[Experiment, Path, Path]:
    """Compose one run of a grid, and return it with the grid's folder and its own.

    Args:
        overrides: Of this run.
        number: Which run it is, from 0.
        folder: The grid's folder; None: a new one, named by the configuration and the current time.

    Raises:
        ConfigError: if the configuration cannot be composed or checked.
    """
    sweep_dir = [f"hydra.sweep.dir={literal(str(folder))}"] if folder else []
    hydra_overrides = [f"hydra.job.num={number}", *sweep_dir]
    experiment, (above, below) = _compose(overrides, config_dir, "sweep.dir", "sweep.subdir", extra=hydra_overrides)
    found = Path(above).expanduser().absolute()
    return experiment, found, found / below


def _compose(
    overrides: Sequence[str], config_dir: str | Path | None, *wanted: str, extra: Sequence[str] = ()
) -> tuple[Experiment, tuple[str, ...]]:
    """Compose an experiment, and resolve the wanted settings of `hydra`."""
    user_dir = user_folder(config_dir)
    ready, files = _prepare(overrides, user_dir)
    where = [f"hydra.searchpath=[{literal(f'file://{user_dir}')}]"] if user_dir else []
    ready += [*extra, *where]
    with readable_errors(), preserved_hydra(), guarded_hydra():
        hydra.initialize_config_dir(str(config_folder()), version_base=VERSION_BASE, job_name=PRIMARY)
        try:
            cfg = hydra.compose(PRIMARY, ready, return_hydra_config=True)
        except ConfigCompositionException as error:
            if found := type_conflict(files, _resolved(hydra.compose(PRIMARY))) if files else None:
                raise found from error
            raise
        _require_places(cfg, ready, files, where)
        HydraConfig.instance().set_config(cfg)
        plain = cfg.copy()
        with open_dict(plain):
            node = plain.pop("hydra")
        experiment = _check_with_origin(plain, node, user_dir, files)
        found = tuple(str(OmegaConf.select(cfg.hydra, key)) for key in wanted)
    if empty := next((key for key, folder_name in zip(wanted, found, strict=True) if not folder_name.strip()), None):
        raise ConfigError(f"hydra.{empty}", "is empty", "name a folder")
    return experiment, found


def _require_places(cfg: DictConfig, ready: Sequence[str], files: Sequence[OwnFile], where: Sequence[str]) -> None:
    """Refuse a new layer without `after`: it would come after the readout.

    Args:
        cfg: The composed configuration.
        ready: Overrides for Hydra.
        files: The chosen files of the user.
        where: Overrides with the search path of files.
    """
    layers = OmegaConf.select(cfg, "model.layers")
    in_files = {name: one.path for one in files if one.group in GLOBAL_GROUPS for name in _layers(one.loaded)}
    typed = [match["name"] for text in ready if (match := _LAYER.match(text))]
    nodes = layers if isinstance(layers, DictConfig) else {}
    new = [name for name in [*typed, *in_files] if isinstance(nodes.get(name), DictConfig) and "type" in nodes[name]]
    unplaced = [name for name in new if "after" not in nodes[name]]
    choice = cfg.hydra.runtime.choices.get("model")
    if not unplaced or choice is None:
        return
    before = OmegaConf.select(hydra.compose(PRIMARY, [f"model={quoted(choice)}", *where]), "model.layers") or {}
    for name in unplaced:
        if before and name not in before:
            place = f"model.layers.{name}"
            path = None if name in typed else in_files[name]
            at = f"{path}:{line_of(path, place, '')}: " if path else ""
            raise ConfigError(f"{at}{place}", "a new layer needs its place", "set after: NAME", before)


def _layers(content: Mapping[str, Any]) -> list[str]:
    """Return the names of the layers that an experiment's file sets."""
    model = content.get("model")
    layers = model.get("layers") if isinstance(model, Mapping) else None
    return list(layers) if isinstance(layers, Mapping) else []


def _prepare(overrides: Sequence[str], user_dir: Path | None) -> tuple[list[str], list[OwnFile]]:
    """Return overrides for Hydra, and the user's files that they choose, checked."""
    names = groups(config_folder(), user_dir)
    typed = read_overrides(overrides, user_dir)
    return mark_overrides(typed, names), check_chosen(user_dir, typed, names)


def read_overrides(overrides: Sequence[str], user_dir: Path | None) -> list[str]:
    """Return overrides in Hydra's grammar.

    Raises:
        ConfigError: for an argument that is not an override, or sets something that snnlab does not use.
    """
    require_overrides(overrides, user_dir)
    return to_hydra_grammar(overrides, groups(config_folder(), user_dir))


def _resolved(cfg: DictConfig) -> dict[str, Any]:
    plain = OmegaConf.to_container(cfg, resolve=False)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def _check_with_origin(cfg: DictConfig, hydra_node: Any, user_dir: Path | None, files: Sequence[OwnFile]) -> Experiment:
    # Not resolved: in this list a relative reference has another target than in its own place.
    choices = {str(group): name for group, name in hydra_node.runtime.choices.items()}
    typed = OmegaConf.to_container(hydra_node.overrides.task, resolve=False)
    assert isinstance(typed, list)
    keys = [key for key in map(key_of, typed) if key not in choices]
    origin = Origin(tuple(files_and_packages(files)), tuple(keys))
    try:
        experiment = check_config(cfg, tuple(folder for folder in (config_folder(), user_dir) if folder), choices)
        check_trainer(experiment.trainer, test=experiment.test)
        require_typed_plugins(experiment.plugins, keys)
    except ConfigError as error:
        raise origin.locate(error) from error
    return replace(experiment, origin=origin)


@contextmanager
def preserved_hydra() -> Iterator[None]:
    """Restore the global Hydra state of the calling program afterwards."""
    outer, outer_config = GlobalHydra.instance().hydra, HydraConfig.instance().cfg
    GlobalHydra.instance().clear()
    try:
        yield
    finally:
        GlobalHydra.instance().hydra = outer
        HydraConfig.instance().cfg = outer_config


def parse_assignment(text: str) -> tuple[str, Any]:
    """Return the key and the value of `KEY=VALUE`.

    Raises:
        ConfigError: if it cannot be parsed, or has several values.
    """
    with readable_errors():
        (parsed,) = OverridesParser.create().parse_overrides(to_hydra_grammar([text], ()))
    if parsed.is_sweep_override():
        raise ConfigError(text, "takes one value", "a list is written [a,b]")
    return parsed.key_or_group, parsed.value()


def set_entry(settings: dict[str, Any], key: str, value: Any) -> None:
    """Set a value, or one entry of a mapping, such as `submitit.cluster`.

    Args:
        settings: The settings, changed in place.
        key: The setting's name, with `.ENTRY` for an entry of a mapping.

    Raises:
        ConfigError: if the setting of an entry is not a mapping.
    """
    head, _, leaf = key.partition(".")
    if not leaf:
        settings[head] = value
        return
    entries = settings.get(head) or {}
    if not isinstance(entries, Mapping):
        raise ConfigError(key, f"{head} has no entries", f"write {head}=VALUE")
    settings[head] = {**entries, leaf: value}


def refuse_misspelled(text: str, known: Collection[str], user_dir: Path | None) -> None:
    """Refuse an override of no experiment's setting that looks like a misspelled setting of another command.

    Args:
        known: The settings of that command.
        user_dir: The user's folder of YAML files.

    Raises:
        ConfigError: with the setting that is likely meant.
    """
    word = key_of(text).partition(".")[0]
    others = {one.name for one in fields(Experiment)} | groups(config_folder(), user_dir)
    if word not in others and (meant := did_you_mean(word, known)):
        raise ConfigError(text, f"there is no setting '{word}'", meant)
