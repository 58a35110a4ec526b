"""Shortens the errors of Hydra, OmegaConf and YAML to one or two lines."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import GrammarParseError, OmegaConfBaseException
from yaml import YAMLError

from snnlab.config.folders import config_folder
from snnlab.config.hints import file_hint
from snnlab.config.hydra_source import ConfigFiles
from snnlab.errors import ConfigError, did_you_mean

_MISSING = re.compile(r"Interpolation key '([^']+)' not found")
INSTEAD_OF_HYDRA_PLUGINS = "snnlab train -m launcher=joblib trains several runs at a time, snnlab sweep searches"


@contextmanager
def readable_errors(files: ConfigFiles | None = None) -> Iterator[None]:
    """Turn errors of Hydra, OmegaConf and YAML raised inside into a ConfigError.

    Args:
        files: The files that are composed.
    """
    try:
        yield
    except ConfigError:
        raise
    except Exception as error:
        plain = _explain(error, files)
        if plain is None:
            raise
        raise plain from error


def _explain(error: Exception, files: ConfigFiles | None) -> ConfigError | None:
    """Return an exception of Hydra, OmegaConf or YAML as a ConfigError; None for any other exception."""
    if isinstance(error, MissingConfigException) and files is not None:
        return _missing_file_error(error.missing_cfg_file, str(error), files)
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


def _missing_file_error(name: str | None, text: str, files: ConfigFiles) -> ConfigError:
    if name is None or "/" not in name:
        return ConfigError("", " ".join(text.split()))
    group, _, choice = name.partition("/")
    if group == "hydra":
        return ConfigError(name, "snnlab does not use this plugin of Hydra", INSTEAD_OF_HYDRA_PLUGINS)
    place, message, options = f"{group}={choice}", "there is no such file in this group", files.files_of(group)
    instead = file_hint(group, choice)
    error = ConfigError(place, message, instead or did_you_mean(choice, options), () if instead else options)
    by = re.match(r"In '([^']+)': ", text.strip())
    file = files.read.get(by[1]) if by else None
    for number, entry in enumerate(file.choices() if file is not None and file.is_own else ()):
        if name in entry.files and file is not None:
            return error.with_fields(origin=(file.path, file.lines[f"defaults.{number}"]))
    return error


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
