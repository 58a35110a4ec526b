"""The settings of a sweep: a file of configs/sweep or of the user's, with `sweep.KEY=VALUE` on top."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from snnlab.config.catalog import group_files
from snnlab.config.compose import readable_errors
from snnlab.errors import ConfigError, did_you_mean, listing

GROUP = "sweep"
DEFAULT = "default"


def sweep_settings(overrides: Sequence[str], own: Path | None) -> tuple[dict[str, Any], list[str]]:
    """Return the settings of a search, and the overrides that every trial has.

    Args:
        overrides: As typed.
        own: The user's folder of YAML files.

    Raises:
        ConfigError: if the file is missing or is no mapping, or an override cannot be read.
    """
    chosen = [text.partition("=")[2] for text in overrides if text.startswith(f"{GROUP}=")]
    if len(chosen) > 1:
        raise ConfigError(f"sweep: choose one file, not {listing(chosen)}")
    name = chosen[0] if chosen else DEFAULT
    given, others = given_settings([text for text in overrides if not text.startswith(f"{GROUP}=")])
    settings = read_sweep(name, own)
    for key, value in given.items():
        head, _, leaf = key.partition(".")
        if leaf:  # one entry of a mapping, such as sweep.submitit.cluster
            settings[head] = {**(settings.get(head) or {}), leaf: value}
        else:
            settings[key] = value
    return settings, others


def read_sweep(name: str, own: Path | None) -> dict[str, Any]:
    """Return what a sweep's file says.

    Raises:
        ConfigError: if there is none of this name, or it is no mapping.
    """
    files = group_files(GROUP, own)
    if name not in files:
        raise ConfigError(f"sweep={name}: there is no such file.{did_you_mean(name, files)}\n  {listing(files)}")
    with readable_errors():
        page = OmegaConf.to_container(OmegaConf.load(files[name]))
    if not isinstance(page, Mapping):
        raise ConfigError(f"{files[name]}: expected settings such as space: {{...}}")
    return {str(key): value for key, value in page.items()}


def given_settings(overrides: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Return the values of `sweep.KEY=VALUE` by key, and the other overrides.

    Raises:
        ConfigError: if one cannot be read.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser

    given: dict[str, Any] = {}
    others = []
    for text in overrides:
        plain = text.lstrip("+")
        if not plain.startswith(f"{GROUP}."):
            others.append(text)
            continue
        with readable_errors():
            parsed = OverridesParser.create().parse_overrides([plain])[0]
        if parsed.is_sweep_override():
            raise ConfigError(f"{text}: takes one value; a list is written [a,b]")
        given[parsed.key_or_group.removeprefix(f"{GROUP}.")] = parsed.value()
    return given, others
