"""The experiment of a recorded run, and what another user's run can do here.

A run that another user recorded, or that was copied, moved or edited, only defines its network: its user must type
again where recordings are, what is fetched, what is written outside of it, and which code it needs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from datetime import datetime
from pathlib import Path, PurePath
from shlex import quote
from typing import Any, Literal, NamedTuple

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from snnlab.config.compose import (
    check_config,
    compose_experiment,
    parse_assignment,
    read_overrides,
    with_absolute_root,
)
from snnlab.config.folders import config_folder, groups, user_folder
from snnlab.config.hydra_errors import readable_errors
from snnlab.config.hydra_source import ConfigFiles, compose, compose_record
from snnlab.config.overrides import mark_overrides
from snnlab.config.plugins import find_recorded_plugins, kept_plugins, plugins_override
from snnlab.config.references import external_references, has_external_reference, iterate_texts, require_bounded
from snnlab.config.schema import Experiment
from snnlab.errors import ConfigError, RunFolderError, join_names
from snnlab.printable import is_masked, map_texts
from snnlab.runs.recorded import RunFiles, flat, require_form, require_no_file
from snnlab.runs.run_folder import CONFIG, config_text
from snnlab.runs.signature import read_signature
from snnlab.spec.override_texts import key_of, written
from snnlab.zoo import is_packaged

# How a command uses a run: it shows the record; shows the network too; runs the network; reads recordings; trains in
# the run's folder or next to it; trains another run in `output_dir`.
Use = Literal["record", "shape", "network", "data", "training", "another"]
_TRAINS = ("training", "another")
# Loggers and callbacks that write only into the run's folder, if their arguments are only numbers.
_WRITE_INTO_RUN = {
    "lightning.pytorch.loggers.TensorBoardLogger",
    "snnlab.runs.loggers.TensorBoard",
    "snnlab.runs.loggers.StepsCSV",
    "lightning.pytorch.callbacks.EarlyStopping",
    "lightning.pytorch.callbacks.LearningRateMonitor",
    "lightning.pytorch.callbacks.Timer",
}
# It writes a database into `output_dir`, the only thing that a resumed run writes there.
_DATABASE = "lightning.pytorch.loggers.MLFlowLogger"
_TEXT_ARGUMENTS = {"_target_", "monitor", "mode", "logging_interval", "interval"}
# Values that need no quotes in overrides.
_PATH = re.compile(r"[A-Za-z_./][\w./:@%+-]*")
# Settings of Lightning's trainer that write outside of the run's folder or send data.
_WRITING_SETTINGS = ("default_root_dir", "model_registry", "profiler")


class TypedSettings(NamedTuple):
    """The settings of a run that the user typed.

    Attributes:
        settings: Settings that have a value.
        whole: Groups of which a file was chosen, and settings that were set to null or removed.
    """

    settings: Collection[str]
    whole: Collection[str]

    @classmethod
    def of(cls, values: Mapping[str, Any], groups: Collection[str]) -> TypedSettings:
        """Return the typed settings of the values of overrides by key; a mapping sets only its own entries."""
        settings = {place for key, value in values.items() for place in _leaf_places(value, key)}
        return cls(settings, {*groups, *(key for key, value in values.items() if value is None)})

    def has(self, place: str) -> bool:
        """Return whether the user typed a setting, or the setting of a list entry such as `archives[0].url`."""
        return _setting_of(place) in self.settings or any(place.startswith(f"{above}.") for above in self.whole)


def require_named(
    raw: Mapping[str, Any], typed: TypedSettings, use: Use, run: Path, plugins: Collection[str], *, trusted: bool
) -> None:
    """Refuse a run that needs settings which its user must type again.

    Args:
        raw: The run's configuration with the chosen groups, its references unresolved.
        typed: The settings that were typed.
        use: The use of the run.
        plugins: The untrusted plugins that it needs.
        trusted: Whether the user recorded it here, and it is unchanged.
    """
    missing = list(dict.fromkeys(_missing_overrides(raw, typed, use, plugins, trusted=trusted)))
    if missing:
        own_message = (
            "needs settings that are not recorded, are not found from here, or have changed since; type them again:"
        )
        foreign_message = "was not recorded here by you, or was moved or edited since; type again what it may use:"
        raise ConfigError(run, f"{own_message if trusted else foreign_message} {' '.join(missing)}")


def forbids_download(raw: Mapping[str, Any], typed: TypedSettings) -> bool:
    """Return whether a run that is not the user's own must not fetch recordings: the user did not type a download."""
    return "download" in raw["data"] and not typed.has("data.download")


