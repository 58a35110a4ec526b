"""Passwords, kept out of what is written, shown and sent."""

from __future__ import annotations

import re

MASK = "***"
# scheme://user:password@host; a password that holds an @ or a / itself ends at the last @ of the word.
_ADDRESS = re.compile(r"(?P<head>[A-Za-z][\w+.-]*://[^\s:/@]*:)(?P<password>\S*)(?=@)")
# ...?user=me&password=...
_ARGUMENT = re.compile(
    r"(?P<head>[?&;][^=&;\s]*(?:pass|pwd|secret|token|api_?key)[^=&;\s]*=)(?P<password>[^&;\s'\"]+)", re.IGNORECASE
)


def masked(text: str) -> str:
    """Return a text without the passwords of the addresses in it: `postgresql://me:***@host/db`."""
    return _ARGUMENT.sub(rf"\g<head>{MASK}", _ADDRESS.sub(rf"\g<head>{MASK}", text))


def is_masked(text: str) -> bool:
    """Return whether a password was taken out of a text."""
    return any(found["password"] == MASK for kind in (_ADDRESS, _ARGUMENT) for found in kind.finditer(text))
