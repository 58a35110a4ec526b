"""Overrides as the user types them, `key=value`: told from other arguments, and written."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

_PLAIN = re.compile(r"[A-Za-z_][\w./-]*")
_WORDS = ("null", "true", "false", "nan", "inf", "yes", "no", "on", "off")
_OVERRIDE = re.compile(r"~(?!/)|[+]{0,2}[A-Za-z_][^\s=]*=")


def is_override(text: str) -> bool:
    """Return whether an argument is an override, and not a name, an option or a path: `a/lr=0.1` may be a folder."""
    return bool(_OVERRIDE.match(text)) and not ("/" in text.partition("=")[0] and os.path.exists(text))


def key_of(override: str) -> str:
    """Return the key of an override, as typed: `model.layers.a` of `+model.layers.a={type: relu}`."""
    return override.lstrip("+~").partition("=")[0]


def quoted(text: str) -> str:
    """Return a text with any characters as a value of a Hydra override; `${...}` in it stays a reference."""
    # Within quotes a backslash is literal, except before a quote.
    return "'" + re.sub(r"\\*(?='|$)", lambda found: 2 * found[0], text).replace("'", "\\'") + "'"


def literal(path: str) -> str:
    """Return a path as a value of a Hydra override, without references: `${` is escaped."""
    return quoted(re.sub(r"(\\*)\$\{", lambda found: 2 * found[1] + "\\${", path))


def written(value: Any) -> str:
    """Return a value in the grammar of overrides."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {written(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(written, value)) + "]"
    if isinstance(value, str) and (not _PLAIN.fullmatch(value) or value.lower() in _WORDS):
        return quoted(value)
    return repr(value) if isinstance(value, float) else str(value)