def _missing_overrides(
    raw: Mapping[str, Any], typed: TypedSettings, use: Use, plugins: Collection[str], *, trusted: bool
) -> Iterator[str]:
    if plugins and not typed.has("plugins"):
        yield plugins_override(list(plugins))
    for place, text in iterate_texts(raw) if use in _TRAINS else ():
        if is_masked(text) and not typed.has(place):
            yield f"{_setting_of(place)}=ADDRESS"
    if trusted:
        return
    outside = {_setting_of(place): None for place, _ in external_references(raw) if not typed.has(place)}
    yield from (f"{place}=VALUE" for place in outside)
    typed = typed._replace(settings={*typed.settings, *outside})  # each setting is named once
    if use in ("data", *_TRAINS):
        yield from _missing_of_data(raw["data"], typed)
    if use in _TRAINS:
        yield from _missing_of_training(raw, typed, use)


def _missing_of_data(data: Mapping[str, Any], typed: TypedSettings) -> Iterator[str]:
    for name in ("root", "store_dir", "split_file", "labels", "permutation"):
        path, place = data.get(name), f"data.{name}"
        fine = (
            path is None
            or (name == "permutation" and isinstance(path, int))  # a seed
            or (name == "labels" and not _is_outside(path))
            or (name == "store_dir" and _holds_stores(path))
        )
        if not fine and not typed.has(place):
            yield _override_text(place, path)
    archives = data.get("archives")
    fetches = typed.has("data.download") and not typed.has("data.archives")
    if archives and fetches and archives not in list(_packaged_archives()):
        yield "'data.archives=[...]'"


def _missing_of_training(raw: Mapping[str, Any], typed: TypedSettings, use: Use) -> Iterator[str]:
    targets = [node.get("_target_") for node in _mapping(raw, "logger").values() if isinstance(node, Mapping)]
    writes = use == "another" or _DATABASE in targets
    if writes and _is_outside(raw.get("output_dir", "outputs")) and not typed.has("output_dir"):
        yield _override_text("output_dir", raw["output_dir"])
    if raw.get("init_from") is not None and not typed.has("init_from"):
        yield _override_text("init_from", raw["init_from"])
    weights = _mapping(_mapping(raw, "model"), "weights")
    if weights.get("file") is not None and not typed.has("model.weights.file"):
        yield _override_text("model.weights.file", weights["file"])
    for group in ("logger", "callbacks"):
        for name, node in _mapping(raw, group).items():
            known = typed.has(f"{group}.{name}") or _is_of_plugin(node, raw, typed)
            if not known and not _stays_inside(node, f"{group}.{name}", typed):
                yield "logger=tensorboard" if group == "logger" else _override_text(f"{group}.{name}", node)
    for name in _WRITING_SETTINGS:
        value = _mapping(raw, "trainer").get(name)
        writes = isinstance(value, Mapping) if name == "profiler" else value is not None
        if writes and not all(map(typed.has, _leaf_places(value, f"trainer.{name}"))):
            yield _override_text(f"trainer.{name}", value)


