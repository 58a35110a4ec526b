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
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import ConfigCompositionException
from omegaconf import DictConfig, OmegaConf

from snnlab.cards import KEY, parse_card
from snnlab.config.catalogue import catalogue, drop_replaced
from snnlab.config.folders import GLOBAL_GROUPS, config_folder, groups, user_folder
from snnlab.config.hints import setting_hint
from snnlab.config.hydra_errors import readable_errors
from snnlab.config.hydra_source import ConfigFiles, compose, hydra_values, without_hydra
from snnlab.config.layers import expand_layers
from snnlab.config.node_checks import check_nodes
from snnlab.config.overrides import mark_overrides, repetition_warnings, require_overrides, to_hydra_grammar
from snnlab.config.own_files import FIRST_LINE, group_hint, type_conflict
from snnlab.config.plugins import require_typed_plugins
from snnlab.config.references import external_references, iterate_texts
from snnlab.config.schema import NO_SETTINGS, Experiment, ForeignWeights, Origin
from snnlab.config.trainer_settings import check_trainer
from snnlab.errors import ROOT, ConfigError, UnknownSettingError, UnsetError, did_you_mean
from snnlab.experiment_fields import DataFields
from snnlab.printable import masked
from snnlab.spec.annotations import value_text
from snnlab.spec.nodes import load
from snnlab.spec.override_texts import key_of, literal, quoted
from snnlab.spec.signatures import check_settings, fields_of
from snnlab.zoo import run_path

_log = logging.getLogger(__name__)

# Groups whose settings are a mapping; other settings refer to those of _REFERENCED.
_MAPPING_GROUPS = (
    *("data", "trainer", "loss", "learning", "optimizer", "scheduler", "logger", "callbacks", "quantize"),
)
_REFERENCED = ("data", "trainer")
# The first number that does not fit into a signed 64-bit integer.
_TOO_LARGE = 2**63
# The neuron is merged into the layers before they are checked.
_NOT_SETTINGS = ("neuron", *NO_SETTINGS)


def run_name(name: str | None, choices: Mapping[str, Any]) -> str:
    """Return the name of an experiment, MODEL_DATA if it has none."""
    return name or f"{choices.get('model')}_{choices.get('data')}"


def _experiment_name(name: str | None, choices: Mapping[str, Any]) -> str | None:
    """Return an experiment's name; the name `debug` of debug runs is only their folder's."""
    return choices.get("experiment") if choices.get("debug") and name == "debug" else name


# For hydra.run.dir, which Hydra resolves before snnlab's code sees the configuration.
OmegaConf.register_new_resolver("run_name", run_name, replace=True)


def check_config(
    cfg: DictConfig, files: ConfigFiles, given: Sequence[str], checked: Collection[str] | None = None
) -> Experiment:
    """Check a composed configuration and return it resolved.

    Args:
        cfg: The composed configuration without its `hydra` node.
        files: The files that it was composed from.
        given: The overrides.
        checked: The groups whose settings are checked by the types and classes that they name; None: all. A recorded
            run, perhaps of another version, is opened with those of its network and those that are typed.
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
        known = catalogue(plugins_of(raw))
        drop_replaced(known, neuron, model, [key_of(text) for text in given if not text.endswith("=null")])
        raw["model"] = {**model, "layers": expand_layers(model["layers"], neuron, known)}
        for group in GLOBAL_GROUPS:
            _require_nothing(group, raw.pop(group, None))
        _drop_replaced(raw, files)
        raw["name"] = run_name(_experiment_name(raw.get("name"), files.choices), files.choices)
        _name_data(raw.get("data"), files.choices.get("data"))
        _require_values(raw)
        _require_written_addresses(raw)
        resolved = _to_dict(OmegaConf.create(raw), resolve=True)
    _check_known(resolved, neuron)
    experiment = _typed(resolved)
    _check_values(resolved)
    wanted = resolved if checked is None else {name: node for name, node in resolved.items() if name in checked}
    _check_weights(resolved["model"].get("weights"), resolved.get("init_from"))
    if "trainer" in wanted:
        check_trainer(experiment.trainer, test=experiment.test, given_weights=experiment.has_given_weights)
    check_nodes(known, neuron, resolved["model"], wanted, experiment.plugins)
    if unknown := sorted(resolved["model"].keys() - {"layers", "init", "weights", "noise"}):
        hint = f"; {unknown[0]} is a setting next to it: {unknown[0]}.KEY=VALUE" if unknown[0] in resolved else ""
        raise ConfigError("model", f"takes layers, init, weights and noise, got {', '.join(unknown)}{hint}")
    _check_noise(resolved["model"].get("noise"))
    return replace(experiment, neuron=neuron, record=experiment_record(raw, resolved))


# How to do without an optional part.
_WITHOUT = {"plots": "plots=null draws none", "monitors": "monitors=null turns them off"}


def _typed(resolved: Mapping[str, Any]) -> Experiment:
    try:
        return load(Experiment, resolved, ROOT, "an experiment", supplied=_NOT_SETTINGS)
    except ConfigError as error:
        without = _WITHOUT.get(error.place.partition(".")[0], "") if "." in error.key else ""
        raise error.with_fields(hint=error.hint or without) from error


def plugins_of(raw: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the plugins that a composed experiment, which is not yet checked, names."""
    plugins = raw.get("plugins")
    return tuple(name for name in plugins if isinstance(name, str)) if isinstance(plugins, list) else ()


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


