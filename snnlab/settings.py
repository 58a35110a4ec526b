"""The settings of a function or a class: read from its signature, and checked with their place in the YAML.

The annotation of a setting has its unit and its range: `width: Annotated[float | None, "ms", above(0)]`. Registered
classes, and others decorated with `checks_arguments`, check the same when they are built from Python.
"""

from __future__ import annotations

import functools
import inspect
import math
import os
import re
import textwrap
import types
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, Union, cast, get_args, get_origin

from snnlab.errors import ConfigError, UnknownSettingError, child_key, did_you_mean, join_names

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Interval:
    """An interval of finite numbers; a learned value in it is stored as an unbounded number.

        value = stored;  low + exp(stored);  high - exp(stored);  low + (high - low) / (1 + exp(-stored))

    without a bound, with a lower one, with an upper one, and with both.

    Attributes:
        low: The lower bound.
        high: The upper bound.
        with_low: Whether the interval includes the lower bound.
        with_high: Whether it includes the upper bound.
    """

    low: float = -math.inf
    high: float = math.inf
    with_low: bool = False
    with_high: bool = False

    def __contains__(self, value: float) -> bool:
        above = value >= self.low if self.with_low else value > self.low
        return above and (value <= self.high if self.with_high else value < self.high)

    @property
    def has_ends(self) -> bool:
        """Whether there is a bound; without one, any finite number is valid."""
        return self.low > -math.inf or self.high < math.inf

    def __str__(self) -> str:
        if self.with_low and self.with_high:
            return f"between {_number_text(self.low)} and {_number_text(self.high)}"
        ends = [f">{'=' * self.with_low} {_number_text(self.low)}"] if self.low > -math.inf else []
        ends += [f"<{'=' * self.with_high} {_number_text(self.high)}"] if self.high < math.inf else []
        return " and ".join(ends) or "finite"

    def stored(self, value: float) -> float:
        """Return the unbounded number that is stored for a value."""
        if self.low == -math.inf:
            return value if self.high == math.inf else math.log(self.high - value)
        if self.high == math.inf:
            return math.log(value - self.low)
        part = (value - self.low) / (self.high - self.low)
        return math.log(part) - math.log1p(-part)

    def value(self, stored: Tensor) -> Tensor:
        """Return the value of a stored number."""
        if self.low == -math.inf:
            return stored if self.high == math.inf else self.high - stored.exp()
        if self.high == math.inf:
            return self.low + stored.exp()
        return self.low + (self.high - self.low) * stored.sigmoid()


FINITE = Interval()


def above(low: float) -> Interval:
    """Return the interval of numbers > `low`."""
    return Interval(low)


def at_least(low: float) -> Interval:
    """Return the interval of numbers >= `low`."""
    return Interval(low, with_low=True)


def below(high: float) -> Interval:
    """Return the interval of numbers < `high`."""
    return Interval(high=high)


def between(low: float, high: float, *, with_low: bool = True, with_high: bool = True) -> Interval:
    """Return the interval of numbers between two bounds, which are included by default."""
    return Interval(low, high, with_low, with_high)


# Types of many settings.
Count = Annotated[int, at_least(1)]
NonNegative = Annotated[int, at_least(0)]
Positive = Annotated[float, above(0)]
Finite = Annotated[float, FINITE]
UnitInterval = Annotated[float, between(0, 1)]


def _number_text(number: float) -> str:
    return f"{number:,}" if isinstance(number, int) else f"{number:g}"


# `name: text` or, as torch writes it, `name (int, optional): text`.
_ENTRY = re.compile(r"\s+\*{0,2}(\w+)(?: \([^)]*\))?: ?(.*)")
# The text of an argument begins so where a base class documents it.
_REFERENCE = "See `"


def first_sentence(thing: Any) -> str:
    """Return the first sentence of a docstring, or an empty text."""
    paragraph = " ".join((inspect.getdoc(thing) or "").split("\n\n")[0].split())
    return re.split(r"(?<=\.)\s", paragraph)[0]


