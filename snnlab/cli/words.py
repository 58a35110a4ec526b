"""The words of a command line, read by the signature of its command: options, words, overrides."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, is_dataclass, replace
from types import ModuleType
from typing import Any, Literal, NamedTuple, TypeVar, get_args, get_origin

from snnlab.cli.command import Alone, Also, Assigned, Call
from snnlab.cli.command_files import Command, section
from snnlab.errors import ConfigError, did_you_mean, join_names
from snnlab.spec.annotations import metadata_of
from snnlab.spec.docstrings import argument_texts
from snnlab.spec.field import Field, field_of
from snnlab.spec.override_texts import is_override
from snnlab.spec.signatures import fields_of

N = TypeVar("N")


@dataclass(frozen=True)
class Word:
    """A parameter of a command: a word, or an option.

    Attributes:
        field: Its type without None, unit, range, default and help.
        notes: The rest of its annotation.
        is_option: Whether it is typed with its name.
        is_many: Whether it takes all further words.
        part_of: The parameter whose dataclass has it as a field, and that class; None: it is a parameter.
    """

    field: Field
    notes: Sequence[Any]
    is_option: bool
    is_many: bool = False
    part_of: tuple[str, type] | None = None

    def note(self, kind: type[N]) -> N | None:
        """Return the note of a kind in its annotation, or None."""
        return next((note for note in self.notes if isinstance(note, kind)), None)

    @property
    def names(self) -> list[str]:
        """Its spellings."""
        typed = f"--{self.field.name.strip('_').replace('_', '-')}"
        first = (
            f"{self.field.name}=" if self.note(Assigned) is not None else typed if self.is_option else self.value_name
        )
        return [first, *(note.name for note in self.notes if isinstance(note, Also))]

    @property
    def is_flag(self) -> bool:
        """Whether it takes no value."""
        return self.field.annotation is bool

    @property
    def choices(self) -> tuple[str, ...]:
        """The values it takes, if they have names."""
        return get_args(self.field.annotation) if get_origin(self.field.annotation) is Literal else ()

    @property
    def value_name(self) -> str:
        """What stands for its value in a usage."""
        if self.choices:
            return "|".join(self.choices)
        by_type = {int: "N", float: "NUMBER"}.get(self.field.annotation, "TEXT")
        return self.field.unit.upper() or (by_type if self.is_option else self.field.name.upper())

    def read(self, text: str, label: str) -> Any:
        """Return the value of a typed text."""
        if self.is_flag:
            return True
        if not text and (alone := self.note(Alone)):
            return alone.value
        value = _value(text, self.field.annotation)
        if self.is_option and value in ("", []):
            raise ConfigError(f"{label}: {self.names[0]}", "needs a value", join_names(self.choices))
        checks = [self.field.problem(value), *(one.problem(text) for one in self.notes if hasattr(one, "problem"))]
        for problem in filter(None, checks):
            raise ConfigError(f"{label}: {self.names[0]}", problem, did_you_mean(text, self.choices))
        return value


def _value(text: str, annotation: Any) -> Any:
    """Return a text as a list, if it is one of texts joined by commas, or as a number, if it is one."""
    if get_origin(annotation) is Sequence:
        return [word for word in text.split(",") if word]
    try:
        number = float(text) if annotation in (int, float) else text
    except ValueError:
        return text
    return int(number) if isinstance(number, float) and number.is_integer() and abs(number) < 2**53 else number


class Parameters(NamedTuple):
    """The parameters of a command by their names, and the name of the one for the `Call`, if there is one."""

    words: Mapping[str, Word]
    call: str | None

    @property
    def options(self) -> dict[str, Word]:
        """The options by all their spellings."""
        return {name: word for word in self.words.values() if word.is_option for name in word.names}

    @property
    def positional(self) -> list[Word]:
        """The words in their order, without those that take all further ones."""
        return [word for word in self.words.values() if not (word.is_option or word.is_many)]

    @property
    def many(self) -> Word | None:
        """The parameter that takes all further words."""
        return next((word for word in self.words.values() if word.is_many), None)

    @property
    def takes_overrides(self) -> bool:
        """Whether these are settings of an experiment, which stand anywhere."""
        return "overrides" in self.words


def parameters_of(command: Command) -> Parameters:
    """Return the parameters of a command; those of a dataclass are its fields, each an option."""
    function = command.signature
    hints, texts = inspect.get_annotations(function, eval_str=True), argument_texts(function)
    words: dict[str, Word] = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if is_dataclass(hints[name]):
            own = inspect.signature(hints[name], eval_str=True).parameters
            for field in fields_of(hints[name]).values():
                words[field.name] = _word(field, own[field.name].annotation, True, part_of=(name, hints[name]))
        elif hints[name] is not Call:
            default = "settings, as for snnlab train" if name == "overrides" else ""
            field = field_of(name, hints[name], parameter.default, texts.get(name, default))
            is_many = parameter.kind is parameter.VAR_POSITIONAL
            words[name] = _word(field, hints[name], parameter.kind is parameter.KEYWORD_ONLY, is_many=is_many)
    return Parameters(words, next((name for name, hint in hints.items() if hint is Call), None))


def _word(field: Field, annotation: Any, is_option: bool, **more: Any) -> Word:
    kinds = [one for one in get_args(field.annotation) if one is not type(None)]
    if type(None) in get_args(field.annotation) and len(kinds) == 1:
        field = replace(field, annotation=metadata_of(kinds[0])[0])  # for None it is left out
    return Word(field, metadata_of(annotation)[1], is_option, **more)


def choose(forms: Sequence[Command], typed: Sequence[str]) -> tuple[Command | None, list[str]]:
    """Return the command that words behind the first one choose, None if they are of none, and its own words."""
    rest = list(typed)
    for one in forms:
        if rest and not one.flag and f"{one.word} {rest[0]}" in one.names:
            return one, rest[1:]
    for one in forms:
        if one.flag and any(word.partition("=")[0] == one.flag for word in rest):
            is_own = one.flag in parameters_of(one).options
            return one, rest if is_own else [word for word in rest if word != one.flag]
    own = next((one for one in forms if one.word in one.names), None)
    is_word = rest and not (rest[0].startswith("-") or is_override(rest[0]) or os.path.exists(rest[0]))
    return None if is_word and actions_of(forms) else own, rest


def actions_of(forms: Sequence[Command]) -> list[str]:
    """Return the second words that choose a command."""
    return [name.partition(" ")[2] for one in forms if not one.flag for name in one.names if " " in name]


def read_words(
    command: Command, typed: Sequence[str], forms: Sequence[Command], call: Call
) -> Callable[[], int | None]:
    """Return the call of a command's function with what was typed; only that call imports its file.

    Args:
        typed: The words behind its name.
        forms: The commands with the same first word.
    """
    parameters = parameters_of(command)
    texts, rest = _split_options(command, parameters, typed, forms)
    options: dict[str, Any] = {parameters.call: call} if parameters.call else {}
    parts: dict[tuple[str, type], dict[str, Any]] = {}
    for name, word in parameters.words.items():
        if word.is_option and name in texts:
            of = parts.setdefault(word.part_of, {}) if word.part_of else options
            of[name] = word.read(texts[name], command.place)
            if others := [parameters.words[one].names[0] for one in word.field.excludes if one in texts]:
                raise ConfigError(command.place, f"takes one of {join_names([word.names[0], *others])}")
        elif word.is_option and word.field.required:
            text = f"needs {word.names[0]} {word.value_name}, {word.field.help}"
            raise ConfigError(command.place, text.rstrip(", ."), _example(command))
    positional = _positional(command, parameters, rest)
    options |= {name: kind(**values) for (name, kind), values in parts.items()}
    return lambda: command.load()(*positional, **options)


def _split_options(
    command: Command, parameters: Parameters, typed: Sequence[str], forms: Sequence[Command]
) -> tuple[dict[str, str], list[str]]:
    """Return the texts of the options by their parameters, and the other words in their order."""
    options = parameters.options
    found: dict[str, str] = {}
    rest: list[str] = []
    waiting = list(typed)
    while waiting:
        text = waiting.pop(0)
        name, equals, value = text.partition("=")
        name += "=" if f"{name}=" in options else ""
        word, place = options.get(name), f"{command.place}: {name}"
        if word is None and (not text.startswith("-") or text == "-"):
            rest.append(text)
            continue
        if word is None:
            raise _unknown(command, parameters, name, value or next(iter(waiting), ""), forms)
        if word.is_flag and equals:
            raise ConfigError(place, "takes no value")
        if not (word.is_flag or equals):
            if waiting and (waiting[0].isdecimal() if word.note(Alone) else not _is_option(waiting[0])):
                value = waiting.pop(0)
            elif not word.note(Alone):
                raise ConfigError(place, "needs a value", join_names(word.choices))
            elif waiting and waiting[0] in word.choices and not os.path.exists(waiting[0]):
                raise ConfigError(place, "takes its value behind =", f"{name}={waiting[0]}")
        if (before := found.setdefault(word.field.name, value)) != value:
            raise ConfigError(place, f"is given as {join_names([before, value])}", "give it once")
    return found, rest


def _is_option(text: str) -> bool:
    """Return whether a word is an option, and no negative number."""
    return text.startswith("-") and text != "-" and isinstance(_value(text, float), str)


def _positional(command: Command, parameters: Parameters, rest: Sequence[str]) -> list[Any]:
    """Return the positional arguments; overrides stand anywhere among them."""
    expected, many = parameters.positional, parameters.many
    words, others = list(rest), []
    if parameters.takes_overrides:
        others = [text for text in rest if is_override(text) and not os.path.isdir(os.path.expanduser(text))]
        words = [text for text in rest if text not in others]
        if expected and (extra := words[len(expected) :]):
            raise ConfigError(extra[0], f"not an override{_hints().word_hint(extra[0], None)}")
    taken, more, missing = words[: len(expected)], words[len(expected) :], expected[len(words) :]
    if (more and many is None) or any(word.field.required for word in missing):
        takes = " ".join(word.value_name for word in expected) or "no words"
        raise ConfigError(command.place, f"takes {takes}, got {' '.join(words) or 'nothing'}", _example(command))
    values = [word.read(text, command.place) for word, text in zip(expected, taken, strict=False)]
    values += [word.field.default for word in missing]
    further = (others if expected else rest) if parameters.takes_overrides else more
    return [*values, *(many.read(text, command.place) for text in further if many)]


def _hints() -> ModuleType:
    from snnlab.config import hints  # late: only a mistake needs it

    return hints


def _example(command: Command) -> str:
    """Return a hint with the first example of a command, without the comment behind it."""
    lines = (line.strip() for line in section(command.doc, "Examples"))
    found = next((line.split("   ")[0] for line in lines if line.startswith(f"snnlab {command.place}")), "")
    return f"such as {found}" if found else f"snnlab {command.name} --help describes it"


def _unknown(command: Command, parameters: Parameters, name: str, value: str, forms: Sequence[Command]) -> ConfigError:
    """Return the error for an option that a command does not have."""
    hint = command.settings.get("instead", {}).get(name, "")
    if not hint and (others := [one.name for one in forms if name in parameters_of(one).options]):
        hint = f"snnlab {join_names(others)} takes it"
    if not hint and parameters.takes_overrides:
        hint = _hints().option_hint(name, value)
    # A form of a command, such as `doctor --stream`, is chosen by an option too.
    known = [*parameters.options, *(word for one in forms for word in one.name.split() if word.startswith("--"))]
    hint = hint or did_you_mean(name, known)
    return ConfigError(command.place, f"there is no option {name}", hint, () if hint else known)
