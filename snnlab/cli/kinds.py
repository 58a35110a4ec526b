"""The kinds that `snnlab list` knows: registries, and the settings that name their entries."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import types
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from platformdirs import user_cache_path

from snnlab.config.folders import file_kinds, group_files, user_folder
from snnlab.registry import Registry
from snnlab.spec.signatures import fields_of
from snnlab.zoo import zoo_names

ZOO = "zoo"
UNIONS = (Union, types.UnionType)
# Attributes of an experiment that no YAML has.
NO_SETTINGS = ("record", "origin", "command", "of_run")
# By kind, entry and setting: the values that a setting takes, if they have names.
Settings = Mapping[str, Mapping[str, Mapping[str, list[str]]]]
# Module and name of each registry, and the settings that name one of its entries.
REGISTRIES = {
    "layers": ("snnlab.nn", "LAYERS", ("model.layers.NAME.type",)),
    "neurons": ("snnlab.nn", "NEURONS", ("neuron.type", "model.layers.NAME.type")),
    "surrogates": ("snnlab.nn", "SURROGATES", ("neuron.surrogate.type", "model.layers.NAME.surrogate.type")),
    "encoders": ("snnlab.nn", "ENCODERS", ("data.encoder.type",)),
    "initializations": ("snnlab.nn", "INITS", ("model.init.type",)),
    "losses": ("snnlab.nn.losses", "LOSSES", ("loss.type", "loss.regularizers.NAME.type")),
    "regularizers": ("snnlab.nn.losses", "REGULARIZERS", ("loss.regularizers.NAME.type",)),
    "rules": ("snnlab.nn.learning", "RULES", ("learning.type",)),
    "datasets": ("snnlab.data.data_settings", "DATASETS", ("data.type",)),
    "representations": (
        "snnlab.data.events.representation",
        "REPRESENTATIONS",
        ("data.representation", "data.representation.type"),
    ),
    "augmentations": ("snnlab.data.augmentation", "AUGMENTATIONS", ("data.augment[].type",)),
    "mixes": ("snnlab.data.mixing", "MIXES", ("data.mix.type",)),
}


def registry(kind: str) -> Registry:
    """Return the registry of a kind, with all its entries."""
    module, name, _ = REGISTRIES[kind]
    return getattr(importlib.import_module(module), name)


def shared_settings(kind: str) -> Callable[..., Any] | None:
    """Return the class with the settings that all entries of a kind share, or None."""
    return importlib.import_module(REGISTRIES[kind][0]).DataSettings if kind == "datasets" else None


@lru_cache
def catalogue() -> Settings:
    """Return the settings of each entry of each kind, and their choices; those of an experiment under empty names.

    They are read from the classes once, and kept in the user's cache until a file of snnlab changes: importing the
    classes brings torch.
    """
    package = Path(__file__).parents[1]
    name = hashlib.sha256(str(package).encode()).hexdigest()[:16]
    path = Path(os.environ.get("SNNLAB_CACHE") or user_cache_path("snnlab")) / f"settings_{name}.json"
    stats = [(one, one.stat()) for one in sorted(package.rglob("*.py"))]
    text = "".join(f"{one} {stat.st_size} {stat.st_mtime_ns}\n" for one, stat in stats)
    state = hashlib.sha256(text.encode()).hexdigest()
    with suppress(OSError, ValueError):
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept["state"] == state:
            return kept["settings"]
    settings = _read_classes()
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.{os.getpid()}")
        part.write_text(json.dumps({"state": state, "settings": settings}), encoding="utf-8")
        part.replace(path)
    return settings


def _read_classes() -> Settings:
    supplied = importlib.import_module("snnlab.runs.console_tables").OWN_ARGUMENTS

    def choices(factory: Callable[..., Any], others: Sequence[str] = supplied) -> dict[str, list[str]]:
        return {name: _values_of(field.annotation) for name, field in fields_of(factory, others).items()}

    found = {kind: {name: choices(registry(kind).get(name, kind)) for name in registry(kind)} for kind in REGISTRIES}
    shared = choices(importlib.import_module(REGISTRIES["datasets"][0]).DataSettings)
    found["datasets"] = {name: {**shared, **own} for name, own in found["datasets"].items()}
    return {**found, "": {"": choices(importlib.import_module("snnlab.config.schema").Experiment, NO_SETTINGS)}}


def _values_of(annotation: Any) -> list[str]:
    if annotation is bool:
        return ["true", "false"]
    if get_origin(annotation) is Literal:
        return [str(one) for one in get_args(annotation)]
    return (
        [value for one in get_args(annotation) for value in _values_of(one)] if get_origin(annotation) in UNIONS else []
    )


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
    return list(catalogue().get(words[0], ()))
