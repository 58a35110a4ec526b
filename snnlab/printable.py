"""Texts made safe: a stranger's act on no terminal or spreadsheet, and passwords are masked."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from typing import Any

# Control characters, halves of characters, and other ends of lines: what moves a cursor, clears a screen, sets a title.
_HIDDEN = ("Cc", "Cs", "Zl", "Zp")
# What turns the order of letters round; those that join and part letters are ordinary ones of some scripts.
_TURNING = {0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)}
# By what a cell begins that a spreadsheet takes for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def is_printable(text: str, keep: str = "") -> bool:
    """Return whether every character of a text shows, or is one of `keep`."""
    if text.isascii() and text.isprintable():
        return True
    return all((unicodedata.category(one) not in _HIDDEN and ord(one) not in _TURNING) or one in keep for one in text)


def printable(text: str, keep: str = "") -> str:
    r"""Return a text with what does not show as `\x1b`, but for the characters of `keep`."""
    if is_printable(text, keep):
        return text
    return "".join(one if is_printable(one, keep) else _escaped(one) for one in text)


def cleaned(node: Any) -> Any:
    """Return values, as JSON and YAML have them, whose texts and keys show in every character; lines stay lines."""
    if isinstance(node, str):
        return printable(node, "\n\t")
    if isinstance(node, Mapping):
        return {printable(key) if isinstance(key, str) else key: cleaned(value) for key, value in node.items()}
    return [cleaned(value) for value in node] if isinstance(node, list) else node


def each_text(node: Any, change: Callable[[str], str]) -> Any:
    """Return values, as JSON and YAML have them, whose texts are changed, and their keys are not."""
    if isinstance(node, str):
        return change(node)
    if isinstance(node, Mapping):
        return {key: each_text(value, change) for key, value in node.items()}
    return [each_text(value, change) for value in node] if isinstance(node, list) else node


def cell(value: Any) -> Any:
    """Return a value for a cell of a CSV: a text that a spreadsheet would compute gets an apostrophe in front."""
    if not isinstance(value, str) or not value.startswith(_FORMULA) or _is_number(value):
        return value
    return f"'{value}"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _escaped(one: str) -> str:
    return one.encode("unicode_escape").decode("ascii")


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