def argument_texts(factory: Callable[..., Any]) -> dict[str, str]:
    """Return the text of each argument in the docstring's Args; for a class, with the missing ones from its bases."""
    texts: dict[str, str] = {}
    factory = inspect.unwrap(factory)
    for source in inspect.getmro(factory) if isinstance(factory, type) else (factory,):
        for name, text in _argument_docs(source.__doc__ or "").items():
            if not text.startswith(_REFERENCE):
                texts.setdefault(name, text)
    return texts


def _argument_docs(doc: str) -> dict[str, str]:
    lines = inspect.cleandoc(doc).splitlines()
    if "Args:" not in lines:
        return {}
    texts: dict[str, str] = {}
    name, indent = "", 0
    for line in lines[lines.index("Args:") + 1 :]:
        depth = len(line) - len(line.lstrip())
        if line and not depth:
            break
        entry = _ENTRY.match(line)
        if entry and depth <= (indent or depth):
            name, indent = entry[1], depth
            texts[name] = entry[2]
        elif name:
            texts[name] = f"{texts[name]} {line.strip()}".strip()
    return texts


# The beginning of a section of a docstring.
_SECTION = re.compile(r"^(?=(?:Args|Attributes|Shape|Returns|Raises|Source):)", re.M)


def document_arguments(kind: Callable[..., Any]) -> None:
    """Rewrite the Args of a class's docstring: all arguments of its constructor in order, those of its bases too."""
    texts = argument_texts(kind)
    names = [name for name in inspect.signature(kind).parameters if name in texts]
    if not isinstance(kind, type) or not kind.__doc__ or not names:
        return
    summary, *sections = _SECTION.split(inspect.cleandoc(kind.__doc__))
    lines = (
        textwrap.fill(f"{name}: {texts[name]}", 110, initial_indent=4 * " ", subsequent_indent=8 * " ")
        for name in names
    )
    arguments = "\n".join(["Args:", *lines])
    others = (section for section in sections if not section.startswith("Args:"))
    kind.__doc__ = "\n\n".join(section.rstrip() for section in (summary, arguments, *others))


F = TypeVar("F", bound=Callable[..., Any])
MISSING = inspect.Parameter.empty
# A message with a "Did you mean" lists no more settings than this.
LONG_LIST = 20
_OVERRIDE = re.compile(r"~(?!/)|[+]{0,2}[A-Za-z_][^\s=]*=")


@dataclass(frozen=True)
class Setting:
    """One setting: name, annotation without metadata, unit, default (`MISSING` if required), range of numbers."""

    name: str
    annotation: Any
    unit: str
    default: Any
    interval: Interval | None = None

    @property
    def required(self) -> bool:
        """Whether the setting has no default."""
        return self.default is MISSING

    @property
    def kind(self) -> str:
        """Its type as text."""
        return describe_type(self.annotation, self.interval)

    def problem(self, value: Any) -> str | None:
        """Return why a value is invalid, or None."""
        if not _matches_type(value, self.annotation):
            return f"expected {describe_type(self.annotation)}, got {value_text(value)}"
        return self.range_problem(value)

    def range_problem(self, value: Any) -> str | None:
        """Return why a number, or one in a list, is out of range, or None."""
        numbers = [v for v in (value if _is_list(value) else [value]) if _matches_type(v, float)]
        if self.interval is None or all(number in self.interval for number in numbers):
            return None
        return f"must be {self.interval}, got {value_text(list(value) if _is_list(value) else value)}"

    def __str__(self) -> str:
        return f"{self.name} ({self.unit})" if self.unit else self.name


def is_override(text: str) -> bool:
    """Return whether an argument is an override, and not a name, an option or a path: `a/lr=0.1` may be a folder."""
    return bool(_OVERRIDE.match(text)) and not ("/" in text.partition("=")[0] and os.path.exists(text))


