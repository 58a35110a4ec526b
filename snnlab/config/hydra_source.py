"""Hydra composes files that it reads through a source of ours: each once, the user's checked, the lines of keys kept.

Only Hydra's public face is used: `compose`, and plugins for a source of files and for the search path.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import hydra
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.object_type import ObjectType
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigResult, ConfigSource
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf, open_dict

from snnlab.config.folders import config_folder, groups
from snnlab.config.own_files import ALLOWED_HYDRA_SETTINGS, ConfigFile, hydra_problem, read_own, read_packaged
from snnlab.config.references import require_bounded, require_printable
from snnlab.errors import ConfigError

VERSION_BASE = "1.3"
PRIMARY = "train"


class ConfigFiles:
    """The files that a composition can read, and those that it has read.

    Args:
        user_dir: The user's folder of YAML files.
        record: A composed experiment, which is then the only file.
        made: The content of files that are on no disk, by Hydra's names, such as `model/imported`.

    Attributes:
        groups: Names of the groups.
        read: The files that were read, by Hydra's names for them.
        choices: Names of the chosen files by group, once they are composed.
    """

    def __init__(
        self,
        user_dir: Path | None = None,
        record: Mapping[str, Any] | None = None,
        made: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
    ) -> None:
        self._record = record
        self._user_dir = user_dir
        self._folders = [] if record is not None else [folder for folder in (config_folder(), user_dir) if folder]
        self.groups = groups(*self._folders)
        self.read: dict[str, ConfigFile] = {
            name: ConfigFile(Path(name), os.path.dirname(name), None, content, {}, is_own=False)
            for name, content in made.items()
        }
        self.choices: dict[str, Any] = {}

    def find(self, name: str) -> Path | None:
        """Return the file that Hydra calls `group/name`, or None."""
        if os.path.isabs(name) or os.pardir in name.split("/"):
            raise ConfigError(name, "is not a file of a group", "your files are in --config-dir DIR")
        if name.split("/")[0] == "hydra":
            return None
        paths = (folder / f"{name.removesuffix('.yaml')}.yaml" for folder in self._folders)
        return next((path for path in paths if path.is_file()), None)

    def is_config(self, name: str) -> bool:
        """Return whether there is a file of this name."""
        if self._record is not None:
            return name == PRIMARY
        return name.removesuffix(".yaml") in self.read or self.find(name) is not None

    def is_group(self, name: str) -> bool:
        """Return whether there is a folder of this name."""
        return any((folder / name).is_dir() for folder in self._folders)

    def names(self, group: str, kind: ObjectType | None) -> list[str]:
        """Return the names of the files and folders in a group's folders."""
        found = [path for folder in self._folders for path in (folder / group).glob("*")]
        files = {path.stem for path in found if path.suffix == ".yaml"} if kind is not ObjectType.GROUP else set()
        folders = {path.name for path in found if path.is_dir()} if kind is not ObjectType.CONFIG else set()
        return sorted(files | folders)

    def files_of(self, group: str) -> list[str]:
        """Return the names of the files of a group."""
        return self.names(group, ObjectType.CONFIG)

    def content_of(self, group: str) -> Mapping[str, Any]:
        """Return what the chosen file of a group has set; empty without one."""
        file = self.read.get(f"{group}/{self.choices.get(group)}")
        return {} if file is None else file.content

    def load(self, name: str) -> ConfigFile:
        """Return a file, read and checked the first time."""
        name = name.removesuffix(".yaml")
        if self._record is not None:
            return ConfigFile(Path(name), "", None, self._record, {}, is_own=False)
        if name not in self.read:
            path, group = self.find(name), os.path.dirname(name)
            assert path is not None
            own = not path.is_relative_to(config_folder())
            self.read[name] = read_own(path, group, self.groups) if own else read_packaged(path, group)
            self._require_no_cycle(name)
        return self.read[name]

    def _require_no_cycle(self, name: str) -> None:
        if cycle := self._way(name, name):
            first = min(cycle[:-1], key=list(self.read).index)
            names = [*cycle[cycle.index(first) : -1], *cycle[: cycle.index(first)], first]
            way = " > ".join(self.read[one].path.stem for one in names)
            raise ConfigError(self.read[first].path, f"its defaults lead back to itself: {way}")

    def _way(self, name: str, target: str, above: Sequence[str] = ()) -> list[str] | None:
        """Return the files that lead from one to another by their defaults, or None."""
        for inner in () if name in above or name not in self.read else self._inner(name):
            if inner == target:
                return [*above, name, target]
            if way := self._way(inner, target, [*above, name]):
                return way
        return None

    def _inner(self, name: str) -> Iterator[str]:
        for choice in self.read[name].choices():
            if not choice.overrides and choice.key != "_self_":
                yield from choice.files

    @property
    def own(self) -> list[ConfigFile]:
        """The user's files that were read, in the order in which they are merged: later ones override."""
        merged = [name for name in self._merged(PRIMARY) if self.read[name].is_own]
        others = [name for name, file in self.read.items() if file.is_own and name not in merged]
        return [self.read[name] for name in [*others, *merged]]

    def _merged(self, name: str) -> Iterator[str]:
        """Yield a file and those of its defaults in Hydra's order: `_self_` is last, unless it is in the list."""
        if name not in self.read:
            return
        found = list(self.read[name].choices())
        for choice in found:
            if choice.key == "_self_":
                yield name
            elif not choice.overrides:
                chosen = self.choices.get(choice.group) if choice.group else None
                names = choice.files if chosen is None else (f"{choice.group}/{chosen}",)
                for inner in names:
                    yield from self._merged(inner)
        if all(choice.key != "_self_" for choice in found):
            yield name


