"""Cases of which some are run by `make test`, and all by `make check`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest


def mostly_long(cases: Sequence[Any], usual: int) -> list[Any]:
    """Return cases, at most `usual` of them without the mark long; a tuple is a case of several values."""
    step = -(-len(cases) // usual)
    params = [
        case if hasattr(case, "marks") else pytest.param(*(case if isinstance(case, tuple) else (case,)))
        for case in cases
    ]
    return [
        pytest.param(*param.values, id=param.id, marks=[*param.marks, *[pytest.mark.long] * bool(at % step)])
        for at, param in enumerate(params)
    ]


def half_slow(cases: Sequence[Any]) -> list[Any]:
    """Return cases of which every second one that is marked long is marked slow instead."""
    found = []
    for number, case in enumerate(cases):
        marks = [pytest.mark.slow if mark.name == "long" and number % 2 else mark for mark in case.marks]
        found.append(pytest.param(*case.values, id=case.id, marks=marks))
    return found
