"""What stands behind `snnlab train`, told apart: options, flags that Hydra answers, overrides; and what is none."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

from snnlab.config.catalog import group_files
from snnlab.config.composing import is_override
from snnlab.config.folders import config_folder, groups, own_folder
from snnlab.config.hints import SETTINGS
from snnlab.config.schema import Experiment
from snnlab.errors import ConfigError, did_you_mean, listing

_SEVERAL = ("-m", "--multirun")
_CONFIG_DIR = ("--config-dir", "-cd")
# Hydra's own flags that are answered, with whether a word stands behind them.
_ASKED = {
    "-h": False,
    "--help": False,
    "--hydra-help": False,
    "--cfg": True,
    "-c": True,
    "--package": True,
    "-p": True,
    "--resolve": False,
    "--info": True,
    "-i": True,
}
_WHAT = {"--cfg": ("job", "hydra", "all"), "-c": ("job", "hydra", "all")}
_KNOWN = (*_CONFIG_DIR, *_SEVERAL, "--cfg", "--resolve", "--package", "--info", "--help")
_INSTEAD = {
    "--config": "--config-dir DIR names a folder of YAML files, experiment=NAME one of DIR/experiment",
    "--config-name": "experiment=NAME chooses one of DIR/experiment",
    "--config-path": "--config-dir DIR names a folder of YAML files",
    "--dry-run": "debug=shapes builds everything and trains nothing, --cfg job prints the configuration",
    "--experimental-rerun": "snnlab reproduce RUN trains again",
    "--version": "snnlab --version",
    "--resume": "write resume=RUN",
    "--ckpt_path": "write resume=RUN",
}


@dataclass
class Arguments:
    """What was typed.

    Attributes:
        overrides: `key=value`, `+key=value`, `~key`.
        config_dir: The user's folder of YAML files, or None.
        several: Whether a setting may have several values, for as many runs.
        flags: Those that Hydra answers, without training.
    """

    overrides: list[str] = field(default_factory=list)
    config_dir: str | None = None
    several: bool = False
    flags: list[str] = field(default_factory=list)


def read_arguments(arguments: Sequence[str], command: str = "train") -> Arguments:
    """Tell arguments apart.

    Args:
        arguments: What stands behind the command.
        command: Its name.

    Raises:
        ConfigError: for an option that is none, or without its value, and for what is no override.
    """
    found = Arguments()
    waiting = list(arguments)
    words: list[str] = []
    while waiting:
        argument = waiting.pop(0)
        name, equals, value = argument.partition("=")
        if argument in _SEVERAL:
            found.several = True
        elif name in _CONFIG_DIR:
            found.config_dir = value if equals else _next(name, waiting)
        elif argument in ("-r", "--run"):
            pass  # what it does anyway
        elif name in _ASKED:
            found.flags += [name, *([value if equals else _next(name, waiting)] if _ASKED[name] else [])]
        elif argument.startswith("-"):
            raise ConfigError(f"{command}: there is no option {name}{_of_option(name, value, waiting)}")
        elif is_override(argument):
            found.overrides.append(argument)
        else:
            words.append(argument)
    if words:
        raise ConfigError(f"{words[0] or repr(words[0])}: not an override{_of_word(words[0], found)}")
    _check_asked(found, command)
    return found


def _next(name: str, waiting: list[str]) -> str:
    if not waiting or (waiting[0].startswith("-") and name not in ("--info", "-i")):
        raise ConfigError(f"{name} needs a value behind it" + (", such as --cfg job" if name in _WHAT else ""))
    return waiting.pop(0)


def _check_asked(found: Arguments, command: str) -> None:
    if not found.flags:
        return
    if found.several and not {"-h", "--help"} & set(found.flags):
        raise ConfigError(f"{command}: {found.flags[0]} prints one configuration; leave out -m")
    for name, value in zip(found.flags, [*found.flags[1:], ""], strict=True):
        if name in _WHAT and value not in _WHAT[name]:
            raise ConfigError(f"{name}: expected one of {listing(_WHAT[name])}, got '{value}'")


def _of_option(name: str, value: str, waiting: Sequence[str]) -> str:
    """Return what to say of an option that is none."""
    if name in _INSTEAD:
        return f"; {_INSTEAD[name]}"
    word = name.lstrip("-").replace("-", "_")
    key = SETTINGS.get(word, word)
    behind = value or (waiting[0] if waiting and not waiting[0].startswith("-") else "VALUE")
    known = {one.name for one in fields(Experiment)} | groups(config_folder())
    if key.partition(".")[0] in known:
        return f"; write {key}={behind}"
    return did_you_mean(name, _KNOWN).replace(" Did", ". Did") or f"; it takes {listing(_KNOWN)}"


def _of_word(word: str, found: Arguments) -> str:
    """Return what to say of a word that is no override."""
    path = Path(word).expanduser()
    run = path.parent if path.name == "config.yaml" else path
    if (run / "config.yaml").is_file():
        return f"; resume={run} goes on with this run, snnlab reproduce {run} trains it again"
    own = own_folder(found.config_dir)
    known = groups(config_folder(), own)
    if path.suffix in (".yaml", ".yml"):
        group, folder = path.parent.name, path.parent.parent
        if group in known:
            return f"; --config-dir {folder} {group}={path.stem} takes this file"
        return f"; as DIR/experiment/{path.stem}.yaml it is taken by --config-dir DIR experiment={path.stem}"
    if word.strip("'\"") != word and is_override(word.strip("'\"")):
        return f": the quotes are part of it; write {word.strip(chr(39) + chr(34))}"
    for group in sorted(known):
        if word in group_files(group, own):
            return f"; write {group}={word}"
    if re.fullmatch(r"[\w.]+\s*[:=]\s*\S*", word) and not word.startswith("="):
        key, value = re.split(r"\s*[:=]\s*", word, maxsplit=1)
        return f"; write {key}={value or 'VALUE'}, without blanks"
    if re.fullmatch(r"[A-Za-z_][\w.]*", word):
        return f"; write {word}=VALUE"
    return "; write key=value, and quote lists and mappings for the shell"
