"""Passwords, kept out of what is written, shown and sent."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

MASK = "***"
# scheme://user:password@host; a password that holds an @ or a / itself ends at the last @ of the word.
_ADDRESS = re.compile(r"(?P<head>[A-Za-z][\w+.-]*://[^\s:/@]*:)(?P<password>\S*)(?=@)")
# ...?user=me&password=...
_ARGUMENT = re.compile(
    r"(?P<head>[?&;][^=&;\s]*(?:pass|pwd|secret|token|api_?key)[^=&;\s]*=)(?P<password>[^&;\s'\"]+)", re.IGNORECASE
)


def masked(text: str) -> str:
    """Return a text without the passwords of the addresses in it: `postgresql://me:***@host/db`.

    A reference to where a password is, `${oc.env:NAME}`, stays.
    """
    for kind in (_ADDRESS, _ARGUMENT):
        text = kind.sub(lambda found: found["head"] + _hidden(found["password"]), text)
    return text


def without_passwords(node: Any) -> Any:
    """Return values, as JSON and YAML have them, whose texts are masked."""
    if isinstance(node, str):
        return masked(node)
    if isinstance(node, Mapping):
        return {key: without_passwords(value) for key, value in node.items()}
    return [without_passwords(value) for value in node] if isinstance(node, list) else node


def is_masked(text: str) -> bool:
    """Return whether a password was taken out of a text."""
    return MASK in _passwords(text)


def holds_password(text: str) -> bool:
    """Return whether there is a password in an address of a text."""
    return masked(text) != text


def _passwords(text: str) -> Iterator[str]:
    return (found["password"] for kind in (_ADDRESS, _ARGUMENT) for found in kind.finditer(text))


def _hidden(password: str) -> str:
    return password if password.startswith("${") else MASK
