"""The values that a step reads besides its arguments, where they stand, and whether they are unchanged."""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any, NamedTuple

import numpy as np
import torch

ABSENT, OWNER, _UNFIXED = object(), object(), object()
# Immutable types, whose values are compared.
PLAIN = frozenset((type(None), bool, int, float, complex, str, bytes, type(...), range, torch.dtype, torch.device))
PLAIN |= {np.bool_, *np.sctypeDict.values()} - {np.object_, np.void}
# Types whose values are compared by identity.
_BY_IDENTITY = (FunctionType, BuiltinFunctionType, type, ModuleType, CodeType, property)


class Reading(NamedTuple):
    """A value that a step has read.

    Attributes:
        read: Reads it again, from the step's object or another one of the same class.
        value: The value, if it cannot change while it is the same object.
        fact: What must be unchanged of it.
    """

    read: Callable[[Any], Any]
    value: Any
    fact: Any


class Readings:
    """What a step has read besides its arguments.

    Attributes:
        values: Values of its object and of other objects.
        names: Global names, each with the names of its module and its value.
        functions: The functions that it has run, with their code and defaults.
    """

    def __init__(self) -> None:
        self.values: list[Reading] = []
        self.names: list[tuple[dict[str, Any], str, Any]] = []
        self.functions: list[tuple[FunctionType, CodeType, Any, Any]] = []

    def add(self, place: ValuePlace, value: Any) -> None:
        """Add a value with its place."""
        fixed = type(value) in PLAIN or value is ABSENT or isinstance(value, (tuple, *_BY_IDENTITY))
        self.values.append(Reading(place.reader(), value if fixed else _UNFIXED, fact_of(value)))

    def are_valid(self, owner: Any) -> bool:
        """Return whether all is unchanged, for an object of the step's class."""
        for function, code, defaults, keywords in self.functions:
            if (
                function.__code__ is not code
                or function.__defaults__ is not defaults
                or function.__kwdefaults__ is not keywords
            ):
                return False
        for names, name, value in self.names:
            if names.get(name, ABSENT) is not value:
                return False
        for read, value, fact in self.values:
            found = read_again(read, owner)
            if found is not value and fact_of(found) != fact:
                return False
        return True


def read_again(read: Callable[[Any], Any], owner: Any) -> Any:
    """Return a value, or `ABSENT`."""
    try:
        return read(owner)
    except (AttributeError, LookupError, ValueError):  # ValueError: a closure's variable without a value
        return ABSENT


class _Same:
    """A value that is compared by identity, and kept, so that no other object gets its address."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.value is other.value

    __hash__ = None  # type: ignore[assignment]


def fact_of(value: Any) -> Any:
    """Return what must be unchanged of a value: the value, its identity, or its type."""
    kind = type(value)
    if kind in PLAIN:
        return _Same(kind), repr(value)  # so that NaN equals NaN, and -0.0 differs from 0.0
    if kind is MethodType:
        return _Same(value.__func__)
    if value is ABSENT or isinstance(value, _BY_IDENTITY):
        return _Same(value)
    return (_Same(kind), *map(fact_of, value)) if isinstance(value, tuple) else _Same(kind)


class ValuePlace(NamedTuple):
    """Where a value stands: a root and the way from it.

    Attributes:
        root: An object, or `OWNER` for the step's own.
        path: Attributes (texts in a 1-tuple), items (keys in a 2-tuple) and functions to apply, in their order.
        text: The place for users, such as `self.gain`.
    """

    root: Any
    path: tuple[Any, ...]
    text: str

    def attribute(self, name: str) -> ValuePlace:
        """Return the place of an attribute."""
        return ValuePlace(self.root, (*self.path, (name,)), f"{self.text}.{name}")

    def item(self, key: Any) -> ValuePlace:
        """Return the place of an item."""
        return ValuePlace(self.root, (*self.path, (None, key)), f"{self.text}[{key!r}]")

    def applied(self, function: Callable[[Any], Any]) -> ValuePlace:
        """Return the place of a function's result."""
        return ValuePlace(self.root, (*self.path, function), f"{function.__name__}({self.text})")

    def reader(self) -> Callable[[Any], Any]:
        """Return a function that reads the place, given the step's object."""
        root, path = self.root, self.path
        if root is OWNER and path and all(isinstance(part, tuple) and len(part) == 1 for part in path):
            return attrgetter(".".join(part[0] for part in path))

        def read(owner: Any) -> Any:
            value: Any = owner if root is OWNER else root
            for part in path:
                if callable(part):
                    value = part(value)
                elif len(part) == 1:
                    value = getattr(value, part[0])
                else:
                    value = value[part[1]]
            return value

        return read