def key_of(override: str) -> str:
    """Return the key of an override, as typed: `model.layers.a` of `+model.layers.a={type: relu}`."""
    return override.lstrip("+~").partition("=")[0]


def quoted(text: str) -> str:
    """Return a text with any characters as a value of a Hydra override; `${...}` in it stays a reference."""
    # Within quotes a backslash is literal, except before a quote.
    return "'" + re.sub(r"\\*(?='|$)", lambda found: 2 * found[0], text).replace("'", "\\'") + "'"


def literal(path: str) -> str:
    """Return a path as a value of a Hydra override, without references: `${` is escaped."""
    return quoted(re.sub(r"(\\*)\$\{", lambda found: 2 * found[1] + "\\${", path))


def settings_of(factory: Callable[..., Any], supplied: Collection[str] = ()) -> dict[str, Setting]:
    """Return the settings of `factory` by name, without the arguments in `supplied`, which the caller passes."""
    hints = _type_hints(factory)
    settings = {}
    for name, parameter in _parameters(factory).items():
        if name in supplied or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        annotation, unit, interval = _split(hints.get(name, Any))
        settings[name] = Setting(name, annotation, unit, parameter.default, interval)
    return settings


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

    Types are not checked: callers in Python have more types than a YAML, such as NumPy's numbers.

    Raises:
        ConfigError: when it is called; the place is the argument's name.
    """
    target: Any = factory
    call = target.__init__ if isinstance(factory, type) else target
    if call is object.__init__:
        return target
    names = list(inspect.signature(call).parameters)
    known: dict[str, Setting] = {}

    @functools.wraps(call)
    def checked(*args: Any, **kwargs: Any) -> Any:
        if not known:
            known.update(settings_of(call))
        for name, value in (*zip(names, args, strict=False), *kwargs.items()):
            if name in known and (problem := _range_or_choice_problem(known[name], value)):
                raise ConfigError(name, problem)
        return call(*args, **kwargs)

    if not isinstance(factory, type):
        return cast(F, checked)
    target.__init__ = checked
    return target


def _range_or_choice_problem(setting: Setting, value: Any) -> str | None:
    if isinstance(value, str) and _has_choices(setting.annotation):
        return setting.problem(value)
    return setting.range_problem(value)


def _has_choices(annotation: Any) -> bool:
    if get_origin(annotation) in (Union, types.UnionType):
        return any(map(_has_choices, get_args(annotation)))
    return get_origin(annotation) is Literal


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

    Raises:
        ConfigError: for the first setting that is unknown, missing, of the wrong type or out of its range.
    """
    open_ended = any(p.kind is p.VAR_KEYWORD for p in _parameters(factory).values())
    known = settings_of(factory, supplied)
    known |= {name: replace(known[name], annotation=Any, interval=None) for name in objects if name in known}
    check_known(known, settings, place, label, open_ended=open_ended and not set(supplied) & set(settings))


