"""Keys of an experiment for completion: those of the chosen YAML files, read without Hydra, and of their types.

Hydra decides what a command gets; a key that is missing here is only not proposed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from snnlab.cli.command import FileGroup
from snnlab.config.catalogue import catalogue, class_fields, inner_fields, kind_named_by
from snnlab.config.folders import config_folder, group_files, groups
from snnlab.config.schema import NO_SETTINGS, Experiment
from snnlab.experiment_fields import DataFields
from snnlab.spec.annotations import named_values
from snnlab.spec.field import Field
from snnlab.spec.override_texts import key_of
from snnlab.spec.signatures import fields_of

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_OVERRIDE = re.compile(r"override /?(?P<group>\w+)(?:@\S*)?")
_GLOBAL = re.compile(r"^# @package _global_", re.MULTILINE)
# Groups that only commands of their own choose from, and the settings of Hydra that are used.
_OF_COMMANDS, _OF_HYDRA = {"sweep", "suite"}, ("run", "sweep")
Node = Mapping[str, Any]


def proposals(word: str, before: Sequence[str], user_dir: Path | None, own: FileGroup | None = None) -> list[str]:
    """Return the words that continue a setting: its key, or its value.

    Args:
        word: The beginning of the setting.
        before: The other words of the command line.
        user_dir: The user's folder of YAML files.
        own: The group of the command.
    """
    mark = re.match(r"[+~]*", word)[0]  # pyright: ignore[reportOptionalSubscript]
    key, equals, value = word.removeprefix(mark).partition("=")
    known = groups(config_folder(), user_dir) - _OF_COMMANDS | ({own.name} if own else set())
    if equals and key in known:
        found = list(group_files(key, user_dir))
    else:
        tree = read_tree(before, user_dir, own)
        found = _values(tree, key) if equals else _keys(tree, key, known)
    start = value if equals else key
    return [f"{mark}{key}={one}" if equals else f"{mark}{one}" for one in found if one.startswith(start)]


def _keys(tree: Node, start: str, known: set[str]) -> list[str]:
    place, dot, _ = start.rpartition(".")
    node = _node(tree, place)
    names = {name: isinstance(value, Mapping) for name, value in node.items()}
    names = {**dict.fromkeys(_settings(tree, place), False), **names}
    found = [f"{place}{dot}{name}{'.' if is_node else '='}" for name, is_node in names.items()]
    return sorted([*found, *(() if dot else (f"{group}=" for group in known))])


def _values(tree: Node, key: str) -> list[str]:
    place, _, name = key.rpartition(".")
    if kind := kind_named_by(key):
        return catalogue().names(kind)
    field = _settings(tree, place).get(name)
    value = _node(tree, place).get(name)
    return (named_values(field.annotation) if field else []) or (
        [] if value is None or isinstance(value, list | Mapping) else [yaml_text(value)]
    )


def yaml_text(value: Any) -> str:
    """Return a value of a setting as it is typed."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _node(tree: Node, place: str) -> Node:
    node: Any = tree
    for name in place.split(".") if place else ():
        node = node.get(name) if isinstance(node, Mapping) else None
    return node if isinstance(node, Mapping) else {}


def _settings(tree: Node, place: str) -> Mapping[str, Field]:
    """Return the settings of the type that a node names; those of an experiment without a place."""
    if not place:
        return fields_of(Experiment, NO_SETTINGS)
    if (target := _node(tree, place).get("_target_")) is not None:
        return (class_fields(place, target) or ({}, False))[0]
    kind, type_ = kind_named_by(f"{place}.type"), _node(tree, place).get("type")
    if type_ == "neuron":  # the experiment's neuron, with differences
        kind, type_ = "neurons", _node(tree, "neuron").get("type")
    if kind is None:
        above, _, name = place.rpartition(".")
        field = _settings(tree, above).get(name) if above else None
        return inner_fields(field.settings_of) if field and field.settings_of else {}
    shared = fields_of(DataFields) if kind == "datasets" else {}
    return {**shared, **(catalogue().fields_of(kind, type_) or {})}


def read_tree(words: Sequence[str], user_dir: Path | None, own: FileGroup | None = None) -> Node:
    """Return the keys and values of the files that an experiment's overrides choose."""
    known = groups(config_folder(), user_dir)
    typed = {key_of(word): word.partition("=")[2] for word in words if key_of(word) in known}
    root = _read(config_folder() / "train.yaml")
    chosen = {group: name for group, name in _defaults(root) if group in known}
    chosen |= {own.name: own.default} if own else {}
    chosen |= typed
    for _ in range(3):  # an experiment chooses a model, which chooses a neuron
        for group, name in list(chosen.items()):
            for path in _files(group, name, user_dir):
                chosen |= {key: one for key, one in _defaults(_read(path)) if key in known and key not in typed}
    tree = root
    for group, name in chosen.items():
        for path in _files(group, name, user_dir):
            node = _read(path)
            is_global = _GLOBAL.search(path.read_text(encoding="utf-8"))
            tree = _merged(tree, node if is_global else {group: node})
    used = {name: value for name, value in tree["hydra"].items() if name in _OF_HYDRA}
    return {**{name: value for name, value in tree.items() if name != "defaults"}, "hydra": used}


def _read(path: Path) -> Node:
    node = yaml.load(path.read_text(encoding="utf-8"), _LOADER)
    return node if isinstance(node, Mapping) else {}


def _defaults(node: Node) -> Iterator[tuple[str, Any]]:
    """Yield the groups and files that the defaults list of a file chooses."""
    for entry in node.get("defaults") or ():
        for key, name in entry.items() if isinstance(entry, Mapping) else ():
            found = _OVERRIDE.fullmatch(key)
            yield found["group"] if found else key.strip("/").partition("@")[0], name


def _files(group: str, name: Any, user_dir: Path | None) -> Iterator[Path]:
    """Yield a chosen file, after those of its group that it includes."""
    path = group_files(group, user_dir).get(str(name))
    if path is None:
        return
    for entry in _read(path).get("defaults") or ():
        if isinstance(entry, str) and entry not in ("_self_", path.stem):
            yield from _files(group, entry, user_dir)
    yield path


def _merged(low: Node, high: Node) -> Node:
    """Return two nodes as one; the second one wins."""
    both = {
        name: _merged(low[name], high[name]) for name in low.keys() & high.keys() if _are_nodes(low[name], high[name])
    }
    return {**low, **high, **both}


def _are_nodes(*values: Any) -> bool:
    return all(isinstance(value, Mapping) for value in values)
