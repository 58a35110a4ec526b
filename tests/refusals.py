"""Assertions on errors and texts: type, place, numbers and names; not the wording."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from snnlab.errors import SnnlabError

Kind = type[BaseException]


@contextmanager
def assert_raises(kind: Kind | tuple[Kind, ...], *facts: object) -> Iterator[pytest.ExceptionInfo[Any]]:
    """Assert that the context raises an error of exactly this type, or one of these, that contains some facts.

    Args:
        kind: A type, or several.
        facts: The place of the error, if it has one, then numbers, names and settings in its text.
    """
    with pytest.raises(kind) as caught:
        yield caught
    kinds = kind if isinstance(kind, tuple) else (kind,)
    assert type(caught.value) in kinds, f"a {type(caught.value).__name__}: {caught.value}"
    assert_error_has(caught.value, *facts)


def assert_error_has(error: BaseException | None, *facts: object) -> None:
    """Assert that an error contains some facts.

    Args:
        error: The error.
        facts: For an error with a place, first its key, or its line in a user's file (the end of the path is enough);
            then numbers, names and settings in its text.
    """
    assert error is not None, "there was no error"
    in_text: Sequence[object] = facts
    if isinstance(error, SnnlabError):
        place, *in_text = map(str, facts)
        line = f"{error.origin[0]}:{error.origin[1]}" if error.origin else ""
        matches = any(key == place or key.endswith((f"/{place}", f": {place}")) for key in (error.key, line))
        assert matches, f"its place is {error.key!r}, {line!r}, not {place!r}"
    missing = [str(fact) for fact in in_text if _end_of(str(fact), str(error)) is None]
    assert not missing, f"{missing} not in: {error}"


def assert_text_has(text: str | None, *facts: object) -> None:
    """Assert that a text for users (a message, a log, a page) contains numbers and names, in this order."""
    assert text is not None, "there is no text"
    at = 0
    for fact in map(str, facts):
        end = _end_of(fact, text, at)
        assert end is not None, f"{fact!r} is not in the rest, {text[at:]!r}, of: {text}"
        at = end


def assert_lines_have(lines: Sequence[str], *facts: tuple[object, ...]) -> None:
    """Assert that there are as many lines as facts, and that each line contains its facts."""
    assert len(lines) == len(facts), "\n".join(lines)
    for line, of_line in zip(lines, facts, strict=True):
        assert_text_has(line, *of_line)


def _end_of(fact: str, text: str, at: int = 0) -> int | None:
    """Return the end of a fact in a text after `at`, not as a part of a longer number or name; or None."""
    before = r"(?<![\w.])" if fact[:1].isalnum() else ""
    after = r"(?!\w|[.,]\d)" if fact[-1:].isalnum() else ""
    found = re.compile(before + re.escape(fact) + after).search(text, at)
    return None if found is None else found.end()
