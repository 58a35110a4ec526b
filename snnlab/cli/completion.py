"""Tab completion of commands, actions, options, files of groups, types, and the keys and values of an experiment."""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from snnlab.cli.list import REGISTRIES, registry
from snnlab.cli.main import COMMANDS
from snnlab.cli.options import OPTIONS
from snnlab.config.folders import config_folder, file_kinds, group_files, groups, user_folder
from snnlab.errors import ConfigError

# Commands that take the overrides of `snnlab train`, and the number of words before those.
WORDS_BEFORE_OVERRIDES = {
    **dict.fromkeys(("train", "show", "doctor", "sweep", "bench", "validate"), 0),
    **dict.fromkeys(("find", "data", "evaluate", "export"), 1),
    "new": 2,
}
# The first words of a command, or the name of the module's table of them.
_FIRST_WORDS: dict[str, Sequence[str] | str] = {
    "bench": ("suite=", "compare", "table"),
    "new": ("experiment",),
    "data": "ACTIONS",
    "runs": "ACTIONS",
    "find": "FINDS",
}
# bash expands the proposals, and a name in a stranger's file could be $(a command).
_PLAIN = re.compile(r"[\w./=+~:,@%-]+")
_TRAIN_OPTIONS = ("--config-dir", "--cfg", "--help", "--multirun", "-m")


class CommandLine(NamedTuple):
    """A command line up to the cursor.

    Attributes:
        command: The command, empty where none is typed yet.
        before: The complete words after it.
        current: The word at the cursor, perhaps empty.
        config_dir: The user's folder of YAML files that the line names, or None.
    """

    command: str
    before: Sequence[str]
    current: str
    config_dir: str | None


def main(arguments: list[str], started: float) -> int:
    """Answer `snnlab -sc install=bash|zsh|fish`, `uninstall=...` and the queries of the installed script."""
    what, _, shell = "".join(arguments[:1]).partition("=")
    if len(arguments) != 1 or what not in ("install", "uninstall", "query") or shell not in ("bash", "zsh", "fish"):
        raise ConfigError("completion", 'eval "$(snnlab -sc install=bash)", or zsh', "snnlab -sc install=fish | source")
    if what != "query":
        print(_SCRIPTS[what, shell])
        return 0
    try:
        line = parse_command_line(os.environ.get("COMP_LINE", ""))
        words = completions(line)
        proposals = filter(_PLAIN.fullmatch, _key_completions(line) if words is None else words)
        print(("\n" if shell == "fish" else " ").join(proposals))
    except Exception:  # a file with a mistake: no proposals, and no place to print the error
        return 0
    return 0


def parse_command_line(text: str) -> CommandLine:
    """Return the parts of a line."""
    words = text.split()[1:]
    current = words.pop() if words and not text[-1].isspace() else ""
    command = words.pop(0) if words else ""
    named: str | None = None
    for index, word in enumerate(words):
        if word == "--config-dir":
            named = (words[index + 1 : index + 2] or [None])[0]
        elif word.startswith("--config-dir="):
            named = word.partition("=")[2]
    return CommandLine(command, words, current, named)


def completions(line: CommandLine) -> list[str] | None:
    """Return the proposals, None if the word is a key of the experiment; an empty list leaves it to the shell."""
    command, before, current, _ = line
    if not command:
        return _starting_with(current, COMMANDS)
    if before and before[-1] in ("--config-dir", "--figure", "--out"):
        return []  # a file
    if current.startswith("-"):
        return _starting_with(current, options_of(command))
    words = _without_options(before)
    if not words and (first := _starting_with(current, _first_words(command))):
        return first
    if command in ("list", "cp"):
        return _list_completions(line, words) if command == "list" else _starting_with(current, _file_names(line))
    if command not in WORDS_BEFORE_OVERRIDES or len(words) < WORDS_BEFORE_OVERRIDES[command]:
        return []
    key, equals, value = current.partition("=")
    if not equals:
        return None
    if kind := _kind_named_by(key.lstrip("+")):
        return [f"{key}={name}" for name in _starting_with(value, _entry_names(kind))]
    return _group_completions(line, key, value)


def options_of(command: str) -> list[str]:
    """Return the options of a command."""
    if command == "train":
        return list(_TRAIN_OPTIONS)
    found = (option for name, both in OPTIONS.items() if name.split()[0] == command for of in both for option in of)
    return sorted({*found, "--help"})


def _first_words(command: str) -> Iterable[str]:
    found = _FIRST_WORDS.get(command, ())
    return getattr(importlib.import_module(f"snnlab.cli.{command}"), found) if isinstance(found, str) else found


