"""Cases of which some are run by `make test`, more by `make check`, and all by `make slow`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pytest


def mostly_long(cases: Sequence[Any], usual: int, long: int | None = None) -> list[Any]:
    """Return cases: at most `usual` of them without a mark, of the others at most `long` marked long, the rest slow.

    A tuple is a case of several values; without `long`, none is slow.
    """
    step = -(-len(cases) // usual)
    others = [at for at in range(len(cases)) if at % step]
    are_long = others[:: 1 if long is None else -(-len(others) // long)] if long != 0 else []
    marks = {at: pytest.mark.long if at in are_long else pytest.mark.slow for at in others}
    params = [
        case if hasattr(case, "marks") else pytest.param(*(case if isinstance(case, tuple) else (case,)))
        for case in cases
    ]
    return [
        pytest.param(*param.values, id=param.id, marks=[*param.marks, *([marks[at]] if at in marks else [])])
        for at, param in enumerate(params)
    ]


def one_long(cases: Iterable[Any]) -> list[Any]:
    """Return cases of which the first is marked long, and the others slow."""
    return [pytest.param(one, marks=pytest.mark.slow if at else pytest.mark.long) for at, one in enumerate(cases)]


def thinned(cases: Sequence[Any], every: int) -> list[Any]:
    """Return cases of which those that are marked long stay so at each `every`-th place, and are slow elsewhere."""
    found = []
    for number, case in enumerate(cases):
        marks = [pytest.mark.slow if mark.name == "long" and number % every else mark for mark in case.marks]
        found.append(pytest.param(*case.values, id=case.id, marks=marks))
    return found