def _mapping(raw: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return a group of settings; empty if it is not a mapping, a mistake that is reported elsewhere."""
    node = raw.get(name)
    return node if isinstance(node, Mapping) else {}


def _is_of_plugin(node: Any, raw: Mapping[str, Any], typed: TypedSettings) -> bool:
    """Return whether a logger or a callback is of a typed plugin, which the user trusts."""
    target = str(node.get("_target_")) if isinstance(node, Mapping) else ""
    return typed.has("plugins") and any(target.startswith(f"{name}.") for name in raw.get("plugins") or ())


def _stays_inside(node: Any, place: str, typed: TypedSettings) -> bool:
    """Return whether a logger or a callback writes only into the run's folder, apart from typed settings."""
    if node is None:
        return True
    if not isinstance(node, Mapping):
        return False
    if node.get("_target_") not in _WRITE_INTO_RUN:
        return typed.has(f"{place}._target_") and all(typed.has(one) for one in _leaf_places(node, place))
    plain = (name in _TEXT_ARGUMENTS or isinstance(value, bool | int | float | None) for name, value in node.items())
    return all(fine or typed.has(f"{place}.{name}") for fine, name in zip(plain, node, strict=True))


def _is_outside(path: Any) -> bool:
    pure = PurePath(str(path))
    return pure.is_absolute() or ".." in pure.parts or str(path).startswith("~")


def _holds_stores(path: Any) -> bool:
    """Return whether a folder of this machine already holds packed recordings."""
    try:
        return any(Path(str(path)).expanduser().glob("*-????????????/manifest.json"))
    except (OSError, ValueError, RuntimeError):  # not a possible path
        return False


def _packaged_archives() -> Iterator[Any]:
    for path in sorted((config_folder() / "data").glob("*.yaml")):
        yield (yaml.safe_load(path.read_text(encoding="utf-8")) or {}).get("archives")


def _override_text(place: str, value: Any) -> str:
    plain = isinstance(value, str) and _PATH.fullmatch(value)
    return quote(f"{place}={value if plain else written(value)}")


def _leaf_places(value: Any, place: str) -> Iterator[str]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _leaf_places(inner, f"{place}.{key}")
    else:
        yield place


def _setting_of(place: str) -> str:
    return place.partition("[")[0]


# Settings of duration, devices, paths and output, which can change when a run is resumed: it learns the same.
CHANGEABLE_ON_RESUME = (
    "trainer.max_epochs",
    "trainer.accelerator",
    "trainer.devices",
    "trainer.num_nodes",
    "trainer.strategy",
    "trainer.enable_progress_bar",
    "trainer.log_every_n_steps",
    "tags",
    "logger",
    "plots",
    "monitors",
    "threads",
    "checkpoint_every_s",
    "test",
    "data.num_workers",
    "data.root",
    "data.store_dir",
    "data.download",
)


def changed_settings(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Return the settings that differ between two records of an experiment: `{setting: [before, now]}`.

    Args:
        before: The run's record.
        now: The same with overrides.
    """
    one, other = flat(before), flat(now)
    names = [name for name in dict.fromkeys([*one, *other]) if one.get(name) != other.get(name)]
    for name in names:
        if has_external_reference(one.get(name)):  # recorded as a reference, for which the user can set a value
            continue
        if not any(name == free or name.startswith(f"{free}.") for free in CHANGEABLE_ON_RESUME):
            raise ConfigError(
                name,
                f"a resumed run keeps {one.get(name)!r}; only {join_names(CHANGEABLE_ON_RESUME)} can change",
                "snnlab train init_from=RUN ... starts another run with its weights",
            )
    return {name: [one.get(name), other.get(name)] for name in names}


# Groups that define a run's network: a file of them would make it another run.
_FIXED = ("model", "experiment", "debug")
# Replaces the `${` of a reference that is not resolved, by a character that no text has.
_MASK = "\ue000{"
_GROUP = re.compile(r"(?P<group>[A-Za-z_]\w*)=(?P<name>[\w-]+)")


def compose_or_open(
    run: Path | None, overrides: Sequence[str], config_dir: str | Path | None, use: Use
) -> tuple[Experiment, Path]:
    """Return the experiment of a run and its folder; without a run that of the overrides, and its new folder."""
    if run is None:
        return compose_experiment(overrides, config_dir)
    return compose_run(run, overrides, config_dir, use), run


def compose_run(
    run: Path,
    overrides: Sequence[str] = (),
    config_dir: str | Path | None = None,
    use: Use = "network",
    begun: Callable[[], Experiment] | None = None,
) -> Experiment:
    """Return the experiment of a run, with overrides applied; the current packaged files are not read.

    A group override, such as `data=dvsgesture`, is the exception: that file is composed separately, and replaces the
    recorded group.

    Args:
        overrides: Overrides of values as for `snnlab train`, and of groups except model, neuron, experiment.
        config_dir: The user's folder, for group overrides.
        use: The use of the run, which decides what the user must type again: `record` and `shape` the least, `another`
            the most.
        begun: Composes the experiment that this process has to train; a run with the same record is trusted.
    """
    recorded = recorded_config(run)
    cfg, user_dir = recorded.copy(), user_folder(config_dir)
    names = groups(config_folder(), user_dir)
    typed_overrides = read_overrides(overrides, user_dir)
    chosen, values = _split_overrides(typed_overrides, names, cfg)
    for group, name in chosen.items():
        cfg[group] = _compose_group_file(group, name, user_dir)[group]
    marked = mark_overrides(values, names)
    typed = _typed_settings(marked, chosen)
    if use not in ("record", "shape"):
        cfg = _with_permitted_references(cfg, typed, use, run, begun)
    raw = OmegaConf.to_container(cfg, resolve=False)
    assert isinstance(raw, dict)
    files = ConfigFiles(record={str(key): value for key, value in raw.items()})
    with readable_errors(files):
        composed = compose_record(files, marked)
    files.choices |= chosen
    with kept_plugins(run):
        experiment = check_config(composed, files, marked, {key_of(text).partition(".")[0] for text in typed_overrides})
    _require_same_classes(cfg, recorded, run)
    if typed.has("data.root"):
        experiment = with_absolute_root(experiment)
    unmasked: dict[str, Any] = {field.name: _unmask(getattr(experiment, field.name)) for field in fields(experiment)}
    experiment = replace(experiment, **{**unmasked, "of_run": run.absolute()})
    if use == "record":
        return replace(experiment, plugins=())
    _require_all_plugins(experiment, list(recorded.get("plugins") or ()), typed, use)
    return experiment


def compose_from_config(path: Path, overrides: Sequence[str], config_dir: str | Path | None) -> tuple[Experiment, Path]:
    """Return the experiment of a run's config.yaml, with overrides applied, and the folder of a new run.

    A config.yaml outside of the folder where its run was recorded is trusted no more than another user's.

    Args:
        path: The file.
        overrides: Overrides of values, and of groups except model, neuron, experiment.
        config_dir: The user's folder, for group overrides.
    """
    folders = [text for text in overrides if key_of(text) == "hydra.run.dir"]
    experiment = compose_run(path.parent, [text for text in overrides if text not in folders], config_dir, "another")
    if folders:
        folder = _folder_of(folders[-1], experiment)
    else:
        time = f"{datetime.now():%Y-%m-%d_%H-%M-%S.%f}_{experiment.seed}"
        folder = Path(experiment.output_dir) / experiment.name / time
    return experiment, folder.expanduser().absolute()


def _folder_of(override: str, experiment: Experiment) -> Path:
    """Return the folder that an override names; it may refer to settings of the experiment."""
    key, value = parse_assignment(override)
    with readable_errors():
        name = str(OmegaConf.create({**(experiment.record or {}), key: value})[key])
    if not name.strip():
        raise ConfigError(key, "is empty", "name a folder")
    return Path(name)


def _typed_settings(overrides: Sequence[str], chosen: Collection[str]) -> TypedSettings:
    with readable_errors():
        parsed = OverridesParser.create().parse_overrides(list(overrides))
    return TypedSettings.of({one.key_or_group: None if one.is_delete() else one.value() for one in parsed}, chosen)


def _with_permitted_references(
    cfg: DictConfig, typed: TypedSettings, use: Use, run: Path, begun: Callable[[], Experiment] | None
) -> DictConfig:
    """Return a configuration whose references can be resolved, if the user typed all settings that it needs."""
    raw: dict[str, Any] = _unmask(OmegaConf.to_container(cfg, resolve=False))
    signature = read_signature(run, CONFIG)
    known = {} if signature is None else signature.plugins
    named = [] if typed.has("plugins") else [str(name) for name in raw.get("plugins") or ()]
    plugins = find_recorded_plugins(run, named, known)
    trusted = signature is not None or is_packaged(run)
    if begun is not None and (plugins or not trusted) and _has_record_of(run, begun()):
        plugins, trusted = [], True
    require_named(raw, typed, use, run, plugins, trusted=trusted)
    if not trusted and forbids_download(raw, typed):
        raw["data"]["download"] = False
    made = OmegaConf.create(raw)
    assert isinstance(made, DictConfig)
    return made


def _has_record_of(run: Path, experiment: Experiment) -> bool:
    return config_text(experiment.record or {}) == RunFiles(run).config_text


def _require_all_plugins(experiment: Experiment, recorded: Sequence[str], typed: TypedSettings, use: Use) -> None:
    """Refuse a run whose plugins were not typed where that is needed, or only some of them."""
    unnamed = use == "shape" and not typed.has("plugins")
    if recorded and (unnamed or set(experiment.plugins) < set(recorded)):
        raise ConfigError(experiment.of_run, f"needs {plugins_override(recorded)}")


def _mask_external(node: Any) -> Any:
    """Return values with references to anything outside of them masked, so that they are not resolved."""
    return map_texts(node, lambda text: text.replace("${", _MASK) if has_external_reference(text) else text)


def _unmask(node: Any) -> Any:
    """Return values with the masked references restored."""
    return map_texts(node, lambda text: text.replace(_MASK, "${"))


def recorded_config(run: Path) -> DictConfig:
    """Return a run's config.yaml.

    References to anything outside of it, such as the environment, are masked; `compose_run` resolves permitted ones.
    """
    path = run / CONFIG
    require_no_file(run)
    if not path.is_file():
        raise RunFolderError(run, f"is not a run's folder, there is no {CONFIG} in it")
    raw = RunFiles(run).config
    require_form(run)
    with readable_errors():
        require_bounded(raw)
        cfg = OmegaConf.create(_mask_external(raw))
    # A record has no `hydra`, which would configure Hydra, and no `defaults`, which would load other files.
    if not isinstance(cfg, DictConfig) or any(name in cfg for name in ("hydra", "defaults")):
        raise RunFolderError(path, "was not written by a run")
    return cfg


def _split_overrides(
    overrides: Sequence[str], names: Collection[str], cfg: DictConfig
) -> tuple[dict[str, str], list[str]]:
    """Return the files chosen by group, and the overrides of values."""
    chosen: dict[str, str] = {}
    values: list[str] = []
    for text in overrides:
        found = _GROUP.fullmatch(text)
        key = key_of(text).partition(".")[0]
        if key == "hydra":
            raise ConfigError(text, "is the folder of a new run", "this run exists")
        if key == "neuron":
            raise ConfigError(
                text,
                "a run's neurons are in its layers",
                (
                    f"override those, such as model.layers.{_spiking_layers(cfg)[0]}.NAME=VALUE (layers:"
                    f" {join_names(_spiking_layers(cfg))})"
                ),
            )
        if found and found["group"] in _FIXED:
            raise ConfigError(text, f"a run's {found['group']} cannot change", "train another run for that")
        if found and found["group"] in names and found["name"] != "null":
            chosen[found["group"]] = found["name"]
        else:
            values.append(text)
    return chosen, values


def _spiking_layers(cfg: DictConfig) -> list[str]:
    """Return the layers that have a threshold, or all if none has one."""
    layers = cfg.model.layers
    return [str(name) for name in layers if "v_threshold" in (layers[name] or {})] or [str(name) for name in layers]


def _compose_group_file(group: str, name: str, user_dir: Path | None) -> Any:
    """Compose the packaged defaults with one chosen file of a group."""
    files = ConfigFiles(user_dir)
    with readable_errors(files):
        return compose(files, [f"{group}={name}"])


def _require_same_classes(cfg: DictConfig, recorded: DictConfig, run: Path) -> None:
    now, then = (OmegaConf.select(node, "data.num_classes") for node in (cfg, recorded))
    if now != then:
        raise ConfigError(
            "data.num_classes",
            f"the network of {run.name} has {then} classes, and these recordings have {now}",
            f"snnlab train init_from={run} trains one that starts with the weights of its other layers",
        )
