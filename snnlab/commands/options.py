"""The options of the small commands, which are not Hydra's."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from pathlib import Path

from snnlab.errors import ConfigError, did_you_mean, listing
from snnlab.settings import is_override


def split_options(
    command: str, arguments: Sequence[str], known: Collection[str], flags: Collection[str] = ()
) -> tuple[dict[str, str], list[str]]:
    """Return the options with their values, and the other arguments.

    Args:
        command: The command's name.
        arguments: What stands behind it; an option is `--name value` or `--name=value`.
        known: Options that it takes, such as `--config-dir`; each has a value.
        flags: Words without a value that it takes too, and has taken out already; for the hint alone.

    Raises:
        ConfigError: if an option is unknown, or has no value.
    """
    options: dict[str, str] = {}
    others: list[str] = []
    waiting = list(arguments)
    while waiting:
        argument = waiting.pop(0)
        if not argument.startswith("-"):
            others.append(argument)
            continue
        name, equals, value = argument.partition("=")
        if name not in known:
            takes = listing([*known, *flags]) if known or flags else "none"
            hint = did_you_mean(name, [*known, *flags]) or f" It takes {takes}."
            raise ConfigError(f"{command}: there is no option {name}.{hint}")
        if not equals and not waiting:
            raise ConfigError(f"{command}: {name} needs a value behind it")
        options[name] = value if equals else waiting.pop(0)
    return options, others


def split_run(words: Sequence[str]) -> tuple[Path | None, list[str]]:
    """Return the run's folder that the first word names, None where it is an override, and the other words.

    Args:
        words: What stands behind a command, without its options; a folder may have a `=` in its name.
    """
    if not words or (is_override(words[0]) and not os.path.isdir(os.path.expanduser(words[0]))):
        return None, list(words)
    return Path(words[0]).expanduser(), list(words[1:])
