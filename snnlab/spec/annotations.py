"""Annotations: whether a value fits one, and its text for a message."""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from snnlab.errors import join_names
from snnlab.spec.interval import Interval


def describe_type(annotation: Any, interval: Interval | None = None) -> str:
    """Return an annotation as text: `a whole number >= 1`, `one of exact, euler`, `a number or text`."""
    annotation = metadata_of(annotation)[0]
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return f"one of {join_names(map(str, args))}"
    if origin in (Union, types.UnionType):
        plain = [a for a in args if a is not type(None) and not _is_class(a)] or args
        described = [describe_type(a, interval) for a in plain]
        return " or ".join(described) + (" or null" if type(None) in args else "")
    ends = f" {interval}" if interval and interval.has_ends else ""
    if _is_abc(origin or annotation, Sequence):
        inner = [a for a in args if a is not Ellipsis]
        if not inner or inner[0] is Any:
            return "a list"
        if get_origin(inner[0]) in (Union, types.UnionType):
            return f"a list, each of it {describe_type(inner[0], interval)}"
        of = describe_type(inner[0])
        of = of.replace("a list", "lists", 1) if of.startswith("a list") else f"{of.removeprefix('a ')}s"
        return f"a list of {of}{ends}"
    if _is_abc(origin or annotation, Mapping):
        return "a mapping"
    type_names = {bool: "true or false", int: "a whole number", float: "a number", str: "text", type(None): "null"}
    return type_names.get(annotation, getattr(annotation, "__name__", str(annotation))) + (
        ends if annotation in (int, float) else ""
    )


def matches_type(value: Any, annotation: Any) -> bool:
    """Return whether a value is of the type of an annotation; one of an unknown kind accepts everything."""
    annotation = metadata_of(annotation)[0]
    origin, args = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return any(matches_type(value, a) for a in args)
    if origin is Literal:
        return value in args and not (isinstance(value, bool) and True not in args and False not in args)
    if origin is tuple and Ellipsis not in args:
        return is_list(value) and len(value) == len(args) and all(map(matches_type, value, args))
    if _is_abc(origin or annotation, Sequence):
        return is_list(value) and all(matches_type(v, args[0]) for v in value if args)
    if _is_abc(origin or annotation, Mapping):
        return isinstance(value, Mapping)
    if annotation in (int, float):
        numbers = (int,) if annotation is int else (int, float)
        return isinstance(value, numbers) and not isinstance(value, bool)
    if annotation in (bool, str):
        return isinstance(value, annotation)
    if annotation in (None, type(None)):
        return value is None
    return isinstance(value, annotation) if _is_class(annotation) else True


def is_any_number(annotation: Any) -> bool:
    """Return whether an annotation has `float` and not `int`, which may mean something else, such as a count."""
    is_union = get_origin(annotation) in (Union, types.UnionType)
    members = [metadata_of(member)[0] for member in (get_args(annotation) if is_union else (annotation,))]
    return float in members and int not in members


def _is_class(annotation: Any) -> bool:
    """Return whether an annotation is a class such as Tensor, of which no value in a YAML is an instance."""
    return (
        isinstance(annotation, type)
        and annotation.__module__ != "builtins"
        and annotation is not Any
        and not (getattr(annotation, "_is_protocol", False) or get_origin(annotation))
    )


def is_list(value: Any) -> bool:
    """Return whether a value is a list or a tuple."""
    return isinstance(value, Sequence) and not isinstance(value, str)


def _is_abc(origin: Any, abc: type) -> bool:
    return isinstance(origin, type) and origin is not str and issubclass(origin, abc)


def value_text(value: Any) -> str:
    """Return a value as text for a message."""
    if value is None:
        return "null"
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def metadata_of(annotation: Any) -> tuple[Any, list[Any]]:
    """Return an annotation without its metadata, and the metadata in it or in the members of a union."""
    members = [annotation]
    if get_origin(annotation) in (Union, types.UnionType):
        members = [member for member in get_args(annotation) if get_origin(member) is Annotated]
    elif get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    return annotation, [item for member in members if get_origin(member) is Annotated for item in get_args(member)[1:]]


def named_values(annotation: Any) -> list[str]:
    """Return the values that have names as texts: choices, true and false."""
    if get_origin(annotation) in (Union, types.UnionType):
        return [value for one in get_args(annotation) for value in named_values(one)]
    if get_origin(annotation) is Literal:
        return [str(one) for one in get_args(annotation)]
    return ["true", "false"] if annotation is bool else []


def has_choices(annotation: Any) -> bool:
    """Return whether an annotation names the values, or some of them."""
    if get_origin(annotation) in (Union, types.UnionType):
        return any(map(has_choices, get_args(annotation)))
    return get_origin(annotation) is Literal
