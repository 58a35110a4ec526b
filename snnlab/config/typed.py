"""What is typed for a sweep, a suite or a launcher beside the overrides of their trainings."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from snnlab.config.catalog import group_files
from snnlab.config.compose import readable_errors
from snnlab.config.folders import config_folder, groups
from snnlab.config.overrides import checked
from snnlab.config.own_files import check_file
from snnlab.config.schema import Experiment
from snnlab.errors import ConfigError, did_you_mean
from snnlab.settings import key_of


def read_file(group: str, name: str, own: Path | None, what: str, example: str) -> dict[str, Any]:
    """Return what a group's file says.

    Args:
        own: The user's folder of YAML files.
        what: What such a file is.
        example: What it may say.

    Raises:
        ConfigError: if there is none of this name, or it is no mapping.
    """
    files = group_files(group, own)
    if name not in files:
        own_ones = "" if own else f"one of yours is in --config-dir DIR, as DIR/{group}/NAME.yaml"
        raise ConfigError(f"{group}={name}", f"there is no such {what}", did_you_mean(name, files) or own_ones, files)
    with readable_errors():
        check_file(files[name], group)
        page = OmegaConf.to_container(OmegaConf.load(files[name]))
    if not isinstance(page, Mapping):
        raise ConfigError(files[name], f"expected {example}")
    return {str(key): value for key, value in page.items()}


def one_value(text: str) -> tuple[str, Any]:
    """Return the key and the value of `KEY=VALUE`.

    Raises:
        ConfigError: if it cannot be read, or has several values.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser

    with readable_errors():
        (parsed,) = OverridesParser.create().parse_overrides(checked([text], ()))
    if parsed.is_sweep_override():
        raise ConfigError(text, "takes one value", "a list is written [a,b]")
    return parsed.key_or_group, parsed.value()


def put(settings: dict[str, Any], key: str, value: Any) -> None:
    """Set a value, or one entry of a mapping, such as `submitit.cluster`.

    Args:
        settings: Where.
        key: The setting's name, with that of the entry behind a dot.

    Raises:
        ConfigError: if there is another thing than a mapping.
    """
    head, _, leaf = key.partition(".")
    if not leaf:
        settings[head] = value
        return
    there = settings.get(head) or {}
    if not isinstance(there, Mapping):
        raise ConfigError(key, f"{head} has no entries", f"write {head}=VALUE")
    settings[head] = {**there, leaf: value}


def require_no_slip(text: str, known: Collection[str], own: Path | None) -> None:
    """Refuse an override that is of no experiment, and nearly a word of another command's.

    Args:
        known: These words.
        own: The user's folder of YAML files.

    Raises:
        ConfigError: with the word that is likely meant.
    """
    word = key_of(text).partition(".")[0]
    others = {one.name for one in fields(Experiment)} | groups(config_folder(), own)
    if word not in others and (meant := did_you_mean(word, known)):
        raise ConfigError(text, f"there is no setting '{word}'", meant)
