"""Restricts the features of Hydra that YAML files can use, and shortens its errors to one or two lines.

Hydra instantiates `hydra.callbacks`, `hydra.launcher` and `hydra.sweeper` of any class, sets up loggers by any
function, and imports the packages of `hydra.searchpath`, all before snnlab sees the configuration. The user is trusted
with what they type; a file may come from another person.

Hydra has no public hook for every composed file; the methods that are patched below are private, in Hydra 1.3.2 to
1.3.8.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from pathlib import Path
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository
from hydra.core.default_element import ConfigDefault, GroupDefault
from hydra.core.object_type import ObjectType
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import GrammarParseError, OmegaConfBaseException
from yaml import YAMLError

from snnlab.config.folders import config_folder
from snnlab.config.hints import file_hint
from snnlab.config.references import require_bounded, require_printable
from snnlab.config.schema import line_of
from snnlab.errors import ConfigError, did_you_mean, join_names
from snnlab.yaml_files import require_bounded as require_bounded_file

_MISSING = re.compile(r"Interpolation key '([^']+)' not found")
INSTEAD_OF_HYDRA_PLUGINS = "snnlab train -m launcher=joblib trains several runs at a time, snnlab sweep searches"


def explain(error: Exception) -> ConfigError | None:
    """Return an exception of Hydra, OmegaConf or YAML as a ConfigError; None for any other exception."""
    if isinstance(error, MissingConfigException):
        return _missing_file_error(error.missing_cfg_file, error.options, str(error))
    if isinstance(error, OverrideParseException):
        typed = error.override.removeprefix("++")
        if re.match(r"[+~]*[\w.-]+=['\"]", typed):
            return ConfigError(typed, "its quotes do not match")
        return ConfigError(typed, "not an override", "write key=value, and quote lists and mappings for the shell")
    if isinstance(error, YAMLError):
        return _yaml_error(error)
    cause = error.__cause__
    if isinstance(error, ConfigCompositionException) and isinstance(cause, OmegaConfBaseException):
        return _omegaconf_error(cause)
    if isinstance(error, OmegaConfBaseException):
        return _omegaconf_error(error)
    if isinstance(error, HydraException):
        return _other_error(" ".join(str(error).split()))
    return None


def _missing_file_error(name: str | None, options: object, text: str) -> ConfigError:
    if name is None or "/" not in name:
        return ConfigError("", " ".join(text.split()))
    group, _, choice = name.partition("/")
    if group == "hydra":
        return ConfigError(name, "snnlab does not use this plugin of Hydra", INSTEAD_OF_HYDRA_PLUGINS)
    if not isinstance(options, list | tuple):  # Hydra gives no options if a list of files was chosen
        folders = [Path(found) / group for found in re.findall(r"path=file://(.*?)(?=\s+provider=|$)", text, re.DOTALL)]
        options = sorted({path.stem for folder in folders for path in folder.glob("*.yaml")})
    by = re.match(r"In '([^']+)': ", text.strip())
    place = f"{by[1]}.yaml: defaults: " if by and "/" in by[1] else ""
    if instead := file_hint(group, choice):
        return ConfigError(f"{place}{group}={choice}", "there is no such file in this group", instead)
    near = did_you_mean(choice, options)
    return ConfigError(f"{place}{group}={choice}", "there is no such file in this group", near, options)


def _other_error(text: str) -> ConfigError:
    """Return Hydra's remaining messages, the common ones rewritten."""
    if match := re.search(r"Ambiguous value for argument '\+*([^']+)'", text):
        return ConfigError(match[1], "several values need -m, one run each", "a list is written [a,b]")
    if match := re.search(r"Sweep parameters '\+*([^']+)' requires --multirun", text):
        return ConfigError(match[1], "several values need -m, one run each")
    if missing_key := re.search(r"Could not delete from config. '([^']+)' does not exist", text):
        return ConfigError(f"~{missing_key[1]}", "there is nothing of this name to remove")
    if existing := re.search(r"Could not append to config. An item is already at '([^']+)'", text):
        return ConfigError(f"+{existing[1]}", "exists already", "leave out the +")
    if unset := re.search(r"You must specify '([^']+)'.* Available options: (.*)", text):
        return ConfigError(unset[1], "no file is chosen", f"set {unset[1]}=NAME", unset[2].split())
    if folder := re.search(r"Additional config directory '([^']+)' not found", text):
        return ConfigError("--config-dir", f"there is no folder {folder[1]}")
    return ConfigError("", text)


def _yaml_error(error: Exception) -> ConfigError:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or " ".join(str(error).split())
    where = f"{mark.name}, line {mark.line + 1}, column {mark.column + 1}" if mark else "a YAML file"
    return ConfigError(where, f"not valid YAML: {problem}")


def _omegaconf_error(error: Exception) -> ConfigError:
    key = getattr(error, "full_key", None)
    hint = "a folder with '${' in its name must be renamed" if str(key).startswith("hydra.") else ""
    return ConfigError(key or "", _value_message(error), hint or _file_with_reference(str(error)))


def _file_with_reference(message: str) -> str:
    """Return how to choose a packaged file that has the missing setting of a group; empty if none has."""
    missing = _MISSING.search(message)
    group, _, setting = missing[1].partition(".") if missing else ("", "", "")
    files = sorted((config_folder() / group).glob("*.yaml")) if group.isidentifier() else []
    found = [
        path.stem for path in files if re.search(rf"^{re.escape(setting)}:", path.read_text("utf-8"), re.MULTILINE)
    ]
    return f"{group}={found[0]} has it" if found else ""