def _check_noise(noise: Any) -> None:
    if noise is None:
        return
    if isinstance(noise, bool) or not isinstance(noise, int | float) or noise < 0:
        raise ConfigError("model.noise", f"must be a number >= 0, a part of each weight, got {value_text(noise)}")


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


def _drop_replaced(raw: dict[str, Any], files: ConfigFiles) -> None:
    """Let a setting of an experiment replace the one of the data file that it excludes, such as `dt` its `num_bins`."""
    data = raw.get("data")
    if not isinstance(data, dict):
        return
    in_file, in_experiment = files.content_of("data"), files.content_of("experiment").get("data")
    shared = fields_of(DataFields)
    for one, other in ((shared[name], shared[rival]) for name in shared for rival in shared[name].excludes):
        if data.get(one.name) is None or data.get(other.name) is None:
            continue
        of_file, of_experiment = (_given((one.name, other.name), node) for node in (in_file, in_experiment))
        if len(of_file) != 1 or len(of_experiment) == 2:
            raise ConfigError("data", f"give either {one} or {other}, not both")
        data[of_file.pop()] = None


def _name_data(data: Any, chosen: Any) -> None:
    """Name the data after its YAML file, if that is a user's own and has no name."""
    if isinstance(data, dict) and isinstance(chosen, str) and chosen != data.get("type") and data.get("name") is None:
        data["name"] = chosen.rpartition("/")[2]


def _given(names: Sequence[str], node: Any) -> list[str]:
    return [name for name in names if isinstance(node, Mapping) and node.get(name) is not None]


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


def with_absolute_root(experiment: Experiment) -> Experiment:
    """Return an experiment whose run opens from any folder: its record has the recordings' absolute path."""
    record = experiment.record or {}
    data = record.get("data", {})
    if not isinstance(data.get("root"), str):
        return experiment
    root = str(Path(data["root"]).expanduser().absolute())
    return replace(experiment, record={**record, "data": {**data, "root": root}})


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
# The parts of the configuration that `--cfg` prints.
_CFG_PARTS = {"job": lambda key: key != "hydra", "hydra": lambda key: key == "hydra", "all": lambda key: True}


def print_configuration(
    part: str, package: str | None, overrides: Sequence[str], config_dir: str | None, *, resolve: bool
) -> None:
    """Print the composed configuration; nothing is trained.

    Args:
        part: `job`, `hydra` or `all`.
        package: The key whose value is printed; None: all.
        config_dir: The user's folder of YAML files, or None.
        resolve: Whether references are resolved.
    """
    files, ready = _prepare(overrides, user_folder(config_dir))
    with readable_errors(files):
        cfg = _with_typed(compose(files, ready), overrides)
        with hydra_values(cfg):
            if resolve:
                OmegaConf.resolve(cfg)
        shown = OmegaConf.create(
            {key: value for key, value in _to_dict(cfg, resolve=False).items() if _CFG_PARTS[part](key)}
        )
        node = shown if package in (None, "_global_") else OmegaConf.select(shown, package)
        if node is None:
            raise ConfigError("train: --package", f"there is no '{package}' in the configuration")
        head = "" if node is shown else f"# @package {package}\n"
        print(f"{head}{OmegaConf.to_yaml(node)}" if OmegaConf.is_config(node) else f"{node}\n", end="")