def _starting_with(start: str, words: Iterable[str]) -> list[str]:
    return [word for word in words if word.startswith(start)]


def _without_options(words: Sequence[str]) -> list[str]:
    """Return the words that are neither options nor values of options."""
    kept: list[str] = []
    waiting = list(words)
    while waiting:
        word = waiting.pop(0)
        if not word.startswith("-"):
            kept.append(word)
        elif any(word in with_value for with_value, _ in OPTIONS.values()):
            del waiting[:1]
    return kept


def _user_folder(line: CommandLine) -> Path | None:
    return user_folder(line.config_dir)


def _list_completions(line: CommandLine, words: Sequence[str]) -> list[str]:
    files = file_kinds(user_dir := _user_folder(line))
    if not words:
        return _starting_with(line.current, [*REGISTRIES, *files])
    if len(words) > 1 or words[0] not in (*REGISTRIES, *files):
        return []
    kind = words[0]
    return _starting_with(
        line.current, _entry_names(kind) if kind in REGISTRIES else group_files(files[kind], user_dir)
    )


def _kind_named_by(key: str) -> str | None:
    """Return the kind of `snnlab list` whose entries a setting names, or None; NAME may be within blocks."""
    kinds = {pattern: kind for kind, (_, _, patterns) in reversed(REGISTRIES.items()) for pattern in patterns}
    named = [pattern for pattern in kinds if re.fullmatch(re.escape(pattern).replace("NAME", r"[\w.]+"), key)]
    return kinds[max(named, key=len)] if named else None


def _entry_names(kind: str) -> list[str]:
    return [*registry(kind), *(["neuron"] if kind == "layers" else [])]


def _file_names(line: CommandLine) -> list[str]:
    user_dir = _user_folder(line)
    return [
        f"{group}/{name}"
        for group in sorted(groups(config_folder(), user_dir))
        for name in group_files(group, user_dir)
    ]


def _group_completions(line: CommandLine, key: str, value: str) -> list[str] | None:
    user_dir = _user_folder(line)
    if key not in groups(config_folder(), user_dir):
        return None
    return [f"{key}={name}" for name in _starting_with(value, group_files(key, user_dir))]


def _key_completions(line: CommandLine) -> list[str]:
    """Return the keys of the composed experiment that begin as the word, and the value of a whole one."""
    from snnlab.config.compose import composed_values  # late: other proposals need no Hydra

    user_dir = _user_folder(line)
    words = _without_options(line.before)[WORDS_BEFORE_OVERRIDES[line.command] :]
    typed = line.current.lstrip("+~")
    head = line.current.removesuffix(typed)
    key, equals, start = typed.partition("=")
    *above, last = key.split(".")
    node: Any = composed_values(words, user_dir)
    for name in above:
        node = node.get(name) if isinstance(node, Mapping) else None
    known = node if isinstance(node, Mapping) else {}
    if equals:
        value = known.get(last)
        text = str(value).lower() if isinstance(value, bool) else "" if value is None else str(value)
        is_value = text.startswith(start) and not isinstance(value, Mapping)
        return [f"{head}{key}={text}"] if text and is_value else []
    place = "".join(f"{name}." for name in above)
    keys = {f"{name}{'.' if isinstance(value, Mapping) else '='}" for name, value in known.items()}
    keys |= {f"{name}=" for name in groups(config_folder(), user_dir)} if not above else set()
    return sorted(f"{head}{place}{name}" for name in keys if name.startswith(last))


_BASH = """_snnlab_completion()
{
    local choices
    choices=$(COMP_LINE=$COMP_LINE snnlab -sc query=bash)
    COMPREPLY=($(compgen -o nospace -o default -W "$choices" -- "${COMP_WORDS[$COMP_CWORD]}"))
}
COMP_WORDBREAKS=${COMP_WORDBREAKS//=}
complete -o nospace -o default -F _snnlab_completion snnlab"""
# zsh runs the script of bash after bashcompinit.
_SCRIPTS = {
    ("install", "bash"): _BASH,
    ("install", "zsh"): f"autoload -Uz compinit bashcompinit && compinit && bashcompinit\n{_BASH}",
    ("install", "fish"): "complete -c snnlab -x -a '(COMP_LINE=(commandline -cp) snnlab -sc query=fish)'",
    ("uninstall", "bash"): "complete -r snnlab; unset -f _snnlab_completion",
    ("uninstall", "zsh"): "complete -r snnlab; unset -f _snnlab_completion",
    ("uninstall", "fish"): "complete -c snnlab -e",
}
