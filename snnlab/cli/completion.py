"""Tab completion, without Hydra or torch: commands, actions, options, files of groups, types, keys and values."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence

from snnlab.cli.command import FileGroup, Proposed
from snnlab.cli.command_files import Command, commands
from snnlab.cli.words import Word, actions_of, choose, parameters_of
from snnlab.config.folders import user_folder
from snnlab.errors import ConfigError

# What a shell evaluates to install completion; all of them send the line up to the cursor in COMP_LINE.
_BASH = """_snnlab() {
  local word=${COMP_WORDS[COMP_CWORD]} line=${COMP_LINE:0:COMP_POINT}
  COMPREPLY=($(compgen -W "$(COMP_LINE=$line snnlab -sc query=bash 2>/dev/null)" -- "$word"))
}
COMP_WORDBREAKS=${COMP_WORDBREAKS//[=:]}
complete -o nospace -o default -F _snnlab snnlab
"""
_FISH = """complete -c snnlab -a '(COMP_LINE=(commandline -cp) snnlab -sc query=fish)'
"""
_SCRIPTS = {
    "install=bash": _BASH,
    "install=zsh": f"autoload -Uz compinit bashcompinit && compinit && bashcompinit\n{_BASH}",
    "install=fish": _FISH,
    "uninstall=bash": "complete -r snnlab; unset -f _snnlab\n",
    "uninstall=zsh": "complete -r snnlab; unset -f _snnlab\n",
    "uninstall=fish": "complete -e -c snnlab\n",
}


# The shell expands the proposals, and a name in a stranger's file could be $(a command).
_PLAIN = re.compile(r"[\w./=+~:,@%-]+")


def main(arguments: Sequence[str]) -> int:
    """Answer `snnlab -sc install=bash|zsh|fish`, `uninstall=...` and the queries of the installed script."""
    what = "".join(arguments[:1])
    if len(arguments) == 1 and what in _SCRIPTS:
        print(_SCRIPTS[what], end="")
    elif len(arguments) == 1 and what in ("query=bash", "query=zsh", "query=fish"):
        try:
            found = filter(_PLAIN.fullmatch, completions(os.environ.get("COMP_LINE", "")))
        except Exception:  # a file with a mistake: no proposals, and no place to print the error
            found = []
        print(*found, sep="\n" if what == "query=fish" else " ")
    else:
        raise ConfigError("completion", 'eval "$(snnlab -sc install=bash)", or zsh', "snnlab -sc install=fish | source")
    return 0


def completions(line: str) -> list[str]:
    """Return the words that continue a line; an empty list leaves it to the shell, which proposes files."""
    words = line.split()[1:]
    current = words.pop() if words and not line[-1].isspace() else ""
    known = commands()
    if not words:
        return _starting_with(current, known)
    word, *before = words
    forms = known.get(word)
    return [] if forms is None else _of_command(forms, before, current)


def _of_command(forms: Sequence[Command], before: list[str], current: str) -> list[str]:
    command, typed = choose(forms, before)
    words = {} if command is None else parameters_of(command).options
    if before and (option := words.get(before[-1])) and not option.is_flag:
        return _starting_with(current, option.choices)
    if current.startswith("-"):
        shown = forms if command is None or command.name == command.word else [command]
        return _starting_with(current, sorted({name for one in shown for name in [*_options(one), "--help"]}))
    rest, options = _without_options(typed, words)
    actions = [] if rest or len(typed) < len(before) else _starting_with(current, actions_of(forms))
    if command is None or (actions and current):
        return actions
    return [*actions, *_words(command, rest, current, options.get("--config-dir"))]


def _options(command: Command) -> list[str]:
    named = [name for name, word in parameters_of(command).options.items() if name.startswith("-")]
    return [*named, *([command.flag] if command.flag else [])]


def _words(command: Command, rest: Sequence[str], current: str, config_dir: str | None) -> list[str]:
    """Return the proposals for a word that is no option."""
    signature = parameters_of(command)
    settings = signature.takes_overrides
    if settings and "=" in current:
        typed_words = rest
    else:
        typed_words = [word for word in rest if not (settings and "=" in word)]
        if len(typed_words) < len(signature.positional):
            expected = signature.positional[len(typed_words)]
            proposed = expected.note(Proposed)
            if proposed or expected.field.required:
                return _starting_with(current, proposed.words(typed_words) if proposed else expected.choices)
    if not settings:
        return []

    from snnlab.cli import keys  # late: most words need no YAML

    own = signature.many.note(FileGroup) if signature.many else None
    return keys.proposals(current, rest, user_folder(config_dir), own)


def _without_options(words: Sequence[str], known: Mapping[str, Word]) -> tuple[list[str], dict[str, str]]:
    """Return the words that are neither options nor their values, and the options with a value."""
    rest: list[str] = []
    found: dict[str, str] = {}
    waiting = list(words)
    while waiting:
        name, equals, value = waiting.pop(0).partition("=")
        option = known.get(name)
        if not name.startswith("-"):
            rest.append(f"{name}{equals}{value}")
        elif option and not option.is_flag:
            found[name] = value if equals or not waiting else waiting.pop(0)
    return rest, found


def _starting_with(start: str, words: Iterable[str]) -> list[str]:
    return [word for word in words if word.startswith(start)]
