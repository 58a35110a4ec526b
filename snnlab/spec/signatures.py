"""The fields of a function or a class, from its signature; values are checked with their place in the YAML."""

from __future__ import annotations

import functools
import inspect
import re
import textwrap
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, TypeVar, cast, get_args, get_origin
from weakref import WeakKeyDictionary

from snnlab.errors import ConfigError, UnknownSettingError, child_key, did_you_mean, join_names
from snnlab.spec.annotations import has_choices, is_list
from snnlab.spec.declared import Declared
from snnlab.spec.docstrings import argument_texts
from snnlab.spec.field import Field, chosen, field_of, require_one, type_problem, with_mutual_exclusions

F = TypeVar("F", bound=Callable[..., Any])
# A message with a "Did you mean" lists no more settings than this.
LONG_LIST = 20
# The fields of classes, read once: reading a signature and a docstring takes longer than checking settings with them.
_of_classes: WeakKeyDictionary[type, dict[str, Field]] = WeakKeyDictionary()


def fields_of(factory: Callable[..., Any], supplied: Collection[str] = ()) -> dict[str, Field]:
    """Return the fields of `factory` by name, without the arguments in `supplied`, which the caller passes."""
    known = getattr(inspect.unwrap(factory, stop=_has_fields), "__fields__", None)
    if known is None:
        known = _fields_of_class(factory) if isinstance(factory, type) else _fields_of_signature(factory)
    return {name: field for name, field in known.items() if name not in supplied}


def _has_fields(factory: Callable[..., Any]) -> bool:
    return hasattr(factory, "__fields__")


def _fields_of_class(of: type) -> dict[str, Field]:
    if of not in _of_classes:
        _of_classes[of] = _fields_of_signature(of)
    return _of_classes[of]


def _fields_of_signature(factory: Callable[..., Any]) -> dict[str, Field]:
    texts = argument_texts(factory)
    fields = {
        name: field_of(name, parameter.annotation, parameter.default, texts.get(name, ""))
        for name, parameter in _evaluated_parameters(factory).items()
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    }
    return with_mutual_exclusions(fields)


