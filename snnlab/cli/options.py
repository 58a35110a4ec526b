"""The options of the commands that Hydra does not parse."""

from __future__ import annotations

import os
from argparse import SUPPRESS, ArgumentError, ArgumentParser
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, TypeVar

from snnlab.errors import ConfigError, did_you_mean, join_names
from snnlab.spec.override_texts import is_override
from snnlab.zoo import run_path

_CONFIG_DIR = "--config-dir"
CHECKPOINTS: tuple[Literal["best", "last"], ...] = ("best", "last")
SPLITS: tuple[Literal["test", "val", "train"], ...] = ("test", "val", "train")
Word = TypeVar("Word", bound=str)
# The options of each command and action: those with a value, and those without.
OPTIONS: Mapping[str, tuple[Sequence[str], Sequence[str]]] = {
    "bench": ((_CONFIG_DIR, "--records", "--allow-missing"), ("--dry-run", "--check")),
    "bench compare": ((), ()),
    "bench record": (("--records",), ()),
    "bench table": (("--format", "--columns", "--by"), ("--best-on-test",)),
    "data clean": ((_CONFIG_DIR,), ("--all",)),
    "data inspect": ((_CONFIG_DIR, "--figure"), ()),
    **dict.fromkeys(("data prepare", "data verify", "data where"), ((_CONFIG_DIR,), ())),
    "doctor": ((_CONFIG_DIR,), ()),
    "doctor --stream": (
        ("--dt", "--checkpoint", "--time-unit", "--time-origin", "--columns"),
        ("--stream", "--fold-norm"),
    ),
    "evaluate": (("--split", "--checkpoint", "--out", "--accuracy", _CONFIG_DIR), ("--anytime",)),
    "export": (
        ("--what", "--out", "--layers", "--samples", "--split", "--checkpoint", "--nir", "--for", _CONFIG_DIR),
        ("--lossy", "--fold-norm"),
    ),
    "find lr": (("--from", "--to", "--steps", "--figure", _CONFIG_DIR), ()),
    "import": (
        (
            *("--out", "--time-unit", "--dt", "--discretization", "--spikes", "--reset", "--threshold"),
            *("--spikes-per-step", "--floor", "--synapse", "--cycle-delay", _CONFIG_DIR),
        ),
        ("--ignore-metadata",),
    ),
    "list": ((_CONFIG_DIR,), ()),
    "new": ((_CONFIG_DIR,), ("--force",)),
    "predict": (
        ("--format", "--pieces", "--checkpoint", "--until", "--time-unit", "--time-origin", "--columns"),
        (),
    ),
    "report": (("--out", "--figures"), ()),
    "reproduce": ((), ("--env",)),
    "runs compare": ((), ()),
    "runs delete": ((), ()),
    "runs list": (("--where", "--sort"), ()),
    "show": (("--figure", _CONFIG_DIR), ("--plan", "--kernels")),
    "stream": (
        (
            *("--dt", "--every", "--until", "--max-wait", "--state", "--checkpoint"),
            *("--time-unit", "--time-origin", "--columns", "--page", "--speed"),
        ),
        ("--by-event", "--latency", "--follow", "--binary", "--fold-norm", "--keep-page"),
    ),
    "sweep": ((_CONFIG_DIR,), ()),
    "train resume=RUN": ((_CONFIG_DIR,), ()),
    "validate": ((_CONFIG_DIR,), ()),
}
# The longest time that an option takes: a hundred days.
_LONGEST_MS = 8.64e9
# Digits of a number of a port, with some zeros before it.
_MOST_DIGITS = 20
# What an option is without its number.
_WITHOUT_NUMBER = {"--page": "0"}


