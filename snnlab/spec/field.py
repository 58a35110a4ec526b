"""A field: the description of one setting, one argument or one option, read from its annotation.

    width: Annotated[float | None, "ms", above(0), Excludes("height"), Help("Half width at half maximum.")] = None

A text in the annotation is the unit.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeVar

from snnlab.errors import ConfigError
from snnlab.spec.annotations import describe_type, has_choices, is_list, matches_type, metadata_of, value_text
from snnlab.spec.interval import FINITE, Interval

MISSING = inspect.Parameter.empty
N = TypeVar("N")


class Help(NamedTuple):
    """What a field is for, where no docstring has it among its Args."""

    text: str


class Form(NamedTuple):
    """How a text is written that stands for a number, and the numbers beside it.

    Attributes:
        pattern: The texts, as a regular expression.
        expected: What is expected, in words.
        numbers: The valid numbers, where the words name them too.
    """

    pattern: str
    expected: str
    numbers: Interval = FINITE

    def problem(self, value: Any) -> str | None:
        """Return why a text or a number is invalid, or None."""
        is_text, is_number = isinstance(value, str), matches_type(value, float)
        valid = re.fullmatch(self.pattern, value) if is_text else not is_number or value in self.numbers
        return None if valid else f"expected {self.expected}, got {value_text(value)}"


class SettingsOf(NamedTuple):
    """A mapping has the settings of a class, by its full name, without those that are passed to it by the owner."""

    kind: str
    label: str
    supplied: tuple[str, ...] = ()


class ReadBy(NamedTuple):
    """The name of the function that reads a field in place of its value, as for what can be learned."""

    name: str


class NamesReadBy(NamedTuple):
    """A list or a mapping names fields of its class that such a function reads; `problem` is said of another one."""

    name: str
    problem: str


class Excludes:
    """Names of the fields that cannot be given together with this one; it is enough that one of two says it."""

    def __init__(self, *names: str) -> None:
        self.names = names


@dataclass(frozen=True)
class Field:
    """One field: name, annotation without metadata, unit, default (`MISSING` if required), range of its numbers.

    Attributes:
        excludes: Fields that cannot be given together with it: each is another way to set the same quantity.
        help: What it is for, one or more sentences.
        form: How its texts are written.
        settings_of: The class whose settings its mapping has.
        read_by: The function that reads it.
        names_read_by: The function that reads the fields that it names.
    """

    name: str
    annotation: Any
    unit: str = ""
    default: Any = MISSING
    interval: Interval | None = None
    excludes: tuple[str, ...] = ()
    help: str = ""
    form: Form | None = None
    settings_of: SettingsOf | None = None
    read_by: ReadBy | None = None
    names_read_by: NamesReadBy | None = None

    @property
    def required(self) -> bool:
        """Whether the field has no default."""
        return self.default is MISSING

    @property
    def kind(self) -> str:
        """Its type as text."""
        return describe_type(self.annotation, self.interval)

    def problem(self, value: Any) -> str | None:
        """Return why a value is invalid, or None."""
        if not matches_type(value, self.annotation):
            return f"expected {describe_type(self.annotation)}, got {value_text(value)}"
        return self.range_problem(value)

    def range_problem(self, value: Any) -> str | None:
        """Return why a number, or one in a list, is out of range, or a text has another form, or None."""
        if self.form is not None and (problem := self.form.problem(value)):
            return problem
        numbers = [v for v in (value if is_list(value) else [value]) if matches_type(v, float)]
        if self.interval is None or all(number in self.interval for number in numbers):
            return None
        return f"must be {self.interval}, got {value_text(list(value) if is_list(value) else value)}"

    def range_or_choice_problem(self, value: Any) -> str | None:
        """Return why a value is out of range or no choice, or None; Python has more types than a YAML."""
        if isinstance(value, str) and has_choices(self.annotation):
            return self.problem(value)
        return self.range_problem(value)

    def __str__(self) -> str:
        return f"{self.name} ({self.unit})" if self.unit else self.name


def field_of(name: str, annotation: Any, default: Any = MISSING, text: str = "") -> Field:
    """Return the field that an annotation describes; `text` is its help, in place of the annotation's."""
    plain, notes = metadata_of(annotation)

    def first(kind: type[N]) -> N | None:
        return next((note for note in notes if isinstance(note, kind)), None)

    excludes = tuple(name for note in notes if isinstance(note, Excludes) for name in note.names)
    text, rest = text or (first(Help) or Help("")).text, (first(SettingsOf), first(ReadBy), first(NamesReadBy))
    return Field(name, plain, first(str) or "", default, first(Interval), excludes, text, first(Form), *rest)


def with_mutual_exclusions(fields: Mapping[str, Field]) -> dict[str, Field]:
    """Return fields of which each excludes those that exclude it, and none that is not there."""

    def rivals(name: str) -> tuple[str, ...]:
        own = fields[name].excludes
        return tuple(other for other in fields if other != name and (other in own or name in fields[other].excludes))

    return {name: replace(field, excludes=rivals(name)) for name, field in fields.items()}


def chosen(fields: Mapping[str, Field], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of all fields: those given, the defaults of the others, None for what a given one excludes.

    None counts as not given where fields exclude each other.
    """
    require_one(fields, given)
    values = {}
    for name, field in fields.items():
        is_replaced = given.get(name) is None and any(given.get(rival) is not None for rival in field.excludes)
        is_unset = bool(field.excludes) and given.get(name) is None
        values[name] = None if is_replaced else field.default if is_unset else given.get(name, field.default)
    return values


def require_one(fields: Mapping[str, Field], given: Mapping[str, Any], place: str = "") -> None:
    """Raise a ConfigError if two fields are given of which one excludes the other; None counts as not given."""
    for name, field in fields.items():
        rival = next((rival for rival in field.excludes if given.get(rival) is not None), None)
        if rival is not None and given.get(name) is not None:
            raise ConfigError(place, f"give either {field} or {fields[rival]}, not both")


def type_problem(value: Any, annotation: Any) -> str | None:
    """Return why `value` does not fit `annotation`, or None; an annotation of an unknown kind accepts everything."""
    return field_of("", annotation).problem(value)
