"""Safe texts: control characters escaped, spreadsheet formulas quoted, names within comments, passwords masked."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from typing import Any

# Unicode categories of characters that show nothing: they move a cursor, clear a screen, set a title, change the
# direction of a text, or make two different names look the same.
_HIDDEN = ("Cc", "Cs", "Cf", "Zl", "Zp")
# Joiners, which some scripts and signs of several parts need, and the signs of category Cf that are visible.
_SHOWN = {0x200C, 0x200D, *range(0x0600, 0x0606), 0x06DD, 0x070F, 0x0890, 0x0891, 0x08E2, 0x110BD, 0x110CD}
# First characters of a cell that a spreadsheet reads as a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def is_printable(text: str, keep: str = "") -> bool:
    """Return whether every character of a text is visible, or is one of `keep`."""
    rest = text
    for character in keep:
        rest = rest.replace(character, "")
    # The first test is fast, and says no to spaces of other widths and to joiners too.
    return rest.isprintable() or all(map(_is_visible, rest))


def _is_visible(character: str) -> bool:
    return unicodedata.category(character) not in _HIDDEN or ord(character) in _SHOWN


def printable(text: str, keep: str = "") -> str:
    r"""Return a text whose invisible characters are escaped, such as `\x1b`, except for those in `keep`."""
    if is_printable(text, keep):
        return text
    return "".join(c if c in keep or _is_visible(c) else _escape(c) for c in text)


def printable_data(node: Any) -> Any:
    """Return JSON or YAML data with invisible characters of texts and keys escaped; newlines and tabs stay."""
    if isinstance(node, str):
        return printable(node, "\n\t")
    if isinstance(node, Mapping):
        return {printable(key) if isinstance(key, str) else key: printable_data(value) for key, value in node.items()}
    return [printable_data(value) for value in node] if isinstance(node, list) else node


def map_texts(node: Any, change: Callable[[str], str]) -> Any:
    """Return JSON or YAML data with `change` applied to each text, and not to the keys."""
    if isinstance(node, str):
        return change(node)
    if isinstance(node, Mapping):
        return {key: map_texts(value, change) for key, value in node.items()}
    return [map_texts(value, change) for value in node] if isinstance(node, list) else node


def comment_text(text: str) -> str:
    """Return a text for a comment of C or a line of Markdown: only letters, digits, spaces and ``.,:;=+-()`` stay.

    So it ends no comment, is no trigraph, joins no line, and is no link, tag or code.
    """
    return re.sub(r"[^\w .,:;=+()-]", "_", text)


def csv_cell(value: Any) -> Any:
    """Return a value for a CSV cell: a text that a spreadsheet reads as a formula gets a leading apostrophe."""
    if not isinstance(value, str) or not value.startswith(_FORMULA) or _is_number(value):
        return value
    return f"'{value}"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


MASK = "***"
# scheme://user:password@host; a password with an @ or a / in it ends at the last @ of the word.
_ADDRESS = re.compile(r"(?P<head>[A-Za-z][\w+.-]*://[^\s:/@]*:)(?P<password>\S*)(?=@)")
# ...?user=me&password=...
_ARGUMENT = re.compile(
    r"(?P<head>[?&;][^=&;\s]*(?:pass|pwd|secret|token|api_?key)[^=&;\s]*=)(?P<password>[^&;\s'\"]+)", re.IGNORECASE
)


def masked(text: str) -> str:
    """Return a text with the passwords of its addresses masked: `postgresql://me:***@host/db`.

    A reference such as `${oc.env:NAME}` stays.
    """
    for kind in (_ADDRESS, _ARGUMENT):
        text = kind.sub(lambda it: it["head"] + (it["password"] if it["password"].startswith("${") else MASK), text)
    return text


def without_passwords(node: Any) -> Any:
    """Return JSON or YAML data with the passwords in its texts masked."""
    return map_texts(node, masked)


def is_masked(text: str) -> bool:
    """Return whether a text has a masked password."""
    return any(found["password"] == MASK for kind in (_ADDRESS, _ARGUMENT) for found in kind.finditer(text))


def holds_password(text: str) -> bool:
    """Return whether an address in a text has a password."""
    return masked(text) != text