def split_options(command: str, arguments: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Return the options with their values (empty for an option without one), and the other arguments in their order.

    Args:
        command: One of `OPTIONS`.
        arguments: The command's arguments; an option is `--name value` or `--name=value`, anywhere.

    Raises:
        ConfigError: if an option is unknown, has no value, or has two.
    """
    known, flags = OPTIONS[command]
    parser = ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False, argument_default=SUPPRESS)
    for name in known:
        parser.add_argument(name, dest=name, action="append")
    for name in flags:
        parser.add_argument(name, dest=name, action="store_const", const="")
    words = [
        f"{word}={_WITHOUT_NUMBER[word]}" if word in _WITHOUT_NUMBER and not following.isdecimal() else word
        for word, following in zip(arguments, [*arguments[1:], ""], strict=False)
    ]
    try:
        found, others = parser.parse_known_args(words)
    except ArgumentError as error:
        needs = "takes no value" if error.argument_name in flags else "needs a value"
        raise ConfigError(str(error.argument_name), needs) from None
    if unknown := next((word for word in others if word.startswith("-") and word != "-"), None):
        name = unknown.partition("=")[0]
        near = did_you_mean(name, [*known, *flags])
        raise ConfigError(command, f"there is no option {name}", near, () if near else (*known, *flags))
    options: dict[str, str] = {}
    for name, values in vars(found).items():
        if isinstance(values, list) and len(set(values)) > 1:
            raise ConfigError(name, f"is given as {join_names(values)}", "give it once")
        options[name] = values[0] if isinstance(values, list) else values
    return options, others


def split_run(arguments: Sequence[str]) -> tuple[Path | None, list[str]]:
    """Return the run's folder that the first word names, None where it is an override, and the other words.

    Args:
        arguments: The arguments of a command without its options; a folder may have a `=` in its name, and `zoo:NAME`
            is that of a packaged network.

    Raises:
        RunFolderError: if there is no such packaged network.
    """
    if not arguments or (is_override(arguments[0]) and not os.path.isdir(os.path.expanduser(arguments[0]))):
        return None, list(arguments)
    return run_path(arguments[0]), list(arguments[1:])


def option_choice(command: str, options: Mapping[str, str], name: str, allowed: Sequence[Word]) -> Word:
    """Return the value of an option; without the option, the first allowed value.

    Raises:
        ConfigError: if the value is not allowed.
    """
    value = options.get(name, allowed[0])
    if value in allowed:
        return allowed[allowed.index(value)]
    raise ConfigError(command, f"{name} must be one of {join_names(allowed)}, got {value}")


def parse_fraction(text: str, what: str) -> float:
    """Return a number above 0 and at most 1, or raise a ConfigError that begins with `what`."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value <= 1:
        raise ConfigError("", f"{what}, above 0 and at most 1, got {text}")
    return value


def option_port(options: Mapping[str, str], name: str) -> int:
    """Return the port that an option names, 0 without the option."""
    text = options.get(name, "0")
    if not (text.isdecimal() and len(text) < _MOST_DIGITS):
        raise ConfigError(name, f"needs the number of a port, got {text}")
    return int(text)


def parse_milliseconds(command: str, options: Mapping[str, str], name: str) -> float | None:
    """Return the value of an option that is a time above 0, ms; None without the option.

    Raises:
        ConfigError: if it is no such time.
    """
    return parse_positive(command, options, name, "a time above 0, ms, up to 100 days", most=_LONGEST_MS)


def parse_positive(
    command: str, options: Mapping[str, str], name: str, what: str, *, least: float = 0.0, most: float
) -> float | None:
    """Return the value of an option that is above 0, None without the option.

    Args:
        command: The command, for errors.
        options: The options with their values.
        name: The option.
        what: What it needs, for errors.
        least: The smallest value.
        most: The largest value.

    Raises:
        ConfigError: if it is no such number.
    """
    if name not in options:
        return None
    try:
        value = float(options[name])
    except ValueError:
        value = -1.0
    if not (value > 0 and least <= value <= most):
        raise ConfigError(command, f"{name} needs {what}, got {options[name]}")
    return value


def figure_file(options: Mapping[str, str], formats: Sequence[str] = (".png", ".svg", ".pdf")) -> str | None:
    """Return the file of `--figure`, None without it.

    Raises:
        ConfigError: if it cannot be written.
    """
    if (path := options.get("--figure")) is None:
        return None
    target = Path(path)
    if target.suffix.lower() not in formats:
        raise ConfigError("--figure", f"must end with {join_names(formats)}, got {path}")
    if not target.absolute().parent.is_dir():
        raise ConfigError("--figure", f"there is no folder {target.parent}")
    if target.is_dir():
        raise ConfigError("--figure", f"{path} is a folder")
    return path