def _evaluated_parameters(factory: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Return the parameters of `factory` with their annotations, `Any` for those that cannot be read."""
    parameters = _parameters(factory)
    hints: dict[str, Any] = {}
    if any(isinstance(one.annotation, str) for one in parameters.values()):
        target = factory.__init__ if isinstance(factory, type) else factory  # type: ignore[misc]
        with suppress(NameError):  # imported under TYPE_CHECKING only, in a class of another library
            hints = inspect.get_annotations(target, eval_str=True)
    read = {name: one.annotation for name, one in parameters.items() if not isinstance(one.annotation, str)} | hints
    return {
        name: one.replace(annotation=Any if read.get(name, one.empty) is one.empty else read[name])
        for name, one in parameters.items()
    }


def has_parameter(factory: Callable[..., Any], name: str) -> bool:
    """Return whether `factory` has a parameter of this name."""
    return name in _parameters(factory)


def _parameters(factory: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    """Return the parameters of `factory`; any, for a class in C without a signature, such as `timedelta`."""
    try:
        return inspect.signature(factory).parameters
    except ValueError:
        return {"settings": inspect.Parameter("settings", inspect.Parameter.VAR_KEYWORD)}


def checks_arguments(factory: F) -> F:
    """Make a class or a function check its arguments against the ranges and choices of its annotations.

    Types are not checked: callers in Python have more types than a YAML, such as NumPy's numbers. The place of an error
    is the argument's name.
    """
    target: Any = factory
    call = target.__init__ if isinstance(factory, type) else target
    if call in (object.__init__, Declared.__init__):  # nothing to check, or checked
        return target
    known: dict[str, Field] = {}
    names: list[str] = []

    @functools.wraps(call)
    def checked(*args: Any, **kwargs: Any) -> Any:
        if not known:
            known.update(fields_of(call))
            names.extend(inspect.signature(call).parameters)
        for name, value in (*zip(names, args, strict=False), *kwargs.items()):
            if name in known and (problem := known[name].range_or_choice_problem(value)):
                raise ConfigError(name, problem)
        return call(*args, **kwargs)

    if not isinstance(factory, type):
        return cast(F, checked)
    target.__init__ = checked
    return target


def check_settings(
    factory: Callable[..., Any],
    settings: Mapping[str, Any],
    place: str,
    label: str,
    supplied: Collection[str] = (),
    objects: Collection[str] = (),
) -> None:
    """Check names, presence, types and ranges of `settings` against the signature of `factory`.

    Args:
        factory: The class or function that will be called with them.
        settings: The node of the YAML.
        place: Key of the node, for instance `model.layers.lif1`.
        label: The user's name for `factory`, for instance `lif`.
        supplied: Arguments that the caller adds; these are no settings.
        objects: Settings that become objects later: only their names are checked.
    """
    open_ended = any(p.kind is p.VAR_KEYWORD for p in _parameters(factory).values())
    known = fields_of(factory, supplied)
    known |= {name: replace(known[name], annotation=Any, interval=None) for name in objects if name in known}
    check_known(known, settings, place, label, open_ended=open_ended and not set(supplied) & set(settings))


def check_known(
    known: Mapping[str, Field], settings: Mapping[str, Any], place: str, label: str, *, open_ended: bool = False
) -> None:
    """Check names, presence, types and ranges of `settings` against `known` ones.

    Args:
        known: The settings that exist.
        settings: The node of the YAML.
        place: Key of the node.
        label: The user's name for the owner of the settings.
        open_ended: Whether other names are accepted too.
    """
    for name, value in settings.items():
        if name not in known:
            suggestion = did_you_mean(str(name), known)
            if open_ended and not suggestion:
                continue
            hint = _known_settings_text(label, known, suggestion)
            raise UnknownSettingError(place, str(name), f"{hint}{suggestion and '.' + suggestion}")
        if problem := known[name].problem(value):
            raise ConfigError(child_key(place, name), problem)
    missing = [field for field in known.values() if field.required and field.name not in settings]
    if missing:
        raise ConfigError(place, f"{label} needs {join_names(map(str, missing))}")
    require_one(known, settings, place)
    for name in settings.keys() & known.keys():
        _check_names(known, settings, name, child_key(place, name))


def _check_names(known: Mapping[str, Field], settings: Mapping[str, Any], name: str, place: str) -> None:
    """Check the choices of a mapping's values, and that a field which names others names those it may."""
    field, value = known[name], settings[name]
    if isinstance(value, Mapping):
        unions = (field.annotation, *get_args(field.annotation))
        chosen_from = next((get_args(one)[1] for one in unions if _maps_to_choices(one)), Any)
        for key, inner in value.items():
            if problem := type_problem(inner, chosen_from):
                raise ConfigError(child_key(place, key), problem)
    if field.names_read_by is not None and (isinstance(value, Mapping) or is_list(value)):
        reader, problem = field.names_read_by
        values = chosen(known, settings)
        names = [one.name for one in known.values() if one.read_by == (reader,) and values[one.name] is not None]
        for one in value:
            if one not in names:
                raise ConfigError(place, f"'{one}' {problem}", did_you_mean(str(one), names), names)


def _maps_to_choices(annotation: Any) -> bool:
    return get_origin(annotation) is Mapping and has_choices(get_args(annotation)[-1])


def _known_settings_text(label: str, known: Mapping[str, Field], suggestion: str) -> str:
    if not known:
        return f"{label} takes no settings"
    if suggestion and len(known) > LONG_LIST:
        return f"{label} takes {len(known)} others"
    return f"{label} takes {join_names(map(str, known.values()))}"


# The beginning of a section of a docstring.
_SECTION = re.compile(r"^(?=(?:Args|Attributes|Shape|Returns|Raises|Source):)", re.M)


def _with_unit(field: Field) -> str:
    return field.name if not field.unit or re.search(rf"\b{re.escape(field.unit)}\b", field.help) else str(field)


def _indented(text: str) -> str:
    if len(text) <= 106 and text.isprintable():  # `fill` takes a tenth of the time of an import
        return 4 * " " + text
    return textwrap.fill(text, 110, initial_indent=4 * " ", subsequent_indent=8 * " ")


def document_arguments(kind: Callable[..., Any]) -> None:
    """Rewrite the Args of a docstring: all arguments in order with their units, those of its bases too."""
    if not kind.__doc__:
        return
    fields = fields_of(kind)
    names = [name for name in inspect.signature(kind).parameters if name in fields and fields[name].help]
    if not names:
        return
    summary, *sections = _SECTION.split(inspect.cleandoc(kind.__doc__))
    lines = (_indented(f"{_with_unit(fields[name])}: {fields[name].help}".rstrip()) for name in names)
    arguments = "\n".join(["Args:", *lines])
    others = (section for section in sections if not section.startswith("Args:"))
    kind.__doc__ = "\n\n".join(section.rstrip() for section in (summary, arguments, *others))
