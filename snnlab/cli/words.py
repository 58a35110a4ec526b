"""The words of a command line, read by the signature of its command: options, words, overrides."""

from __future__ import annotations

import inspect
import os
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, is_dataclass, replace
from typing import Any, Literal, NamedTuple, get_args, get_origin

from snnlab.cli.command import Alone, Also, Assigned, Call, FileGroup
from snnlab.cli.command_files import Command, section
from snnlab.errors import ConfigError, did_you_mean, join_names
from snnlab.spec.annotations import metadata_of
from snnlab.spec.docstrings import argument_texts
from snnlab.spec.field import Field, field_of
from snnlab.spec.override_texts import is_override
from snnlab.spec.signatures import fields_of

OVERRIDES = "overrides"
_OVERRIDES_HELP = "settings, as for snnlab train"


@dataclass(frozen=True)
class Word:
    """A parameter of a command: a word, or an option.

    Attributes:
        field: Its type, unit, range, default and help.
        notes: The rest of its annotation.
        is_option: Whether it is typed with its name.
        is_many: Whether it takes all further words.
        part_of: The parameter whose class has it as a field, with that class; None: it is a parameter.
    """

    field: Field
    notes: Sequence[Any]
    is_option: bool
    is_many: bool = False
    part_of: tuple[str, type] | None = None

    @property
    def name(self) -> str:
        """How it is typed, or shown."""
        if not self.is_option:
            return self.value_name
        assigned = any(isinstance(note, Assigned) for note in self.notes)
        return f"{self.field.name}=" if assigned else f"--{self.field.name.strip('_').replace('_', '-')}"

    @property
    def names(self) -> list[str]:
        """All its spellings."""
        return [self.name, *(note.name for note in self.notes if isinstance(note, Also))]

    @property
    def is_flag(self) -> bool:
        """Whether it takes no value."""
        return self.is_option and self.field.annotation is bool

    @property
    def alone(self) -> Alone | None:
        """What it means without its value, if it may be left out."""
        return next((note for note in self.notes if isinstance(note, Alone)), None)

    @property
    def choices(self) -> tuple[str, ...]:
        """The values it takes, if they have names."""
        return get_args(self.field.annotation) if get_origin(self.field.annotation) is Literal else ()

    @property
    def is_list(self) -> bool:
        """Whether its value is several, joined by commas."""
        origin = get_origin(self.field.annotation)
        return isinstance(origin, type) and issubclass(origin, Sequence)

    @property
    def value_name(self) -> str:
        """What stands for its value in a usage."""
        if self.choices:
            return "|".join(self.choices)
        if self.field.unit or not self.is_option:
            return (self.field.unit or self.field.name.strip("_")).upper()
        return {int: "N", float: "NUMBER"}.get(self.field.annotation, "NAME,..." if self.is_list else "TEXT")

    def read(self, text: str, label: str) -> Any:
        """Return the value of a typed text.

        Raises:
            ConfigError: if it is none of this type, or out of range.
        """
        if self.is_flag:
            return True
        if self.alone and not text:
            return self.alone.value
        value = self._value(text)
        problem = self.field.problem(value)
        problem = problem or next((found for note in self.notes if (found := _problem_of(note, text))), None)
        if problem:
            raise ConfigError(f"{label}: {self.name}", problem, did_you_mean(text, self.choices))
        return value

    def _value(self, text: str) -> Any:
        if self.is_list:
            return [word for word in text.split(",") if word]
        if self.field.annotation not in (int, float):
            return text
        try:
            number = float(text)
        except ValueError:
            return text
        return int(number) if number.is_integer() else number


def _problem_of(note: Any, text: str) -> str | None:
    check: Callable[[str], str | None] | None = getattr(note, "problem", None)
    return None if check is None else check(text)


class Parameters(NamedTuple):
    """The parameters of a command by their names; `call` is that of the parameter for the `Call`, if there is one."""

    words: Mapping[str, Word]
    call: str | None

    @property
    def options(self) -> dict[str, Word]:
        """The options by all their spellings."""
        return {name: word for word in self.words.values() if word.is_option for name in word.names}

    @property
    def positional(self) -> list[Word]:
        """The words in their order, without those that take all further ones."""
        return [word for word in self.words.values() if not word.is_option and not word.is_many]

    @property
    def many(self) -> Word | None:
        """The parameter that takes all further words."""
        return next((word for word in self.words.values() if word.is_many), None)


