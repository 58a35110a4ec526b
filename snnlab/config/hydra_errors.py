"""Hydra's, OmegaConf's and YAML's own exceptions, in one or two lines with the place and the cure."""

from __future__ import annotations

import re
from pathlib import Path

from snnlab.config.hints import of_file
from snnlab.errors import ConfigError, did_you_mean

HYDRAS_INSTEAD = "snnlab train -m launcher=joblib trains several runs at a time, snnlab sweep searches"


def explain(error: Exception) -> ConfigError | None:
    """Return what the user should read, or None if the exception is not about the configuration."""
    from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException, OverrideParseException
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    if isinstance(error, MissingConfigException):
        return _missing(error.missing_cfg_file, error.options, str(error))
    if isinstance(error, OverrideParseException):
        typed = error.override.removeprefix("++")
        if re.match(r"[+~]*[\w.-]+=['\"]", typed):
            return ConfigError(typed, "its quotes do not match")
        return ConfigError(typed, "not an override", "write key=value, and quote lists and mappings for the shell")
    if isinstance(error, YAMLError):
        return _yaml(error)
    cause = error.__cause__
    if isinstance(error, ConfigCompositionException) and isinstance(cause, OmegaConfBaseException):
        return _omegaconf(cause)
    if isinstance(error, OmegaConfBaseException):
        return _omegaconf(error)
    if isinstance(error, HydraException):
        return _other(" ".join(str(error).split()))
    return None


def _missing(name: str | None, options: object, text: str) -> ConfigError:
    if name is None or "/" not in name:
        return ConfigError("", " ".join(text.split()))
    group, _, choice = name.partition("/")
    if group == "hydra":
        return ConfigError(name, "this plugin of Hydra's is not used here", HYDRAS_INSTEAD)
    if not isinstance(options, list | tuple):  # Hydra does not say, where a list of files was asked for
        folders = [Path(found) / group for found in re.findall(r"path=file://(.*?)(?=\s+provider=|$)", text, re.DOTALL)]
        options = sorted({path.stem for folder in folders for path in folder.glob("*.yaml")})
    by = re.match(r"In '([^']+)': ", text.strip())
    place = f"{by[1]}.yaml: defaults: " if by and "/" in by[1] else ""
    if instead := of_file(group, choice):
        return ConfigError(f"{place}{group}={choice}", "there is no such file in this group", instead)
    near = did_you_mean(choice, options)
    return ConfigError(f"{place}{group}={choice}", "there is no such file in this group", near, options)


def _other(text: str) -> ConfigError:
    """Return Hydra's remaining messages, the common ones in our words."""
    if several := re.search(r"Ambiguous value for argument '\+*([^']+)'", text):
        return ConfigError(several[1], "several values need -m, one run each", "a list is written [a,b]")
    if several := re.search(r"Sweep parameters '\+*([^']+)' requires --multirun", text):
        return ConfigError(several[1], "several values need -m, one run each")
    if gone := re.search(r"Could not delete from config. '([^']+)' does not exist", text):
        return ConfigError(f"~{gone[1]}", "there is nothing of this name to drop")
    if there := re.search(r"Could not append to config. An item is already at '([^']+)'", text):
        return ConfigError(f"+{there[1]}", "is there already", "leave out the +")
    if unset := re.search(r"You must specify '([^']+)'.* Available options: (.*)", text):
        return ConfigError(unset[1], "no file is chosen", f"set {unset[1]}=NAME", unset[2].split())
    if folder := re.search(r"Additional config directory '([^']+)' not found", text):
        return ConfigError("--config-dir", f"there is no folder {folder[1]}")
    return ConfigError("", text)


def _yaml(error: Exception) -> ConfigError:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or " ".join(str(error).split())
    where = f"{mark.name}, line {mark.line + 1}, column {mark.column + 1}" if mark else "a YAML file"
    return ConfigError(where, f"not valid YAML: {problem}")


def _omegaconf(error: Exception) -> ConfigError:
    key = getattr(error, "full_key", None)
    hint = "a folder whose name holds '${' has to be renamed" if str(key).startswith("hydra.") else ""
    return ConfigError(key or "", _of_value(error), hint)


def _of_value(error: Exception) -> str:
    from omegaconf.errors import GrammarParseError

    message = (getattr(error, "msg", None) or str(error)).splitlines()[0]
    if missing := re.search(r"Interpolation key '([^']+)' not found", message):
        return f"refers to ${{{missing[1]}}}, which is not there"
    if "Recursive interpolation" in message:
        return "refers to itself"
    if unset := re.search(r"Environment variable '([^']+)' not found", message):
        return f"refers to {unset[1]}, which is not set in the environment"
    if isinstance(error, GrammarParseError):
        return f"is no reference, such as ${{data.num_bins}}: {message}"
    if "Cannot merge DictConfig with ListConfig" in message:
        return "expected a list, got a mapping; write [{...}, ...]"
    return message
