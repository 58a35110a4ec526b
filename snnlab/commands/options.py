"""The options of the small commands, which are not Hydra's."""

from __future__ import annotations

import os
from argparse import SUPPRESS, ArgumentError, ArgumentParser
from collections.abc import Collection, Sequence
from pathlib import Path

from snnlab.errors import ConfigError, did_you_mean
from snnlab.settings import is_override


def split_options(
    command: str, arguments: Sequence[str], known: Collection[str], flags: Collection[str] = ()
) -> tuple[dict[str, str], list[str]]:
    """Return the options with their values, those without one among them, and the other arguments in their order.

    Args:
        arguments: What stands behind it; an option is `--name value` or `--name=value`, anywhere.
        known: Options that it takes, such as `--config-dir`; each has a value.
        flags: Options without a value; one that is given has an empty one.

    Raises:
        ConfigError: if an option is unknown, or has no value.
    """
    parser = ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False, argument_default=SUPPRESS)
    for name in known:
        parser.add_argument(name, dest=name)
    for name in flags:
        parser.add_argument(name, dest=name, action="store_const", const="")
    try:
        found, others = parser.parse_known_args(list(arguments))
    except ArgumentError as error:
        needs = "takes no value" if error.argument_name in flags else "needs a value behind it"
        raise ConfigError(str(error.argument_name), needs) from None
    if unknown := next((word for word in others if word.startswith("-")), None):
        name = unknown.partition("=")[0]
        near = did_you_mean(name, [*known, *flags])
        raise ConfigError(command, f"there is no option {name}", near, () if near else (*known, *flags))
    return vars(found), others


def split_run(words: Sequence[str]) -> tuple[Path | None, list[str]]:
    """Return the run's folder that the first word names, None where it is an override, and the other words.

    Args:
        words: What stands behind a command, without its options; a folder may have a `=` in its name.
    """
    if not words or (is_override(words[0]) and not os.path.isdir(os.path.expanduser(words[0]))):
        return None, list(words)
    return Path(words[0]).expanduser(), list(words[1:])
