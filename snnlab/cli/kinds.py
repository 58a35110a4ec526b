"""The kinds that `snnlab list` knows: registries, groups of YAML files and trained networks."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any

from snnlab.config.catalogue import REGISTRIES, catalogue
from snnlab.config.folders import file_kinds, group_files, user_folder
from snnlab.registry import Registry
from snnlab.zoo import zoo_names

ZOO = "zoo"


def registry(kind: str) -> Registry:
    """Return the registry of a kind, with all its entries."""
    return getattr(importlib.import_module(REGISTRIES[kind].module), REGISTRIES[kind].registry)


def shared_settings(kind: str) -> Callable[..., Any] | None:
    """Return the class with the settings that all entries of a kind share, or None."""
    return importlib.import_module(REGISTRIES[kind].module).DataSettings if kind == "datasets" else None


def kinds(words: Sequence[str]) -> list[str]:
    """Return the words for `snnlab list`, for completion."""
    return [*REGISTRIES, *file_kinds(user_folder()), ZOO]


def names(words: Sequence[str]) -> list[str]:
    """Return the names of the kind that was typed, for completion."""
    files = file_kinds(user_folder())
    if words[0] == ZOO:
        return zoo_names()
    if words[0] in files:
        return list(group_files(files[words[0]], user_folder()))
    return catalogue().names(words[0])
