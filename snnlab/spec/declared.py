"""Classes whose settings are annotated attributes: constructor, checks, signature and help are made from them.

    class Leak(Declared):
        tau: Annotated[float | None, "ms", above(0), Excludes("factor")] = 20.0
        factor: Annotated[float | None, between(0, 1)] = None

Subclasses inherit the fields of their bases, which come first, and may change a default. A class may have an
`__init__` of its own instead. Type checkers know each argument, by PEP 681.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from typing import (
    Annotated,
    Any,
    ClassVar,
    Generic,
    Literal,
    NamedTuple,
    TypeVar,
    dataclass_transform,
    get_args,
    get_origin,
)

from snnlab.errors import ConfigError
from snnlab.spec.docstrings import argument_texts
from snnlab.spec.field import MISSING, Field, ReadBy, chosen, field_of, with_mutual_exclusions

Given = TypeVar("Given")
Read = TypeVar("Read")


class Converted(Generic[Given, Read]):
    """In an annotation: a field that is given as one type and read as another."""

    def __get__(self, owner: Any, kind: Any = None) -> Read:
        raise NotImplementedError

    def __set__(self, owner: Any, value: Given) -> None:
        raise NotImplementedError


class _Attribute(NamedTuple):
    """What `setting` declares of an annotated attribute, and whether it is a setting at all."""

    default: Any
    kw_only: bool = True
    is_setting: bool = True
    read_by: Callable[[str], property] | None = None
    alias: str | None = None


def setting(
    *,
    default: Any = MISSING,
    kw_only: bool = True,
    read_by: Callable[[str], property] | None = None,
    alias: str | None = None,
) -> Any:
    """Declare what a plain default cannot.

    Args:
        default: The default; without it the setting is required.
        kw_only: Whether the argument needs its keyword.
        read_by: Returns, for its name, the property that reads the attribute and sets it.
        alias: Name of the setting and argument, where the attribute has another one.
    """
    return _Attribute(default, kw_only, True, read_by, alias)


def no_setting(value: Any = MISSING, *, init: Literal[False] = False) -> Any:
    """Declare an attribute that is no setting, or no longer the one of a base; without a value `prepare` makes it."""
    return _Attribute(value, is_setting=init)


class _Constructor(NamedTuple):
    """Fields, signature and attributes, by field, of a constructor that is made from annotated attributes."""

    fields: Mapping[str, Field]
    signature: inspect.Signature
    attributes: Mapping[str, str]


class _OfClass:
    """What a class has unless it has an `__init__` of its own: `__fields__`, and `__signature__`, for `inspect`."""

    def __set_name__(self, kind: Any, name: str) -> None:
        self.name = name

    def __get__(self, owner: Any, kind: Any) -> Any:
        if owner is not None or kind.__init__ is not Declared.__init__:
            raise AttributeError(self.name)
        return getattr(_constructor_of(kind), self.name.strip("_"))


@dataclass_transform(kw_only_default=True, field_specifiers=(setting, no_setting))
class Declared:
    """Base of classes whose settings are annotated attributes; the place of an error is the setting."""

    __fields__: ClassVar[Any] = _OfClass()
    __signature__: ClassVar[Any] = _OfClass()
    _attributes: ClassVar[Mapping[str, _Attribute]] = {}
    _constructor: ClassVar[_Constructor]

    def __init_subclass__(cls, **others: Any) -> None:
        super().__init_subclass__(**others)
        cls._attributes = {}
        for name, annotation in inspect.get_annotations(cls).items():
            if _is_class_variable(annotation):
                continue
            value = vars(cls).get(name, MISSING)
            plain = not isinstance(value, _Attribute)
            one = cls._attributes[name] = _Attribute(value) if plain else value
            if one.read_by is not None:
                setattr(cls, name, one.read_by(name))
            elif not one.is_setting and one.default is not MISSING:
                setattr(cls, name, one.default)
            elif name in vars(cls) and (not plain or _is_elsewhere(cls, name)):
                delattr(cls, name)

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        fields, signature, attributes = _constructor_of(type(self))
        try:
            given = signature.bind(*arguments, **settings).arguments
        except TypeError as error:
            raise TypeError(f"{type(self).__name__}() {error}") from None
        for name, value in given.items():
            if problem := fields[name].range_or_choice_problem(value):
                raise ConfigError(name, problem)
        super().__init__()
        for name, value in chosen(fields, given).items():
            setattr(self, attributes[name], float(value) if fields[name].annotation is float else value)
        self.prepare()

    def prepare(self) -> None:
        """Derive what the settings determine, and check them together; a subclass derives its own, then calls this."""


def declared_fields(kind: type[Declared]) -> Mapping[str, Field]:
    """Return the fields of a class."""
    return _constructor_of(kind).fields


def _is_class_variable(annotation: Any) -> bool:
    """Return whether an annotation, evaluated or its text, is ClassVar, which a module may name with its own name."""
    return re.match(r"(\w+\.)?ClassVar\b", str(annotation)) is not None


def _is_elsewhere(kind: type[Declared], name: str) -> bool:
    """Return whether a base reads an attribute by a property, or as a parameter, which a default would hide."""
    for base in kind.__mro__[1:]:
        if name in vars(base):
            return isinstance(vars(base)[name], property)
        if name in vars(base).get("_attributes", ()):
            return True
    return False


def _constructor_of(kind: type[Declared]) -> _Constructor:
    """Return fields and signature of the constructor that is made from the class's attributes and those of its bases.

    Where a class has an `__init__` of its own, which calls this one, they are those of the bases behind it.
    """
    if "_constructor" not in vars(kind):
        bases = [base for base in kind.__mro__ if issubclass(base, Declared) and base is not Declared]
        own = [at for at, base in enumerate(bases) if "__init__" in vars(base)]
        kind._constructor = _read(kind, bases[own[-1] + 1 :] if own else bases)
    return kind._constructor


def _read(kind: type[Declared], bases: list[type[Declared]]) -> _Constructor:
    texts = argument_texts(kind)
    fields: dict[str, Field] = {}
    parameters: dict[str, inspect.Parameter] = {}
    for base in reversed(bases):
        for name, annotation in inspect.get_annotations(base, eval_str=True).items():
            if name.startswith("_") or name not in base._attributes:
                continue
            one = base._attributes[name]
            if not one.is_setting:
                fields.pop(name, None)
                parameters.pop(name, None)
                continue
            given, hint = one.alias or name, _as_given(annotation)
            hint = hint if one.read_by is None else Annotated[hint, ReadBy(one.read_by.__name__)]
            field = fields[name] = field_of(given, hint, one.default, texts.get(given, ""))
            how = inspect.Parameter.KEYWORD_ONLY if one.kw_only else inspect.Parameter.POSITIONAL_OR_KEYWORD
            # For a reader, without the metadata, which the field has.
            parameters[name] = inspect.Parameter(given, how, default=one.default, annotation=field.annotation)
    in_order = sorted(parameters, key=lambda name: parameters[name].kind)
    return _Constructor(
        with_mutual_exclusions({fields[name].name: fields[name] for name in in_order}),
        inspect.Signature([parameters[name] for name in in_order]),
        {fields[name].name: name for name in in_order},
    )


def _as_given(annotation: Any) -> Any:
    """Return an annotation with the type that a converted field is given as."""
    if get_origin(annotation) is Annotated:
        inner, *notes = get_args(annotation)
        return Annotated[(_as_given(inner), *notes)]
    return get_args(annotation)[0] if get_origin(annotation) is Converted else annotation