def parameters_of(command: Command) -> Parameters:
    """Return the parameters of a command; those of a dataclass are its fields, each an option."""
    function = command.signature
    hints, texts = typing.get_type_hints(function, include_extras=True), argument_texts(function)
    words: dict[str, Word] = {}
    call = None
    for name, parameter in inspect.signature(function).parameters.items():
        if hints[name] is Call:
            call = name
        elif is_dataclass(hints[name]):
            own = typing.get_type_hints(hints[name], include_extras=True)
            for field in fields_of(hints[name]).values():
                notes = metadata_of(own[field.name])[1]
                words[field.name] = Word(_without_none(field), notes, True, part_of=(name, hints[name]))
        else:
            many = parameter.kind is parameter.VAR_POSITIONAL
            text = texts.get(name, _OVERRIDES_HELP if many and name == OVERRIDES else "")
            field = field_of(name, hints[name], parameter.default, text)
            notes = metadata_of(hints[name])[1]
            words[name] = Word(_without_none(field), notes, parameter.kind is parameter.KEYWORD_ONLY, many)
    return Parameters(words, call)


def _without_none(field: Field) -> Field:
    """Return the field of what is typed: an option that may be None is left out for it."""
    kinds = [one for one in get_args(field.annotation) if one is not type(None)]
    if type(None) not in get_args(field.annotation) or len(kinds) != 1:
        return field
    return replace(field, annotation=metadata_of(kinds[0])[0])


def choose(forms: Sequence[Command], typed: Sequence[str]) -> tuple[Command | None, list[str]]:
    """Return the command that words behind the first one choose, None if they are of none, and its own words."""
    rest = list(typed)
    by_name = {name: one for one in forms for name in one.names}
    for name, one in by_name.items():
        if rest and name == f"{one.word} {rest[0]}" and not one.flag:
            return one, rest[1:]
    for one in forms:
        if one.flag and any(word.partition("=")[0] == one.flag for word in rest):
            named = one.flag in parameters_of(one).options
            return one, rest if named else [word for word in rest if word != one.flag]
    bare = by_name.get(forms[0].word)
    actions = actions_of(forms)
    if bare and actions and rest and not (rest[0].startswith("-") or is_override(rest[0]) or os.path.exists(rest[0])):
        return None, rest
    return bare, rest


def actions_of(forms: Sequence[Command]) -> list[str]:
    """Return the second words that choose a command."""
    return [name.partition(" ")[2] for one in forms if not one.flag for name in one.names if " " in name]


def groups_of(forms: Sequence[Command]) -> list[str]:
    """Return the groups of YAML files that commands with the same first word choose from, besides a training's."""
    many = [word for one in forms if (word := parameters_of(one).many)]
    return list(dict.fromkeys(note.name for word in many for note in word.notes if isinstance(note, FileGroup)))


def needs_words(command: Command | None) -> bool:
    """Return whether a command cannot be called without words; None: one that only its actions make a command."""
    return command is None or any(word.field.required for word in parameters_of(command).positional)


def read_words(
    command: Command, typed: Sequence[str], forms: Sequence[Command], call: Call
) -> Callable[[], int | None]:
    """Return the call of a command's function with what was typed; only that call imports its file.

    Args:
        typed: The words behind its name.
        forms: The commands with the same first word.

    Raises:
        ConfigError: if an option is unknown, lacks its value, has two or a wrong one, or a word is missing or too many.
    """
    signature = parameters_of(command)
    texts, rest = _split_options(command, signature, typed, forms)
    options: dict[str, Any] = {} if signature.call is None else {signature.call: call}
    parts: dict[tuple[str, type], dict[str, Any]] = {}
    for word in signature.words.values():
        name = word.field.name
        if word.is_option and name in texts:
            of = options if word.part_of is None else parts.setdefault(word.part_of, {})
            of[name] = word.read(texts[name], command.place)
        elif word.is_option and word.field.required:
            text = f"needs {word.name} {word.value_name}, {word.field.help}".rstrip(", .")
            raise ConfigError(command.place, text, _example(command))
    _check_exclusions(command, [signature.words[name] for name in texts])
    positional = _positional(command, signature, rest)
    options |= {name: kind(**values) for (name, kind), values in parts.items()}
    return lambda: command.load()(*positional, **options)


