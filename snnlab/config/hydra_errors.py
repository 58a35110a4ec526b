"""Hydra's, OmegaConf's and YAML's own exceptions, in one or two lines with the place and the cure."""

from __future__ import annotations

import re

from snnlab.errors import ConfigError, did_you_mean, listing


def explain(error: Exception) -> ConfigError | None:
    """Return what the user should read, or None if the exception is not about the configuration."""
    from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException, OverrideParseException
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    if isinstance(error, MissingConfigException):
        return _missing(error.missing_cfg_file, error.options, str(error))
    if isinstance(error, OverrideParseException):
        typed = error.override.removeprefix("++")
        return ConfigError(f"{typed}: not an override; write key=value, and quote lists and mappings for the shell")
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
    group, _, choice = (name or "").rpartition("/")
    if not group or not isinstance(options, list | tuple):
        return ConfigError(" ".join(text.split()))
    if group == "hydra/launcher":
        word = choice.partition("_")[0]
        return ConfigError(
            f"{group}={choice}: this plugin of Hydra's is not installed; snnlab has its own: launcher={word}"
        )
    hint = did_you_mean(choice, options)
    return ConfigError(f"{group}={choice}: there is no such file in this group.{hint}\n  {group}: {listing(options)}")


def _other(text: str) -> ConfigError:
    """Return Hydra's remaining messages, the common ones in our words."""
    if several := re.search(r"Ambiguous value for argument '\+*([^']+)'", text):
        return ConfigError(f"{several[1]}: several values need -m, one run each; a list is written [a,b]")
    if several := re.search(r"Sweep parameters '\+*([^']+)' requires --multirun", text):
        return ConfigError(f"{several[1]}: several values need -m, one run each")
    if gone := re.search(r"Could not delete from config. '([^']+)' does not exist", text):
        return ConfigError(f"~{gone[1]}: there is nothing of this name to drop")
    if folder := re.search(r"Additional config directory '([^']+)' not found", text):
        return ConfigError(f"--config-dir: there is no folder {folder[1]}")
    return ConfigError(text)


def _yaml(error: Exception) -> ConfigError:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or " ".join(str(error).split())
    where = f"{mark.name}, line {mark.line + 1}, column {mark.column + 1}" if mark else "a YAML file"
    return ConfigError(f"{where}: not valid YAML: {problem}")


def _omegaconf(error: Exception) -> ConfigError:
    key = getattr(error, "full_key", None)
    message = (getattr(error, "msg", None) or str(error)).splitlines()[0]
    missing = re.search(r"Interpolation key '([^']+)' not found", message)
    if missing:
        return ConfigError(f"{key}: refers to ${{{missing[1]}}}, which is not there")
    if "Cannot merge DictConfig with ListConfig" in message:
        return ConfigError(f"{key}: expected a list, got a mapping; write [{{...}}, ...]")
    return ConfigError(f"{key}: {message}" if key else message)