def compose_experiment(
    overrides: Sequence[str],
    config_dir: str | Path | None,
    made: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
) -> tuple[Experiment, Path]:
    """Compose one experiment; return it with its run's folder.

    Args:
        overrides: As typed.
        config_dir: The user's folder of YAML files.
        made: The content of files that are on no disk, by Hydra's names.
    """
    for warning in repetition_warnings(overrides):
        _log.warning(warning)
    experiment, (folder,) = _compose(overrides, config_dir, "run.dir", made=made)
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
    """
    sweep_dir = [f"hydra.sweep.dir={literal(str(folder))}"] if folder else []
    hydra_overrides = [f"hydra.job.num={number}", *sweep_dir]
    experiment, (above, below) = _compose(overrides, config_dir, "sweep.dir", "sweep.subdir", extra=hydra_overrides)
    found = Path(above).expanduser().absolute()
    return experiment, found, found / below


def _compose(
    overrides: Sequence[str],
    config_dir: str | Path | None,
    *wanted: str,
    extra: Sequence[str] = (),
    made: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
) -> tuple[Experiment, tuple[str, ...]]:
    """Compose an experiment, and resolve the wanted settings of `hydra`."""
    user_dir = user_folder(config_dir)
    files, ready = _prepare(overrides, user_dir, made)
    origin = Origin(files, [key for key in map(key_of, ready) if key not in files.groups])
    try:
        with readable_errors(files):
            cfg = _with_typed(_compose_files(files, [*ready, *extra]), overrides)
            with hydra_values(cfg):
                _require_places(cfg, ready, files)
                experiment = check_config(without_hydra(cfg), files, ready)
                require_typed_plugins(experiment.plugins, origin.overridden)
                folders = tuple(str(OmegaConf.select(cfg.hydra, key)) for key in wanted)
    except ConfigError as error:
        raise origin.locate(error) from error.__cause__
    if empty := next((key for key, name in zip(wanted, folders, strict=True) if not name.strip()), None):
        raise ConfigError(f"hydra.{empty}", "is empty", "name a folder")
    return replace(with_absolute_root(experiment), origin=origin), folders


def _with_typed(cfg: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """Give Hydra's node the overrides as they were typed, without our marks, since a folder may be named by them."""
    typed = [text for text in overrides if not text.startswith("hydra.")]
    OmegaConf.set_readonly(cfg.hydra, None)
    cfg.hydra.overrides.task = typed
    cfg.hydra.job.override_dirname = ",".join(sorted(typed))
    return cfg


def _compose_files(files: ConfigFiles, ready: Sequence[str]) -> DictConfig:
    try:
        return compose(files, ready)
    except ConfigCompositionException as error:
        if files.own and (found := type_conflict(files.own, composed_values((), None))):
            raise found from error
        raise


def composed_values(overrides: Sequence[str], user_dir: Path | None) -> dict[str, Any]:
    """Return the values of a composed experiment, unchecked and with their references."""
    files, ready = _prepare(overrides, user_dir)
    return _to_dict(without_hydra(compose(files, ready)), resolve=False)


def _require_places(cfg: DictConfig, ready: Sequence[str], files: ConfigFiles) -> None:
    """Refuse a new layer without `after`: it would come after the readout.

    Args:
        cfg: The composed configuration.
        ready: Overrides for Hydra.
        files: The files that were composed.
    """
    layers = OmegaConf.select(cfg, "model.layers")
    in_files = [name for one in files.own if not one.package for name in _layers(one.content)]
    typed = [match["name"] for text in ready if (match := _LAYER.match(text))]
    nodes = layers if isinstance(layers, DictConfig) else {}
    new = [name for name in [*typed, *in_files] if isinstance(nodes.get(name), DictConfig) and "type" in nodes[name]]
    unplaced = [name for name in new if "after" not in nodes[name]]
    if not unplaced or (choice := files.choices.get("model")) is None:
        return
    before = OmegaConf.select(compose(files, [f"model={quoted(choice)}"]), "model.layers") or {}
    for name in unplaced:
        if before and name not in before:
            raise ConfigError(f"model.layers.{name}", "a new layer needs its place", "set after: NAME", before)


def _layers(content: Mapping[str, Any]) -> list[str]:
    """Return the names of the layers that an experiment's file sets."""
    model = content.get("model")
    layers = model.get("layers") if isinstance(model, Mapping) else None
    return list(layers) if isinstance(layers, Mapping) else []


def _prepare(
    overrides: Sequence[str],
    user_dir: Path | None,
    made: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
) -> tuple[ConfigFiles, list[str]]:
    """Return the files that can be chosen, and the overrides for Hydra."""
    files = ConfigFiles(user_dir, made=made)
    return files, mark_overrides(read_overrides(overrides, user_dir), files.groups)


def read_overrides(overrides: Sequence[str], user_dir: Path | None) -> list[str]:
    """Return overrides in Hydra's grammar."""
    require_overrides(overrides, user_dir)
    return to_hydra_grammar(overrides, groups(config_folder(), user_dir))


def parse_assignment(text: str) -> tuple[str, Any]:
    """Return the key and the value of `KEY=VALUE`."""
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
    """
    word = key_of(text).partition(".")[0]
    others = {one.name for one in fields(Experiment)} | groups(config_folder(), user_dir)
    if word not in others and (meant := did_you_mean(word, known)):
        raise ConfigError(text, f"there is no setting '{word}'", meant)
