"""Passwords, kept out of what is written, shown and sent."""

from __future__ import annotations

import re
from typing import Any

from snnlab.printable import each_text

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
        text = kind.sub(lambda it: it["head"] + (it["password"] if it["password"].startswith("${") else MASK), text)
    return text


def without_passwords(node: Any) -> Any:
    """Return values, as JSON and YAML have them, whose texts are masked."""
    return each_text(node, masked)


def is_masked(text: str) -> bool:
    """Return whether a password was taken out of a text."""
    return any(found["password"] == MASK for kind in (_ADDRESS, _ARGUMENT) for found in kind.finditer(text))


def holds_password(text: str) -> bool:
    """Return whether there is a password in an address of a text."""
    return masked(text) != text