_files: ContextVar[ConfigFiles | None] = ContextVar("files", default=None)


class _Source(ConfigSource):
    """Serves the files of the current composition to Hydra."""

    @staticmethod
    def scheme() -> str:
        return "snnlab"

    @property
    def _files(self) -> ConfigFiles:
        found = _files.get()  # Hydra copies its sources, so that what was read is kept elsewhere
        assert found is not None
        return found

    def load_config(self, config_path: str) -> ConfigResult:
        file = self._files.load(config_path)
        # A new node each time: Hydra takes the defaults out of it, and merges others into it.
        return ConfigResult(
            self.provider, str(file.path), OmegaConf.create(dict(file.content)), {"package": file.header}
        )

    def is_group(self, config_path: str) -> bool:
        return self._files.is_group(config_path)

    def is_config(self, config_path: str) -> bool:
        return self._files.is_config(config_path)

    def available(self) -> bool:
        return True

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        return self._files.names(config_path, results_filter)


class _SearchPath(SearchPathPlugin):
    """Puts our source first, so that it sees every path, in place of a plain folder."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        if _files.get() is not None:  # not for a program's own Hydra
            path = search_path.get_path()
            path[:] = [element for element in path if element.provider != "main"]
            search_path.prepend("main", f"{_Source.scheme()}://")


def compose(files: ConfigFiles, overrides: Sequence[str], name: str = PRIMARY) -> DictConfig:
    """Compose a configuration with Hydra's own node; Hydra runs nothing of it.

    Args:
        files: The files; those that are read are kept in it.
        overrides: Overrides in Hydra's grammar.
        name: The root file.
    """
    for plugin in (_Source, _SearchPath):
        Plugins.instance().register(plugin)
    token = _files.set(files)
    try:
        with _preserved_hydra():
            hydra.initialize_config_dir(str(config_folder()), job_name=PRIMARY, version_base=VERSION_BASE)
            cfg = hydra.compose(name, list(overrides), return_hydra_config=True)
    finally:
        _files.reset(token)
    values = _bounded_values(cfg)
    files.choices = files.choices or {str(group): name for group, name in cfg.hydra.runtime.choices.items()}
    if files.own:
        _require_own_hydra(values["hydra"], files)
    return cfg


def compose_record(files: ConfigFiles, overrides: Sequence[str]) -> DictConfig:
    """Compose the only file of a recorded experiment, without Hydra's own node.

    Args:
        files: The record.
        overrides: Overrides in Hydra's grammar; without them nothing is left for Hydra to do.
    """
    if overrides:
        return without_hydra(compose(files, overrides))
    cfg = OmegaConf.create(dict(files.load(PRIMARY).content))
    _bounded_values(cfg)
    return cfg


def _bounded_values(cfg: DictConfig) -> dict[str, Any]:
    """Return the values of a configuration with their references; refuse one that is too large, or not printable."""
    raw = OmegaConf.to_container(cfg, resolve=False)
    assert isinstance(raw, dict)
    values = {str(key): value for key, value in raw.items()}
    require_bounded(values)
    require_printable({key: value for key, value in values.items() if key != "hydra"})
    return values


@contextmanager
def _preserved_hydra() -> Iterator[None]:
    """Restore the global Hydra of the calling program afterwards."""
    outer = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        yield
    finally:
        GlobalHydra.instance().hydra = outer


def without_hydra(cfg: DictConfig) -> DictConfig:
    """Return a copy of a composed configuration without Hydra's own node."""
    plain = cfg.copy()
    with open_dict(plain):
        plain.pop("hydra")
    return plain


@contextmanager
def hydra_values(cfg: DictConfig) -> Iterator[None]:
    """Within this context `${hydra:...}` refers to a composed configuration."""
    outer = HydraConfig.instance().cfg
    HydraConfig.instance().set_config(cfg)
    try:
        yield
    finally:
        HydraConfig.instance().cfg = outer


# What Hydra itself writes into its node, or a user types.
_WRITTEN = (*ALLOWED_HYDRA_SETTINGS, "hydra.runtime", "hydra.overrides", "hydra.job.num", "hydra.job.override_dirname")


@cache
def _packaged_hydra() -> Mapping[str, Any]:
    return _own_values(OmegaConf.to_container(compose(ConfigFiles(), ()).hydra, resolve=False))


def _own_values(node: Any) -> Mapping[str, Any]:
    """Return the values of Hydra's node by key, and its choices among its own groups."""
    found = {place: value for place, value in _leaves(node, "hydra") if not place.startswith(_WRITTEN)}
    chosen = node["runtime"]["choices"].items() if isinstance(node, Mapping) else ()
    return found | {group: name for group, name in chosen if group.startswith("hydra/")}


def _leaves(node: Any, place: str) -> Iterator[tuple[str, Any]]:
    if isinstance(node, Mapping) and node:
        for key, value in node.items():
            yield from _leaves(value, f"{place}.{key}")
    else:
        yield place, node


def _require_own_hydra(node: Any, files: ConfigFiles) -> None:
    """Refuse a composed node that differs from the packaged one: a defaults list can put a harmless file into it."""
    packaged, found = _packaged_hydra(), _own_values(node)
    for key in [*found, *packaged]:
        if key not in found or key not in packaged or found[key] != packaged[key]:
            place = ".".join(key.split(".")[:2])
            for file in files.own:
                if "hydra" in file.content:
                    raise file.error(place, *hydra_problem(), line=file.lines["hydra"])
            raise ConfigError(place, *hydra_problem())