def _value_message(error: Exception) -> str:
    message = (getattr(error, "msg", None) or str(error)).splitlines()[0]
    if missing := _MISSING.search(message):
        return f"refers to ${{{missing[1]}}}, which does not exist"
    if "Recursive interpolation" in message:
        return "refers to itself"
    if unset := re.search(r"Environment variable '([^']+)' not found", message):
        return f"refers to {unset[1]}, which is not set in the environment"
    if isinstance(error, GrammarParseError):
        return f"is not a reference, such as ${{data.num_bins}}: {message}"
    if "Cannot merge DictConfig with ListConfig" in message:
        return "expected a list, got a mapping; write [{...}, ...]"
    return message


ALLOWED_HYDRA_SETTINGS = ("hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir")
_guarding: ContextVar[bool] = ContextVar("guarding", default=False)


@contextmanager
def guarded_hydra() -> Iterator[None]:
    """Within this context Hydra refuses files that are too large or that configure Hydra itself.

    Raises:
        ConfigError: from inside Hydra, naming the file and the setting.
    """
    token = _guarding.set(True)
    try:
        yield
    finally:
        _guarding.reset(token)


def _patch(cls: type, name: str, make: Any) -> None:
    """Wrap a method; the wrapper checks only inside `guarded_hydra`."""
    original = getattr(cls, name)
    setattr(cls, name, wraps(original)(make(original)))


def _limit_file_size(original: Any) -> Any:
    def load_config(self: ConfigRepository, config_path: str) -> Any:
        if _guarding.get():
            # Hydra joins the path to the folder of its first source, which may be Hydra's own package.
            if os.path.isabs(config_path) or os.pardir in config_path.split("/"):
                raise ConfigError(config_path, "is not a file of a group", "your files are in --config-dir DIR")
            source = self._find_object_source(config_path, ObjectType.CONFIG)
            if source is not None and source.scheme() == "file":
                require_bounded_file(_config_file(source.path, config_path))
        return original(self, config_path)

    return load_config


def _refuse_hydra_settings(original: Any) -> Any:
    def load_single(self: ConfigLoaderImpl, default: Any, repo: Any) -> Any:
        loaded = original(self, default, repo)
        if _guarding.get() and loaded.provider not in ("hydra", "schema"):
            path = _config_file(loaded.path.partition("://")[2], default.config_path)
            if not path.is_relative_to(config_folder().resolve()):
                _require_no_hydra_settings(path, loaded.config, default.package or "")
                _require_no_hydra_choice(path, loaded.defaults_list or ())
        return loaded

    return load_single


def _limit_config_size(original: Any) -> Any:
    def load(self: ConfigLoaderImpl, *arguments: Any, **named: Any) -> Any:
        cfg = original(self, *arguments, **named)
        if _guarding.get():
            raw = OmegaConf.to_container(cfg, resolve=False)
            assert isinstance(raw, dict)
            named = {str(key): value for key, value in raw.items()}
            require_bounded(named)
            require_printable({key: value for key, value in named.items() if key != "hydra"})
        return cfg

    return load


_patch(ConfigRepository, "load_config", _limit_file_size)
_patch(ConfigLoaderImpl, "_load_single_config", _refuse_hydra_settings)
_patch(ConfigLoaderImpl, "load_configuration", _limit_config_size)


def _config_file(folder: str, config_path: str) -> Path:
    name = config_path if config_path.endswith(".yaml") else f"{config_path}.yaml"
    return Path(folder, name).resolve()


def _require_no_hydra_settings(path: Path, composed: Any, package: str) -> None:
    """Refuse a file that configures Hydra, at any place of the configuration."""
    if not isinstance(composed, DictConfig) or "hydra" not in composed:
        return
    raw = OmegaConf.to_container(composed, resolve=False)
    assert isinstance(raw, dict)
    for key in _leaf_places({"hydra": raw["hydra"]}):
        if key not in ALLOWED_HYDRA_SETTINGS:
            place = ".".join(key.split(".")[:2])
            line = line_of(path, place, package) or line_of(path, key, package)
            raise ConfigError(
                f"{path}{f':{line}' if line else ''}",
                f"{place}: of Hydra's settings a file can set only {join_names(ALLOWED_HYDRA_SETTINGS)}",
                "others are for the command line",
            )


def _leaf_places(node: Any, place: str = "") -> Iterator[str]:
    if isinstance(node, Mapping) and node and place not in ALLOWED_HYDRA_SETTINGS:
        for key, value in node.items():
            yield from _leaf_places(value, f"{place}.{key}" if place else str(key))
    else:
        yield place


def _require_no_hydra_choice(path: Path, defaults: Sequence[Any]) -> None:
    """Refuse a file whose defaults choose files of Hydra's own groups."""
    for one in defaults:
        group = one.group if isinstance(one, GroupDefault) else one.path if isinstance(one, ConfigDefault) else None
        steps = (group or "").strip("/").split("/")
        if steps[0] == "hydra":
            raise ConfigError(path, f"defaults: {group}: a file cannot choose for Hydra", "the command line can")