def check_known(
    known: Mapping[str, Setting], settings: Mapping[str, Any], place: str, label: str, *, open_ended: bool = False
) -> None:
    """Check names, presence, types and ranges of `settings` against `known` ones.

    Args:
        known: The settings that exist.
        settings: The node of the YAML.
        place: Key of the node.
        label: The user's name for the owner of the settings.
        open_ended: Whether other names are accepted too.

    Raises:
        ConfigError: for the first setting that is unknown, missing, of the wrong type or out of its range.
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
    missing = [setting for setting in known.values() if setting.required and setting.name not in settings]
    if missing:
        raise ConfigError(place, f"{label} needs {join_names(map(str, missing))}")


def _known_settings_text(label: str, known: Mapping[str, Setting], suggestion: str) -> str:
    if not known:
        return f"{label} takes no settings"
    if suggestion and len(known) > LONG_LIST:
        return f"{label} takes {len(known)} others"
    return f"{label} takes {join_names(map(str, known.values()))}"


def type_problem(value: Any, annotation: Any) -> str | None:
    """Return why `value` does not fit `annotation`, or None; an annotation of an unknown kind accepts everything."""
    inner, unit, interval = _split(annotation)
    return Setting("", inner, unit, MISSING, interval).problem(value)


def describe_type(annotation: Any, interval: Interval | None = None) -> str:
    """Return an annotation as text: `a whole number >= 1`, `one of exact, euler`, `a number or text`."""
    annotation = _split(annotation)[0]
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


def _matches_type(value: Any, annotation: Any) -> bool:
    annotation = _split(annotation)[0]
    origin, args = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return any(_matches_type(value, a) for a in args)
    if origin is Literal:
        return value in args and not (isinstance(value, bool) and True not in args and False not in args)
    if origin is tuple and Ellipsis not in args:
        return _is_list(value) and len(value) == len(args) and all(map(_matches_type, value, args))
    if _is_abc(origin or annotation, Sequence):
        return _is_list(value) and all(_matches_type(v, args[0]) for v in value if args)
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


def _is_class(annotation: Any) -> bool:
    """Return whether an annotation is a class such as Tensor, of which no value in a YAML is an instance."""
    return (
        isinstance(annotation, type)
        and annotation.__module__ != "builtins"
        and annotation is not Any
        and not (getattr(annotation, "_is_protocol", False) or get_origin(annotation))
    )


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _is_abc(origin: Any, abc: type) -> bool:
    return isinstance(origin, type) and origin is not str and issubclass(origin, abc)


def value_text(value: Any) -> str:
    """Return a value as text for a message."""
    if value is None:
        return "null"
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _split(annotation: Any) -> tuple[Any, str, Interval | None]:
    """Return an annotation without its metadata, and the unit and the interval in it or in the members of a union."""
    members = [annotation]
    if get_origin(annotation) in (Union, types.UnionType):
        members = [member for member in get_args(annotation) if get_origin(member) is Annotated]
    elif get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    metadata = [item for member in members if get_origin(member) is Annotated for item in get_args(member)[1:]]
    unit = next((item for item in metadata if isinstance(item, str)), "")
    return annotation, unit, next((item for item in metadata if isinstance(item, Interval)), None)


def _type_hints(factory: Callable[..., Any]) -> dict[str, Any]:
    target = factory.__init__ if isinstance(factory, type) else factory  # type: ignore[misc]
    try:
        return typing.get_type_hints(target, include_extras=True)
    except NameError:  # an annotation imported under TYPE_CHECKING only, in a class of another library
        return {}


Exclusions = Mapping[str, Collection[str]]
TIME_EXCLUSIONS: Exclusions = {"num_bins": ["dt"], "dt": ["num_bins"]}
NEURON_EXCLUSIONS: Exclusions = {"tau_mem": ["beta"], "beta": ["tau_mem"], "tau_syn": ["alpha"], "alpha": ["tau_syn"]}
# Groups of settings for the size of a surrogate: the first of a group is required, the others are optional;
# settings without a common group exclude each other.
SURROGATE_SIZES = (
    ("width", "height"),
    ("sigma", "scale"),
    ("alpha", "scale"),
    ("slope",),
    ("tau", "scale"),
    ("grad_width", "grad_scale"),
)
_SIZES = list(dict.fromkeys(name for group in SURROGATE_SIZES for name in group))
SURROGATE_EXCLUSIONS: Exclusions = {
    name: [other for other in _SIZES if not any({name, other} <= set(group) for group in SURROGATE_SIZES)]
    for name in _SIZES
}


def library_size_groups(names: Collection[str]) -> list[tuple[str, ...]]:
    """Return the groups of `SURROGATE_SIZES` that a surrogate with these settings has, except (width, height)."""
    return [tuple(name for name in group if name in names) for group in SURROGATE_SIZES[1:] if group[0] in names]
