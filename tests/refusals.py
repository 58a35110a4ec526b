"""What tests ask of an error or a text: type, place, the numbers and names that it tells; not its wording."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from snnlab.errors import SnnlabError

Kind = type[BaseException]


@contextmanager
def assert_raises(kind: Kind | tuple[Kind, ...], *told: object) -> Iterator[pytest.ExceptionInfo[Any]]:
    """Let what is within raise an error of exactly this type, or of one of these, that tells so much.

    Args:
        kind: A type, or several.
        told: See `assert_tells`.
    """
    with pytest.raises(kind) as caught:
        yield caught
    kinds = kind if isinstance(kind, tuple) else (kind,)
    assert type(caught.value) in kinds, f"a {type(caught.value).__name__}: {caught.value}"
    assert_tells(caught.value, *told)


def assert_tells(error: BaseException | None, *told: object) -> None:
    """Hold an error against what it has to tell.

    Args:
        error: The error.
        told: The setting that is meant, of an error that has a place, or its line in a file of the user's; of a
            file the end of its path is enough. Then what stands in its sentence: numbers, names, settings.
    """
    assert error is not None, "there was no error"
    facts = told
    if isinstance(error, SnnlabError):
        place, *facts = map(str, told)
        line = f"{error.origin[0]}:{error.origin[1]}" if error.origin else ""
        meant = any(key == place or key.endswith((f"/{place}", f": {place}")) for key in (error.key, line))
        assert meant, f"its place is {error.key!r}, {line!r}, not {place!r}"
    missing = [str(fact) for fact in facts if _end_of(str(fact), str(error)) is None]
    assert not missing, f"{missing} not in: {error}"


def assert_says(text: str | None, *facts: object) -> None:
    """Hold a text that a user reads, a log, a page, against the numbers and names that it tells, in their order."""
    assert text is not None, "nothing was said"
    at = 0
    for fact in map(str, facts):
        end = _end_of(fact, text, at)
        assert end is not None, f"{fact!r} is not in the rest, {text[at:]!r}, of: {text}"
        at = end


def assert_lines_say(lines: Sequence[str], *facts: tuple[object, ...]) -> None:
    """Hold lines, no more and no fewer than these, each against the numbers and names that it has to hold."""
    assert len(lines) == len(facts), "\n".join(lines)
    for line, told in zip(lines, facts, strict=True):
        assert_says(line, *told)


def _end_of(fact: str, text: str, at: int = 0) -> int | None:
    """Return where a text has told this, from a place on, and no longer number or name that only holds it; or None."""
    before = r"(?<![\w.])" if fact[:1].isalnum() else ""
    after = r"(?!\w|[.,]\d)" if fact[-1:].isalnum() else ""
    found = re.compile(before + re.escape(fact) + after).search(text, at)
    return None if found is None else found.end()
