"""The settings of a sweep: a file of configs/sweep or of the user's, with `sweep.KEY=VALUE` on top."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from snnlab.config.typed import one_value, put, read_file, require_no_slip
from snnlab.errors import ConfigError, listing
from snnlab.search.file_words import require_plain_queue
from snnlab.search.settings import Sweep
from snnlab.settings import key_of

GROUP = "sweep"
DEFAULT = "default"
# What belongs behind `sweep.`; a seed may be the trainings' too.
SETTINGS = {field.name for field in fields(Sweep)} - {"seed"}


def sweep_settings(overrides: Sequence[str], own: Path | None) -> tuple[dict[str, Any], list[str]]:
    """Return the settings of a search, and the overrides that every trial has.

    Args:
        own: The user's folder of YAML files.

    Raises:
        ConfigError: if the file is missing or is no mapping, or an override cannot be read or is the search's own.
    """
    chosen = [text.partition("=")[2] for text in overrides if text.startswith(f"{GROUP}=")]
    if len(chosen) > 1:
        raise ConfigError("sweep", f"choose one file, not {listing(chosen)}")
    name = chosen[0] if chosen else DEFAULT
    given, others = given_settings([text for text in overrides if not text.startswith(f"{GROUP}=")])
    settings = read_sweep(name, own)
    for key, value in given.items():
        put(settings, key, value)
    for text in others:
        _require_training(text, own)
    return settings, others


def read_sweep(name: str, own: Path | None) -> dict[str, Any]:
    """Return what a sweep's file says.

    Raises:
        ConfigError: if there is none of this name, it is no mapping, or it would have a queue run something.
    """
    settings = read_file(GROUP, name, own, "file", "settings such as space: {...}")
    require_plain_queue(settings.get("submitit"), f"{GROUP}.submitit")
    return settings


def given_settings(overrides: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Return the values of `sweep.KEY=VALUE` by key, and the other overrides.

    Raises:
        ConfigError: if one cannot be read.
    """
    given: dict[str, Any] = {}
    others = []
    for text in overrides:
        plain = text.lstrip("+")
        if not plain.startswith(f"{GROUP}."):
            others.append(text)
            continue
        key, value = one_value(plain)
        given[key.removeprefix(f"{GROUP}.")] = value
    return given, others


def _require_training(text: str, own: Path | None) -> None:
    """Refuse what is no override of a training, and is likely meant for the search.

    Raises:
        ConfigError: with what to write.
    """
    key, value = key_of(text), text.partition("=")[2]
    if key in SETTINGS:
        raise ConfigError(text, "is a setting of the sweep", f"write {GROUP}.{text.lstrip('+')}")
    require_no_slip(text, (GROUP, "resume"), own)
    if "," in value and value[0] not in "[{('\"" and "(" not in value:
        raise ConfigError(text, f"several values are a space to search: '{GROUP}.space={{{key}: [{value}]}}'")