def _split_options(
    command: Command, signature: Parameters, typed: Sequence[str], forms: Sequence[Command]
) -> tuple[dict[str, Any], list[str]]:
    """Return the texts of the options by their parameters, and the other words in their order."""
    options = signature.options
    found: dict[str, Any] = {}
    rest: list[str] = []
    waiting = list(typed)
    while waiting:
        text = waiting.pop(0)
        name, equals, value = text.partition("=")
        name += "=" if f"{name}=" in options else ""
        if name not in options and (not text.startswith("-") or text == "-"):
            rest.append(text)
            continue
        if name not in options:
            raise _unknown(command, options, name, value or next(iter(waiting), ""), forms)
        word, place = options[name], f"{command.place}: {name}"
        if word.is_flag and equals:
            raise ConfigError(place, "takes no value")
        if not (word.is_flag or equals):
            if waiting and (waiting[0].isdecimal() if word.alone else not _is_option(waiting[0])):
                value = waiting.pop(0)
            elif not word.alone:
                raise ConfigError(place, "needs a value", join_names(word.choices))
        if found.setdefault(word.field.name, value) != value:
            raise ConfigError(place, f"is given as {join_names([found[word.field.name], value])}", "give it once")
    return found, rest


def _check_exclusions(command: Command, given: Sequence[Word]) -> None:
    names = {word.field.name: word.name for word in given}
    for word in given:
        if others := [names[name] for name in word.field.excludes if name in names]:
            raise ConfigError(command.place, f"takes one of {join_names([word.name, *others])}")


def _is_option(text: str) -> bool:
    """Return whether a word is an option, and no negative number."""
    try:
        float(text)
    except ValueError:
        return text.startswith("-") and text != "-"
    return False


def _positional(command: Command, signature: Parameters, rest: Sequence[str]) -> list[Any]:
    """Return the positional arguments; overrides stand anywhere among them."""
    expected, many = signature.positional, signature.many
    has_overrides = many is not None and many.field.name == OVERRIDES
    taken: list[str] = []
    others: list[str] = []
    for text in rest:
        is_word = not (has_overrides and is_override(text) and not os.path.isdir(os.path.expanduser(text)))
        (taken if is_word and len(taken) < len(expected) else others).append(text)
    missing = expected[len(taken) :]
    if (others and many is None) or any(word.field.required for word in missing):
        takes = " ".join(word.name for word in expected) or "no words"
        got = " ".join([*taken, *(others if many is None else [])]) or "nothing"
        raise ConfigError(command.place, f"takes {takes}, got {got}", _example(command))
    values = [word.read(text, command.place) for word, text in zip(expected, taken, strict=False)]
    values += [word.field.default for word in missing]
    return [*values, *(many.read(text, command.place) for text in others if many)]


def _example(command: Command) -> str:
    """Return a hint with the first example of a command, without the comment behind it."""
    lines = (line.strip() for line in section(command.doc, "Examples"))
    found = next((line.split("   ")[0] for line in lines if line.startswith(f"snnlab {command.place}")), "")
    return f"such as {found}" if found else f"snnlab {command.name} --help describes it"


def _unknown(
    command: Command, known: Mapping[str, Word], name: str, value: str, forms: Sequence[Command]
) -> ConfigError:
    """Return the error for an option that a command does not have."""
    hint = command.settings.get("instead", {}).get(name, "")
    if not hint and (others := [one.name for one in forms if name in parameters_of(one).options]):
        hint = f"snnlab {join_names(others)} takes it"
    many = parameters_of(command).many
    if not hint and many is not None and many.field.name == OVERRIDES:
        from snnlab.config.hints import option_hint  # late: it brings Hydra, which an option does not need

        hint = option_hint(name, value)
    hint = hint or did_you_mean(name, known)
    return ConfigError(command.place, f"there is no option {name}", hint, () if hint else known)
