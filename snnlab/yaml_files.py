"""YAML from somebody else: how large it becomes is known before anything is made of it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from snnlab.errors import ConfigError

# What no experiment, sweep, suite or record comes near.
MOST_BYTES = 4_000_000
MOST_VALUES = 100_000
DEEPEST = 100
# Digits of one number: the time to read one, or to print it, grows with their square.
LONGEST_NUMBER = 100
_NUMBER = re.compile(r"[-+.]?[0-9]")


def require_bounded(path: Path) -> None:
    """Raise if a YAML file becomes larger than its place is for, see `too_large`.

    Raises:
        ConfigError: naming the file and what is too large.
        OSError: if it cannot be read.
    """
    if problem := too_large(path):
        raise ConfigError(path, problem)


def too_large(path: Path, loader: Any = yaml.SafeLoader) -> str | None:
    """Return in what a YAML file becomes larger than its place is for, by anchors, by nesting or by itself, or None.

    What is no YAML is left to whoever reads it.

    Args:
        path: The file.
        loader: What reads it then: a file that two parsers read differently would be measured by the wrong one.

    Raises:
        OSError: if it cannot be read.
    """
    with path.open("rb") as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        return f"is larger than {MOST_BYTES:,} bytes, which no experiment is"
    try:
        return _problem(content.decode("utf-8"), loader)
    except (UnicodeDecodeError, yaml.YAMLError):
        return None


def _problem(text: str, loader: Any, *, again: bool = True) -> str | None:
    """Return what is too large in a text, or None.

    Args:
        text: YAML.
        loader: See `too_large`.
        again: Whether a text that is all of it is YAML once more, as OmegaConf takes it.
    """
    sizes: dict[str, int] = {}
    opened: list[tuple[str | None, int]] = []
    total = 0
    for event in yaml.parse(text, Loader=loader):
        if isinstance(event, yaml.SequenceStartEvent | yaml.MappingStartEvent):
            opened.append((event.anchor, total))
            total += 1
            if len(opened) > DEEPEST:
                return f"is nested more than {DEEPEST} deep"
        elif isinstance(event, yaml.SequenceEndEvent | yaml.MappingEndEvent):
            anchor, before = opened.pop()
            if anchor is not None:
                sizes[anchor] = total - before
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor not in sizes:
                return f"*{event.anchor} stands inside itself, or before its anchor"
            total += sizes[event.anchor]
        elif isinstance(event, yaml.ScalarEvent):
            total += 1
            if event.anchor is not None:
                sizes[event.anchor] = 1
            if not opened and again:
                return _problem(event.value, loader, again=False)
            number = event.implicit[0] or str(event.tag).endswith((":int", ":float"))
            if number and len(event.value) > LONGEST_NUMBER and _NUMBER.match(event.value):
                return f"holds a number of {len(event.value):,} digits"
        if total > MOST_VALUES:
            return f"comes to more than {MOST_VALUES:,} values"
    return None
