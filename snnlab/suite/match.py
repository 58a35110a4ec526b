"""Whether arms are equal in what they are to be equal in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

from snnlab.record.suite.reading import read_config, steps_of
from snnlab.suite.book import Book, result_of
from snnlab.suite.plan import Cell, Plan

SYNOPS = ("test/synops_macs", "test/synops_acs")


def matched(plan: Plan, book: Book) -> dict[str, dict[str, Any]]:
    """Return for each dataset and arm the `value`, how many times the first arm's it is, `off`, and if `beyond`.

    Arms of which nothing is completed, or whose runs do not know the value, are not in it.
    """
    match = plan.suite.matched
    if match is None:
        return {}
    found: dict[str, dict[str, Any]] = {}
    for dataset in plan.suite.datasets:
        values = {arm: value for arm in plan.suite.arms if (value := _mean(book, dataset, arm, match.by)) is not None}
        first = values.get(plan.first(dataset) or "")
        if first:
            found[dataset] = {
                arm: {"value": value, "off": value / first, "beyond": abs(value / first - 1) > match.within}
                for arm, value in values.items()
            }
    return found


def _mean(book: Book, dataset: str, arm: str, by: str) -> float | None:
    cells = [cell for cell in book.states if (cell.dataset, cell.arm, cell.control) == (dataset, arm, None)]
    values = [value for cell in cells if (value := _value(book, cell, by)) is not None]
    return fmean(values) if values else None


def _value(book: Book, cell: Cell, by: str) -> float | None:
    folder = book.folder / cell.folder
    result = result_of(folder) if book.states[cell].status == "completed" else None
    return None if result is None else _WAYS[by](result, folder)


def _synops(result: Mapping[str, Any], folder: Path) -> float | None:
    parts = [result["metrics"].get(name) for name in SYNOPS]
    return None if None in parts else sum(parts)


def _steps(result: Mapping[str, Any], folder: Path) -> float | None:
    """Return the steps of a recording times the epochs trained."""
    steps = steps_of(read_config(folder))
    return None if steps is None else float(steps * result["selection"]["epochs"])


_WAYS: Mapping[str, Callable[[Mapping[str, Any], Path], float | None]] = {
    "params": lambda result, _: result["metrics"].get("params"),
    "steps": _steps,
    "synops": _synops,
    "wall_time": lambda result, _: (result.get("timing") or {}).get("fit_s"),
}
