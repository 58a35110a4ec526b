"""Tab completion: snnlab completes commands, actions, options, files of groups and types; Hydra completes keys."""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from snnlab.cli.list import REGISTRIES, registry
from snnlab.cli.main import COMMANDS
from snnlab.cli.options import OPTIONS
from snnlab.config.folders import config_folder, file_kinds, group_files, groups, own_folder
from snnlab.errors import ConfigError

# Commands that take the overrides of `snnlab train`, and the number of words before those.
OF_HYDRA = {
    **dict.fromkeys(("train", "show", "doctor", "sweep", "bench", "validate"), 0),
    **dict.fromkeys(("find", "data", "evaluate", "export"), 1),
    "new": 2,
}
# The first words of a command, or the name of the module's table of them.
_FIRST: dict[str, Sequence[str] | str] = {
    "bench": ("suite=", "compare", "table"),
    "new": ("experiment",),
    "data": "ACTIONS",
    "runs": "ACTIONS",
    "find": "FINDS",
}
_OF_TRAIN = ("--config-dir", "--cfg", "--help", "--multirun", "-m")


class Line(NamedTuple):
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
    if arguments[0] == "install=zsh":  # bash's script, which zsh runs after bashcompinit
        print("autoload -Uz compinit bashcompinit && compinit && bashcompinit", flush=True)
        return _hydra(["install=bash"])
    if not arguments[0].startswith("query="):
        return _hydra(arguments)
    try:
        line = read_line(os.environ.get("COMP_LINE", ""))
        words = own_words(line)
        if words is not None:
            print(" ".join(words))
            return 0
        os.environ["COMP_LINE"] = overrides_of(line)
        return _hydra(arguments, _own(line))
    except Exception:  # a file with a mistake: no proposals, and no place to print the error
        return 0


def read_line(text: str) -> Line:
    """Return the parts of a line."""
    words = text.split()[1:]
    current = words.pop() if words and not text[-1].isspace() else ""
    command = words.pop(0) if words else ""
    named: str | None = None
    for place, word in enumerate(words):
        if word == "--config-dir":
            named = (words[place + 1 : place + 2] or [None])[0]
        elif word.startswith("--config-dir="):
            named = word.partition("=")[2]
    return Line(command, words, current, named)


def own_words(line: Line) -> list[str] | None:
    """Return the proposals of snnlab, None if Hydra completes the word; an empty list leaves it to the shell."""
    command, before, current, _ = line
    if not command:
        return _beginning(current, COMMANDS)
    if before and before[-1] in ("--config-dir", "--figure", "--out"):
        return []  # a file
    if current.startswith("-"):
        return _beginning(current, options_of(command))
    words = _without_options(before)
    if not words and (first := _beginning(current, _first_of(command))):
        return first
    if command in ("list", "cp"):
        return _of_list(line, words) if command == "list" else _beginning(current, _packaged(line))
    if command not in OF_HYDRA or len(words) < OF_HYDRA[command]:
        return []
    key, equals, value = current.partition("=")
    if not equals:
        return None
    if kind := _kind_of(key.lstrip("+")):
        return [f"{key}={name}" for name in _beginning(value, _entries(kind))]
    return _of_group(line, key, value)


def options_of(command: str) -> list[str]:
    """Return the options of a command."""
    if command == "train":
        return list(_OF_TRAIN)
    found = (option for name, both in OPTIONS.items() if name.split()[0] == command for of in both for option in of)
    return sorted({*found, "--help"})


def overrides_of(line: Line) -> str:
    """Return the line for Hydra: the program and the overrides."""
    words = _without_options(line.before)[OF_HYDRA[line.command] :]
    return " ".join(["snnlab", *words, line.current])


def _first_of(command: str) -> Iterable[str]:
    found = _FIRST.get(command, ())
    return getattr(importlib.import_module(f"snnlab.cli.{command}"), found) if isinstance(found, str) else found


def _beginning(start: str, words: Iterable[str]) -> list[str]:
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


def _own(line: Line) -> Path | None:
    return own_folder(line.config_dir)


def _of_list(line: Line, words: Sequence[str]) -> list[str]:
    files = file_kinds(own := _own(line))
    if not words:
        return _beginning(line.current, [*REGISTRIES, *files])
    if len(words) > 1 or words[0] not in (*REGISTRIES, *files):
        return []
    kind = words[0]
    return _beginning(line.current, _entries(kind) if kind in REGISTRIES else group_files(files[kind], own))


def _kind_of(key: str) -> str | None:
    """Return the kind of `snnlab list` whose entries a setting names, or None; NAME may be within blocks."""
    kinds = {place: kind for kind, (_, _, places) in reversed(REGISTRIES.items()) for place in places}
    named = [place for place in kinds if re.fullmatch(re.escape(place).replace("NAME", r"[\w.]+"), key)]
    return kinds[max(named, key=len)] if named else None


def _entries(kind: str) -> list[str]:
    return [*registry(kind), *(["neuron"] if kind == "layers" else [])]


def _packaged(line: Line) -> list[str]:
    own = _own(line)
    return [f"{group}/{name}" for group in sorted(groups(config_folder(), own)) for name in group_files(group, own)]


def _of_group(line: Line, key: str, value: str) -> list[str] | None:
    own = _own(line)
    if key not in groups(config_folder(), own):
        return None
    return [f"{key}={name}" for name in _beginning(value, group_files(key, own))]


def _hydra(arguments: list[str], own: Path | None = None) -> int:
    from snnlab.config.compose import call_hydra  # late: snnlab's own proposals do not need Hydra

    call_hydra([*([] if own is None else ["--config-dir", str(own)]), "-sc", *arguments])
    return 0
