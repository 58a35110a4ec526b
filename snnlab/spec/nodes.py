"""A node of a YAML becomes the dataclass that describes it; so do the nodes in it."""

from __future__ import annotations

import types
from collections.abc import Collection, Mapping, Sequence
from dataclasses import is_dataclass, replace
from typing import Any, TypeVar, Union, get_args, get_origin

from snnlab.errors import child_key
from snnlab.spec.annotations import metadata_of
from snnlab.spec.field import Field
from snnlab.spec.signatures import check_known, fields_of

T = TypeVar("T")


def load(kind: type[T], node: Mapping[str, Any], place: str, label: str, supplied: Collection[str] = ()) -> T:
    """Return a dataclass with the settings of a node, checked; settings that are dataclasses are made of their nodes.

    Args:
        kind: The dataclass.
        node: The settings.
        place: Key of the node.
        label: The user's name for the owner of the settings.
        supplied: Fields that the caller adds.
    """
    known = fields_of(kind, supplied)
    described = {name: found for name, field in known.items() if (found := described_by(field.annotation)) is not None}
    check_known({**known, **{name: _as_node(known[name]) for name in described}}, node, place, label)
    made = {
        name: _load_inner(described[name], value, child_key(place, name))
        for name, value in node.items()
        if name in described and value is not None
    }
    return kind(**{**node, **made})


def described_by(annotation: Any) -> type | None:
    """Return the dataclass that describes a node, or each node of a list; None if the annotation is another one."""
    members = _members(annotation)
    if len(members) == 1 and _is_list_type(members[0]):
        members = _members((*get_args(members[0]), None)[0])
    return members[0] if len(members) == 1 and isinstance(members[0], type) and is_dataclass(members[0]) else None


def _members(annotation: Any) -> list[Any]:
    """Return the types of a union without null, or the type itself."""
    plain = metadata_of(annotation)[0]
    every = get_args(plain) if get_origin(plain) in (Union, types.UnionType) else (plain,)
    return [one for one in every if one is not type(None)]


def _as_node(field: Field) -> Field:
    plain: Any = Sequence[Mapping[str, Any]] if _is_list_type(_members(field.annotation)[0]) else Mapping[str, Any]
    return replace(field, annotation=plain | None if type(None) in get_args(field.annotation) else plain)


def _is_list_type(annotation: Any) -> bool:
    origin = get_origin(annotation)
    return isinstance(origin, type) and issubclass(origin, Sequence)


def _load_inner(kind: type, value: Any, place: str) -> Any:
    if isinstance(value, Mapping):
        return load(kind, value, place, "it")
    return tuple(load(kind, one, f"{place}.{number}", "it") for number, one in enumerate(value))
