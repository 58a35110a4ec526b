"""What stands behind `snnlab train`, told apart: options, flags that Hydra answers, overrides; and what is none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields

from snnlab.config.folders import config_folder, groups, own_folder
from snnlab.config.hints import SETTINGS, of_word
from snnlab.config.schema import Experiment
from snnlab.errors import ConfigError, did_you_mean, listing
from snnlab.settings import is_override

_SEVERAL = ("-m", "--multirun")
_CONFIG_DIR = ("--config-dir", "-cd")
# Hydra's own flags that are answered, with whether a word stands behind them.
_ASKED = {
    "-h": False,
    "--help": False,
    "--cfg": True,
    "-c": True,
    "--package": True,
    "-p": True,
    "--resolve": False,
    "--info": True,
    "-i": True,
}
_CFG = ("job", "hydra", "all")
_INFO = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")
_WHAT = {"--cfg": _CFG, "-c": _CFG, "--info": _INFO, "-i": _INFO}
_WITH_CFG = ("--package", "-p", "--resolve")
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


def read_arguments(arguments: Sequence[str]) -> Arguments:
    """Tell what stands behind `snnlab train` apart.

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
            raise ConfigError("train", f"there is no option {name}", _of_option(name, value, waiting))
        elif is_override(argument):
            found.overrides.append(argument)
        else:
            words.append(argument)
    if words:
        raise ConfigError(
            words[0] or repr(words[0]), f"not an override{of_word(words[0], own_folder(found.config_dir))}"
        )
    _check_asked(found)
    return found


def _next(name: str, waiting: list[str]) -> str:
    if not waiting or waiting[0].startswith("-"):
        example = f", such as {name} {_WHAT[name][0]}" if name in _WHAT else ""
        raise ConfigError(name, f"needs a value behind it{example}")
    return waiting.pop(0)


def _check_asked(found: Arguments) -> None:
    if not found.flags:
        return
    if found.several and not {"-h", "--help"} & set(found.flags):
        raise ConfigError("train", f"{found.flags[0]} prints one configuration", "leave out -m")
    if found.flags[0] in _WITH_CFG and not {"--cfg", "-c", "-h", "--help"} & set(found.flags):
        raise ConfigError(found.flags[0], "is for --cfg job")
    for name, value in zip(found.flags, [*found.flags[1:], ""], strict=True):
        if name in _WHAT and value not in _WHAT[name]:
            raise ConfigError(name, f"expected one of {listing(_WHAT[name])}, got '{value}'")


def _of_option(name: str, value: str, waiting: Sequence[str]) -> str:
    """Return what to say of an option that is none."""
    if name in _INSTEAD:
        return _INSTEAD[name]
    word = name.lstrip("-").replace("-", "_")
    key = SETTINGS.get(word, word)
    behind = value or (waiting[0] if waiting and not waiting[0].startswith("-") else "VALUE")
    known = {one.name for one in fields(Experiment)} | groups(config_folder())
    if key.partition(".")[0] in known:
        return f"write {key}={behind}"
    return did_you_mean(name, _KNOWN) or f"it takes {listing(_KNOWN)}"
